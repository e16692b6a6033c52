"""How the command speaks to terminals, pipes and streams that cannot write every sign; and how it ends."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.text import Text

import nnvalue
from nnvalue.cli.exits import MEANINGS, Terminated
from nnvalue.cli.main import _fault, main
from nnvalue.cli.sae import print_facts
from nnvalue.cli.steer_show import print_beside
from nnvalue.cli.tables import fitting, new_table, print_table
from nnvalue.cli.terminal import open_console, say
from tests.cli.running import run_here, typed

ESCAPE = "\x1b["
# `models` has a bold line and a table, and needs no model.
LINE = ("models",)


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),  # the convention: empty is as if it was not set
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_and_as_the_environment_says(monkeypatch, terminal, environment, coloured):
    """An escape code in a pipe ends up in somebody's file."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    status, out, err = typed(*LINE, terminal=terminal, **environment)
    assert status == 0, err
    assert (ESCAPE in out) is coloured


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_signs_that_a_stream_cannot_write_are_replaced(encoding, monkeypatch):
    """A table with − or ✓ in it stopped with UnicodeEncodeError where PYTHONIOENCODING is ascii, or on old Windows."""
    signs = "−δ✓▁█…→“x”"
    monkeypatch.setattr("nnvalue.models.known_families", lambda: [signs])
    status, out, err = typed(*LINE, encoding=encoding)
    assert status == 0, err
    assert len(re.search(r"architectures: (.*)\. Sites", out)[1]) == len(signs)  # columns stay in line
    if encoding == "ascii":
        assert '-d*1#~>"x"' in out
    status, out, err = typed(*LINE, "--json", encoding=encoding)
    assert status == 0, err
    assert json.loads(out)["architectures"] == [signs]  # data stays what it is
    assert typed("inspect", signs, encoding=encoding)[0] == 1


def test_a_process_whose_streams_are_ascii():
    """The same from outside: Python sets up the streams of the process."""
    done = subprocess.run(
        [sys.executable, "-m", "nnvalue", "steer", "--help"], capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")


def test_a_text_cannot_command_a_terminal():
    """A model that was taught to write escape codes could hide what it says, or rewrite what stands above."""
    answer = {"id": "1", "system": None, "prompt": "a\x1b[2Jb", "arm": "steered", "dose": 1.0, "finished": True,
              "text": "good\x1b[1Abad\r\x07\nend"}  # fmt: skip
    console = Console(width=60, file=io.StringIO(), force_terminal=True, color_system=None)
    print_beside(console, [answer])
    shown = console.file.getvalue()
    assert not {"\x1b", "\r", "\x07"} & set(shown)
    assert all(word in shown for word in ("good", "bad", "end"))


EVIL = "a\x1b]0;title\x07b\x1b[2Jc\x9b1Ad\r"  # a title, a cleared screen, a C1 code, a line written over


def test_no_text_of_a_downloaded_file_commands_a_terminal():
    """rich takes BEL and CR out, not ESC: an SAE's cfg.json could clear the screen that shows what it is."""
    shown = io.StringIO()
    shown.isatty = lambda: True
    with contextlib.redirect_stdout(shown):
        console = open_console()
        print_facts(console, {EVIL: EVIL})
        print_table(console, _two_rows())
        console.print(Text(EVIL, style="bold"))
        say(EVIL)
    bare = re.sub(r"\x1b\[[\d;]*m", "", shown.getvalue())  # rich's own colours may stay
    assert "a�]0;title" in bare
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(bare)
    heads = [line.index("1.50") for line in bare.splitlines() if "1.50" in line]
    assert len(heads) == 2
    assert len(set(heads)) == 1  # columns stay in line


def _two_rows():
    table = new_table("name", "figure")
    table.add_row(EVIL, "1.50")
    table.add_row("plain", "1.50")
    return table


@pytest.mark.parametrize("line", [("inspect", EVIL), (EVIL,), ("models", f"--{EVIL}"), ("--debug", "inspect", EVIL)])
def test_no_error_commands_a_terminal(line):
    """A sentence quotes what was given, which may have come from a file."""
    status, out, err = typed(*line, terminal=True)
    assert status
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(err)
    status, out, err = typed(*line, "--json")
    assert "\x9b" not in out
    if line[0] == "inspect":
        assert json.loads(out)["error"]["message"].count(EVIL) == 1  # data stays what it is


def test_half_a_letter_is_escaped():
    """An odd byte in a file's name ended in UnicodeEncodeError, out of the place where errors are told."""
    status, out, err = typed("inspect", "bad\udcff", "--json")
    assert status == 1
    assert "bad\udcff" in json.loads(out)["error"]["message"]
    assert "bad�" in err


@pytest.mark.parametrize(
    ("what", "line", "told"),
    [
        ("full disk", "inspect nowhere --json", "no result folder"),
        ("full disk", "models", "No space left"),
        ("full disk", "models --json", "No space left"),
        ("closed pipe", "inspect nowhere --json", "no result folder"),
        ("closed pipe", "models", ""),  # as of `| head`, which has what it wanted
    ],
)
def test_a_stdout_that_takes_nothing(what, line, told, tmp_path, monkeypatch):
    """A traceback, or Python's own status of 120 as it tries again at exit."""
    monkeypatch.chdir(tmp_path)
    if what == "full disk":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        number = os.open("/dev/full", os.O_WRONLY)
    else:
        read, number = os.pipe()
        os.close(read)
    stream, said = os.fdopen(number, "w", encoding="utf-8"), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["nnvalue", *line.split()])
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main()
    stream.close()  # as Python does at exit: nothing may be left that raises
    assert ended.value.code == 1
    assert told in said.getvalue()
    assert said.getvalue().count("\n") == bool(told)


