"""The command as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from nnvalue.cli.main import cli, main
from nnvalue.cli.show import strip
from tests import tiny

SMALL = ["--value", "power", "--situations", "4", "--max-new-tokens", "24", "--no-null"]
WITH_NULL = [*SMALL[:-1], "--method", "firing_difference"]


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "nnvalue", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        **options,
    )


@pytest.fixture(scope="module")
def located(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    done = run("locate", *WITH_NULL, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_locate_prints_tables_and_what_to_type_next(located):
    out, shown = located
    for text in (
        "Strongest value neurons",
        "power",
        "Where they sit",
        "split-half reliability",
        f"nnvalue inspect {out}",
    ):
        assert text in shown
    assert "Traceback" not in shown


def test_json_is_one_object_with_the_figures_of_the_table(located):
    out, _ = located
    for arguments in (["locate", *WITH_NULL, "--out", out], ["inspect", out]):
        done = run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        data = json.loads(done.stdout)
        top = data["values"]["power"]["top"]["positive"][0]
        assert set(top) >= {
            "layer",
            "neuron",
            "score",
            "delta",
            "firing_positive",
            "firing_negative",
            "effect_size",
            "q95",
        }
        assert sum(data["values"]["power"]["by_layer"]["positive"]) == 26  # 1 % of 2,560


def test_inspect_shows_a_saved_result(located):
    """In the words of `locate`, of the parts and of the whole."""
    out, shown = located
    done = run("inspect", out, "--value", "power", "--top", "1")
    assert done.returncode == 0
    assert "power" in done.stdout
    whole = shown[shown.index("Where they sit") : shown.index("Written to")]
    assert "fixed thresholds" in whole.replace("\n", " ")
    assert whole in run("inspect", out).stdout


def test_models_says_what_is_known():
    done = run("models", "--json")
    data = json.loads(done.stdout)
    assert data["architectures"] == sorted(tiny.FAMILIES)
    assert data["embedded"][0]["name"] == "nnvalue/organism"
    assert "nnvalue/organism" in run("models").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["locate", "--value", "powr"], 1, "no value 'powr'; did you mean power"),
        (["locate", "--framework", "schwarz"], 1, "no framework 'schwarz'; did you mean schwartz"),
        (["locate", "--framework", "schwartz19"], 1, "no value 'self_direction_thought'"),
        (["locate", "--site", "up"], 1, "no site 'up'"),
        (["locate", "--method", "firing"], 1, "no method 'firing'"),
        (["locate", "--tokens", "last"], 1, "no choice of tokens 'last'"),
        (["locate", "--method", "lape", "--threshold", "0.1"], 1, "does not fit the scores of lape"),
        (["locate", "--threshold", "0.1"], 1, "select by top-k, or take firing_difference"),
        (["locate", "--texts", "all"], 1, "no choice of texts 'all'"),
        (["locate", "--texts", "own"], 1, "choose mean_difference for the own ones"),
        (["locate", "--tokens", "prompt"], 1, "a method that reads each prompt's own response"),
        (["locate", "--responses", "dataset"], 1, "choose a method that reads each pole's own response"),
        (["locate", "--crossed"], 1, "choose firing_difference, with its own tokens and texts"),
        (["locate", "--model", "./nowhere"], 1, "no model folder './nowhere'"),
        (["locate", "--dataset", "./nowhere"], 1, "no dataset './nowhere'"),
        (["locate", "--top-k", "0"], 1, "top-k must be"),
        (["locate", "--threshold", "2"], 1, "threshold on δ must lie between"),
        (["locate", "--top-k", "5", "--threshold", "0.1"], 2, "two ways to select"),
        (["locate", "--floor", "5"], 2, "--floor belongs to --threshold"),
        (["locate", "--situations", "0"], 1, "situations must be at least 1"),
        (["locate", "--situations", "many"], 2, "neither a whole number nor 'all'"),
        (["locate", "--situations", "100000"], 1, "ask for at most"),
        (["locate", "--batch-tokens", "0"], 1, "batch_tokens must be at least 1"),
        (["locate", "--max-new-tokens", "0"], 1, "max_new_tokens must be at least 1"),
        (["locate", "--top-k", "99999"], 1, "asks for 99999 neurons, but the model has 2560"),
        (["inspect", ".", "--top", "-1"], 2, "-1 is not in the range"),
        (["locate", "--dtype", "int4"], 1, "no dtype 'int4'"),
        (["locate", "--colour"], 2, "No such option"),
        (["find"], 2, "no command 'find'"),
        (["inspect", "./nowhere"], 1, "no result folder nowhere"),
        (["inspect", "."], 1, "has no manifest.json"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, monkeypatch, capsys, arguments, code, message):
    """Through `main`, in this process: a process for each would take minutes."""
    out = ["--out", str(tmp_path / "out")] if arguments[0] == "locate" else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnvalue.cli.locate.quiet_libraries", lambda: None)
    monkeypatch.setattr(sys, "argv", ["nnvalue", *arguments, *out])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == code, shown.err
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.work").exists()


def test_models_that_cannot_work_are_refused_in_one_sentence(tmp_path):
    import torch

    tiny.save(tmp_path / "bare", with_tokenizer=False)
    broken = tiny.model("llama")
    with torch.no_grad():
        broken.model.layers[2].mlp.gate_proj.weight[0, 0] = float("nan")
    broken.save_pretrained(tmp_path / "nan")
    tiny.tokenizer().save_pretrained(tmp_path / "nan")
    for name, message in (("bare", "has no tokenizer"), ("nan", "NaN or infinity in layer 2")):
        done = run("locate", *SMALL, "--model", tmp_path / name, "--out", tmp_path / "out")
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


def test_every_question_has_a_folder_of_its_own(tmp_path, monkeypatch):
    """The README's lines can be typed one after the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnvalue.cli.locate.quiet_libraries", lambda: None)
    for more in ([], ["--method", "firing_difference", "--threshold", "0.2"], ["--site", "gate"]):
        assert CliRunner().invoke(cli, ["locate", *SMALL, *more], catch_exceptions=False).exit_code == 0
    assert len(list(tmp_path.glob("runs/organism-power-*"))) == 3
    named = CliRunner().invoke(cli, ["locate", *SMALL, "--out", "odd[/name]"], catch_exceptions=False)
    assert named.exit_code == 0


