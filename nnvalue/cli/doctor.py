"""`nnvalue doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.exits import FAILED
from nnvalue.cli.terminal import is_terminal, open_console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from nnvalue.doctor import Finding

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}
_NARROW = 60
_NAMES = 21  # letters of the column of names


@click.command(
    "doctor",
    epilog=examples(
        "nnvalue doctor",
        "nnvalue doctor --offline --json",
        "nnvalue doctor --host https://ndif.my-lab.org",
    ),
)
@click.option("--offline", is_flag=True, help="Ask neither the hub nor an NDIF server.")
@click.option("--host", metavar="URL", help="The NDIF server to ask.  [default: the one nnsight is configured with]")
@click.option("--allow-http", is_flag=True, help="Allow http:// to another machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def command(offline: bool, host: str | None, allow_http: bool, as_json: bool) -> None:
    """Look whether everything here is as it should be, and say what to do where it is not.

    Looked at are versions, extras, devices, folders, the organism and the datasets, the hub, NDIF and the terminal. Of
    keys it says whether there is one and from where, never the key. The exit status is 1 where a local run cannot work.
    """
    from nnvalue.doctor import examine

    console = open_console()
    found = [*examine(offline=offline, host=host, allow_http=allow_http), _terminal(console)]
    faults = sum(one.status == "fault" for one in found)
    if as_json:
        count = {status: sum(one.status == status for one in found) for status in _STYLES}
        print_json({"works": not faults, "count": count, "findings": [asdict(one) for one in found]})
    else:
        _print(console, found)
    if faults:
        raise click.exceptions.Exit(FAILED)


def _terminal(console: Console) -> Finding:
    """What the terminal can show."""
    from nnvalue.doctor import Finding

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    signs = encoding.lower().startswith("utf")
    colour = console.color_system or "none"
    terminal = is_terminal(sys.stdout)
    facts: dict[str, Any] = {
        "width": console.width, "colour": colour, "encoding": encoding, "terminal": terminal,
        "no_color": bool(os.environ.get("NO_COLOR")),
    }  # fmt: skip
    told = f"{console.width} columns, colours: {colour}, {encoding}{'' if terminal else ', not a terminal'}"
    if not signs:
        return Finding("terminal", "stdout", "warning", told, "Set LANG to one of UTF-8, or signs are replaced.", facts)
    if console.width < _NARROW:
        return Finding("terminal", "stdout", "warning", told, f"Tables need {_NARROW} columns.", facts)
    return Finding("terminal", "stdout", "ok", told, facts=facts)


def _print(console: Console, found: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    for part, some in groupby(found, key=lambda one: one.part):
        console.print(part, style="bold")
        table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
        table.add_column(no_wrap=True, min_width=len("warning"))
        table.add_column(min_width=_NAMES, max_width=_NAMES)
        table.add_column(overflow="fold")
        for one in some:
            told = f"{one.told.rstrip('.')}. {one.todo}" if one.todo else one.told
            table.add_row(Text(one.status, _STYLES[one.status]), one.name, told)
        console.print(table)
    bad = {status: sum(one.status == status for one in found) for status in ("fault", "warning")}
    if bad["fault"]:
        console.print(f"{bad['fault']} fault(s): a local run cannot work.", style=_STYLES["fault"])
    else:
        console.print(f"A local run can work; {bad['warning']} warning(s).")
