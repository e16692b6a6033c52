"""Tables that fit the terminal: too wide ones are told in parts, and no cell is cut."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

_WRAPPED = 16  # letters that are enough for a column of words that may wrap
_ENDLESS = 10_000


def new_table(*names: str, keys: int = 1) -> Table:
    """A table in the house's style: the first `keys` columns are words, the others figures, and none of them wraps."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number < keys else "right", no_wrap=True)
    return table


def print_table(console: Console, table: Table, keys: int = 1) -> None:
    """Print a table; one that is wider than the terminal as several, each with the first `keys` columns."""
    for part in fitting(console, table, keys):
        console.print(part)


def fitting(console: Console, table: Table, keys: int = 1) -> list[Table]:
    """The table if it fits, or parts of its columns that do.

    Where even the keys leave no room for one column more, the keys wrap.
    """
    if _width(console, table) <= console.width:
        return [table]
    first, rest = tuple(table.columns[:keys]), tuple(table.columns[keys:])
    parts: list[Table] = []
    group: list[Column] = []
    for column in rest:
        if group and _width(console, _of(table, (*first, *group, column))) > console.width:
            parts.append(_of(table, (*first, *group)))
            group = []
        group.append(column)
    parts.append(_of(table, (*first, *group)))
    return [part if _width(console, part) <= console.width else _of(table, part.columns, keys) for part in parts]


def _of(table: Table, columns: Sequence[Column], wrapping: int = 0) -> Table:
    """The same table of some of its columns, the first `wrapping` of which wrap."""
    made = Table(box=table.box, padding=table.padding)
    for number, column in enumerate(columns):
        wraps = number < wrapping
        made.add_column(
            column.header, justify=column.justify, style=column.style, no_wrap=column.no_wrap and not wraps,
            min_width=None if wraps else column.min_width, overflow="fold",
        )  # fmt: skip
    cells = zip(*(column.cells for column in columns), strict=True)
    for row, facts in zip(cells, table.rows, strict=True):
        made.add_row(*row, end_section=facts.end_section)
    return made


def _width(console: Console, table: Table) -> int:
    """Letters that a table needs so that nothing is cut, with words wrapped where they may."""
    options = console.options.update(width=_ENDLESS, max_width=_ENDLESS)
    spared = 0
    for column in table.columns:
        if not column.no_wrap:
            sizes = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
            most = max((size.maximum for size in sizes), default=0)
            spared += max(0, most - max(_WRAPPED, max((size.minimum for size in sizes), default=0)))
    return Measurement.get(console, options, table).maximum - spared