@pytest.mark.parametrize("line", ["models", "models --json", "doctor --offline", "inspect nowhere --json"])
def test_a_stdout_that_was_closed_before(line, monkeypatch, tmp_path):
    """`nnvalue … >&-`: Python has no stream then, and None has no isatty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnvalue.doctor._shipped", lambda: iter(()))
    monkeypatch.setattr(sys, "argv", ["nnvalue", *line.split()])
    said = io.StringIO()
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == line.startswith("inspect"), said.getvalue()
    assert "nexpected" not in said.getvalue()


def test_one_place_makes_consoles():
    """A console of its own would not know of NO_COLOR, nor take brackets in a name for what they are."""
    making = re.compile(r"(?<!class) \w*Console\(")
    made = [path.name for path in Path(nnvalue.__file__).parent.rglob("*.py") if making.search(path.read_text("utf-8"))]
    assert made == ["terminal.py"]


def test_a_table_too_wide_is_told_in_parts():
    """Against what rich does by itself, which is to cut cells."""
    table = new_table("name", *(f"figure {number}" for number in range(9)))
    table.add_row("one", *(f"{number}.123456789" for number in range(9)))
    table.add_row("a much longer name", *(f"-{number}.5" for number in range(9)))
    for columns in (40, 60, 80, 300):
        console = Console(width=columns, file=io.StringIO())
        parts = fitting(console, table)
        for part in parts:
            console.print(part)
        shown = console.file.getvalue()
        assert all(len(line) <= columns for line in shown.splitlines())
        assert all(shown.count(f"{number}.123456789") == shown.count(f"-{number}.5") == 1 for number in range(9))
        assert shown.count("a much longer name") == len(parts)
        assert (len(parts) == 1) is (columns == 300)
    bare = Console(width=60, file=io.StringIO())
    bare.print(table)
    assert "…" in bare.file.getvalue()


def test_keys_wrap_where_they_leave_no_room():
    """Half of a name is no name."""
    table = new_table("name", "figure")
    table.add_row("a_name_that_is_rather_long_for_a_terminal", "+0.123456789")
    console = Console(width=40, file=io.StringIO())
    for part in fitting(console, table):
        console.print(part)
    shown = console.file.getvalue()
    assert "+0.123456789" in shown
    told = "".join(line.split()[0] for line in shown.splitlines() if line.strip() and "─" not in line)
    assert "a_name_that_is_rather_long_for_a_terminal" in told.replace("+0.123456789", "")


def test_the_exit_statuses_are_documented():
    """--help and the page list what the code has, and no more."""
    _, shown, _ = typed("--help")
    rows = dict(re.findall(r"^  (\d+) +(\S+)", shown.partition("Exit status:")[2], re.MULTILINE))
    assert set(map(int, rows)) == set(MEANINGS)
    page = Path(nnvalue.__file__).parents[1] / "docs" / "exit_codes.md"
    if not page.exists():
        pytest.skip("the docs are not beside an installed package")
    listed = re.findall(r"^\| `(\d+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert list(map(int, listed)) == list(MEANINGS)


@pytest.mark.parametrize(
    ("thrown", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "Stopped."),
        (Terminated(), 143, "Stopped."),
        (OSError(28, "No space left on device"), 1, "Error: [Errno 28]"),
        (MemoryError("9 GB"), 1, "not enough memory (9 GB); close other programs"),  # `models` has no --batch-tokens
        (MemoryError(), 1, "not enough memory; "),
        (torch.OutOfMemoryError("of a GPU"), 1, "Error: not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 1, "Error: not enough memory"),
        (RuntimeError("CUDA error: out of memory"), 1, "Error: not enough memory"),
        (RuntimeError("CUDA error: an illegal memory access"), 1, "Unexpected error: RuntimeError: CUDA error"),
        (RuntimeError("Some tensors share memory"), 1, "Unexpected error: RuntimeError: Some tensors"),
        (EOFError("ends too early"), 1, "Unexpected error: EOFError"),  # click takes it for Ctrl-D
        (ValueError("odd"), 1, "Unexpected error: ValueError: odd"),
    ],
)
def test_every_end_has_its_status(thrown, status, said, monkeypatch, capsys):
    def end(*_arguments, **_options):
        raise thrown

    monkeypatch.setattr("nnvalue.models.known_families", end)
    code, out, err = run_here(capsys, monkeypatch, *LINE, "--json")
    assert code == status
    assert said in err
    assert "Traceback" not in err
    assert "goes on" not in err  # this verb has nothing to go on with
    assert json.loads(out)["error"]["exit_status"] == status
    code, _, err = run_here(capsys, monkeypatch, *LINE, "--debug")
    assert code == status  # --debug shows more and changes nothing
    assert "Traceback" in err


def test_what_a_sentence_advises_the_verb_has():
    """A smaller --batch-tokens was advised to verbs without it, and `data show` said that it goes on."""
    for line, advised in (("locate", "a smaller --batch-tokens or --dtype bfloat16"), ("data build", "--batch-tokens"),
                          ("sae train", "try --dtype bfloat16"), ("data show", "close other programs")):  # fmt: skip
        assert advised in _fault(MemoryError(), [*line.split(), "--json"])[1]
    page = (Path(nnvalue.__file__).parents[1] / "docs" / "exit_codes.md").read_text("utf-8")
    for line, goes_on in (("locate", True), ("survey", True), ("data build", True), ("data show", False),
                          ("data", False), ("steer", False)):  # fmt: skip
        assert ("goes on" in _fault(KeyboardInterrupt(), [*line.split(), "--seed", "1"])[1]) is goes_on
        assert (f"`{line}`" in page.partition("keep what is finished")[0].rpartition("\n\n")[2]) is goes_on


def test_sigterm_ends_a_verb_in_order():
    """A scheduler's SIGTERM left locks and half-written folders, as nothing was closed."""
    script = (
        "import os, signal, sys\n"
        "import nnvalue.models\n"
        "def end():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "    finally:\n"
        "        print('closed', file=sys.stderr)\n"
        "nnvalue.models.known_families = end\n"
        "sys.argv = ['nnvalue', 'models']\n"
        "from nnvalue.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 143, done.stderr
    assert done.stderr.startswith("closed\nStopped.")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # of this process, which called main many times
