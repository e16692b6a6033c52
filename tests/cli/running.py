"""The command line in this process."""

import contextlib
import io
import os
import sys
from unittest import mock

import pytest

from nnvalue.cli.main import main


def run_here(capsys, monkeypatch, *arguments):
    """Run `nnvalue` with some arguments: (exit status, what it printed, what it said on stderr)."""
    monkeypatch.setattr(sys, "argv", ["nnvalue", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def typed(*arguments, columns=100, encoding="utf-8", terminal=False, **environment):
    """The same without fixtures, on streams of one's own: (exit status, stdout, stderr), as they were encoded.

    terminal: whether the streams say that they are one.
    """
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n") for _ in range(2)]
    for stream in streams:
        stream.isatty = lambda: terminal
    with (
        mock.patch.dict(os.environ, {"COLUMNS": str(columns), "TERM": "xterm-256color", **environment}),
        mock.patch.object(sys, "argv", ["nnvalue", *map(str, arguments)]),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    for stream in streams:
        stream.flush()
    return (ended.value.code or 0, *(stream.buffer.getvalue().decode(encoding) for stream in streams))
