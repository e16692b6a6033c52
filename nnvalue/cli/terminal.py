"""How the command speaks: one console, JSON, streams that cannot write every sign, and bars on stderr."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

    from nnvalue.progress import Progress

_A_DAY = 86_400.0
_NARROWEST = 40
_PLAIN, _ASCII = "nnvalue-plain", "nnvalue_ascii"
# One letter for one letter, so that columns stay in line.
_SIGNS = "−–—…·×÷≥≤≈→←↑↓↔δΔγλσΣ✓✗“”‘’°│─█▉▊▋▌▐▇▆▅▄▃▂▁"
_LETTERS = """---~-x/><~><^v=dDglsS*x""''o|-######8654321"""
_COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# Of these, JSON escapes C0 codes by itself; lone surrogates are halves of letters, which UTF-8 does not have.
_UNWRITABLE = re.compile(r"[\x7f-\x9f\ud800-\udfff]")
_OFF = ("", "0", "false", "no")


def open_console(stderr: bool = False) -> Console:
    """The console of stdout or stderr.

    Colours are for terminals. NO_COLOR takes every escape code away, FORCE_COLOR brings colours into a pipe, and
    TERM=dumb has none. Text is printed as it is: nothing in it is markup, and nothing in it commands the terminal.
    """
    from nnvalue.cli.console import HarmlessConsole

    bare = bool(os.environ.get("NO_COLOR"))
    forced = os.environ.get("FORCE_COLOR", "").lower() not in _OFF and not bare
    terminal = forced or is_terminal(sys.stderr if stderr else sys.stdout)
    made = HarmlessConsole(
        stderr=stderr, color_system=None if bare else "auto", force_terminal=terminal, markup=False, highlight=False,
        emoji=False,
    )  # fmt: skip
    made.width = max(made.width, _NARROWEST)
    return made


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream leads to a terminal; one that was closed before we began is None."""
    return stream is not None and stream.isatty()


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object, alone on its line. What is no number there (NaN, infinity) is null.

    What no stream can write, what could command a terminal, and what this stream cannot write is escaped; the data
    stays the same.
    """
    from nnvalue.artifacts import plain

    everything = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    line = json.dumps(plain(data), ensure_ascii=not everything, allow_nan=False)
    click.echo(_UNWRITABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def say(text: str, **how: Any) -> None:
    """A sentence by click, which takes the same options; without what could command a terminal."""
    click.echo(harmless(text), **how)


def harmless(text: str) -> str:
    """A text of a file, model or server without control codes, which could command a terminal; lines and tabs stay.

    Half a letter (a lone surrogate, as Python has it for an odd byte in a file's name) is no text either.
    """
    return _COMMANDING.sub("�", text)


def degrade_streams() -> None:
    """Let stdout and stderr write what is like a sign, where their encoding does not have it."""
    codecs.register_error(_PLAIN, _plainer)
    codecs.register(lambda name: _ascii() if name == _ASCII else None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            bare = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if bare else None, errors=_PLAIN)


def _ascii() -> codecs.CodecInfo:
    """ASCII by another name: click takes a stream of that name for a mistake, and writes UTF-8 into it."""
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode, found.decode, found.streamreader, found.streamwriter, found.incrementalencoder,
        found.incrementaldecoder, _ASCII,
    )  # fmt: skip


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(str.maketrans(_SIGNS, _LETTERS))
    return "".join(letter if letter.isascii() else "?" for letter in text), error.end


@contextmanager
def progress_bars(first: str = "opening the model") -> Iterator[Progress]:
    """Bars on stderr: the whole run with its time left, where it tells, and the stage under way with its rate.

    first: the stage under way before anything is reported.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from nnvalue.progress import DETAIL, OVERALL

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[waiting]}"),
    )  # fmt: skip
    shown = open_console(stderr=True)
    no_bars = not is_terminal(sys.stderr) or shown.is_dumb_terminal
    # All of a stage counts for its speed: jobs on a server take minutes each, and rich looks back 30 s by itself.
    with Progress(*columns, console=shown, transient=True, disable=no_bars, speed_estimate_period=_A_DAY) as bars:
        overall = bars.add_task(OVERALL, total=None, visible=False, rate="", waiting="")
        current, task = first, bars.add_task(first, total=None, rate="", waiting="")

        def report(stage: str, done: int, total: int) -> None:
            nonlocal current, task
            if stage == OVERALL:
                bars.update(overall, completed=done, total=total, visible=True)
                return
            stage, _, waiting = stage.partition(DETAIL)
            if stage != current:
                bars.remove_task(task)
                current, task = stage, bars.add_task(stage, total=total, completed=done, rate="", waiting="")
            bars.update(task, completed=done, total=total, waiting=waiting)
            speed = next(item.speed for item in bars.tasks if item.id == task)
            bars.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield report


def quiet_libraries() -> None:
    """One voice on stderr: ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
