"""The command line in this process."""

import sys

import pytest

from nnvalue.cli.main import main


def run_here(capsys, monkeypatch, *arguments):
    """Run `nnvalue` with some arguments: (exit status, what it printed, what it said on stderr)."""
    monkeypatch.setattr(sys, "argv", ["nnvalue", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err