def test_a_full_disk_is_one_sentence_and_the_work_goes_on_later(tmp_path, monkeypatch, capsys):
    real, calls = os.fsync, []

    def nearly_full(descriptor):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", nearly_full)
    monkeypatch.setattr(sys, "argv", ["nnvalue", "locate", *SMALL, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="1"):
        main()
    shown = capsys.readouterr()
    assert "cannot be written: No space left on device" in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(os, "fsync", real)
    with pytest.raises(SystemExit, match="0"):
        main()
    assert (tmp_path / "run").exists()


def test_whatever_a_library_throws_is_one_sentence(tmp_path, monkeypatch, capsys):
    def break_down(*_arguments, **_options):
        raise TypeError("something\nodd")

    monkeypatch.setattr("nnvalue.models.open_model", break_down)
    monkeypatch.setattr(sys, "argv", ["nnvalue", "locate", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="1"):
        main()
    error = capsys.readouterr().err
    assert error.strip().startswith("Unexpected error: TypeError: something odd")
    assert "--debug" in error


def test_debug_shows_the_traceback(tmp_path):
    done = run("locate", "--value", "powr", "--debug", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UnknownNameError" in done.stderr


def test_a_damaged_result_is_refused_and_not_overwritten(located, tmp_path):
    import shutil

    out = shutil.copytree(located[0], tmp_path / "run")
    weights = out / "neurons.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for arguments in (["inspect", out], ["locate", *WITH_NULL, "--out", out]):
        done = run(*arguments)
        assert done.returncode == 1
        assert "neurons.safetensors is damaged" in done.stderr
    assert weights.read_bytes() != content


def test_control_c_stops_with_130_and_the_same_command_goes_on(located, tmp_path):
    command = [
        sys.executable,
        "-m",
        "nnvalue",
        "locate",
        *SMALL,
        "--batch-tokens",
        "300",
        "--out",
        str(tmp_path / "run"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run.work/power-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in error
    assert "Traceback" not in error
    assert (tmp_path / "run.work").exists()
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    assert not (tmp_path / "run.work").exists()


def test_a_strip_is_as_wide_as_the_network_or_the_screen():
    assert strip([0, 1, 2, 8]) == " ▁▂█"
    assert strip([0, 0]) == "  "
    assert len(strip([1] * 80)) <= 32
    assert strip([1] * 64 + [2] * 16)[-1] == "█"


def test_methods_stand_side_by_side(tmp_path):
    line = ["locate", "--value", "power", "--situations", "4", "--method", "effect_size, contrastive", "--out"]
    done = run(*line, tmp_path / "both", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert list(data["methods"]) == list(data["comparison"]["methods"]) == ["effect_size", "contrastive"]
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["contrastive", "effect_size"]
    shown = run(*line, tmp_path / "both").stdout
    assert "2 methods on nnvalue/organism" in shown
    _, agreement = shown.split("Agreement (")
    rows = [line.split() for line in agreement.splitlines() if line.startswith((" 1 ", " 2 "))]
    correlation, overlap = (data["comparison"][name][0][1] for name in ("correlation", "overlap"))
    assert rows == [["1", "effect_size", f"{correlation:.2f}"], ["2", "contrastive", f"{overlap:.2f}"]]
    assert f"nnvalue inspect {tmp_path / 'both' / 'effect_size'}" in shown.replace("\n", "")
    wrong = run("locate", "--method", "effect_size,guessing")
    assert wrong.returncode == 1
    assert "no method 'guessing'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    "verb", ["locate", "steer", "measure", "evaluate", "survey", "graph", "structure", "side-effects", "inspect"]
)
def test_help_keeps_its_lines(verb):
    r"""click's mark for lines that stay lines is a character, and in a raw docstring it is none."""
    shown = CliRunner().invoke(cli, [verb, "--help"]).output
    assert "\\b" not in shown
    lines = [line for line in shown.splitlines() if line.strip().startswith("nnvalue ")]
    assert lines
    assert all(line.startswith("    nnvalue") for line in lines)
