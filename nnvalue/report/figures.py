"""The data behind a figure, apart from how it is drawn: `svg` draws it for the page, `pictures` for papers.

Every figure says what it shows (`title`, `told`) and carries the table that says the same in words and figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

CONTROLS = ("random", "busy", "unsteered", "chance", "people")
"""Roles of series that are no effect: what it is compared with."""


@dataclass(frozen=True)
class Table:
    """Cells as text; columns after the first `left` are figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


@dataclass(frozen=True)
class HeatMap:
    """Cells in colour, blue above 0 and orange below.

    cells: float64 `[row, column]`, NaN for none; texts: what stands in them; hints: what pointing at one says.
    top: the size that has the deepest colour; unit: what the colour tells.
    own: (row, column) of cells that are framed, such as a target's own.
    beside: columns of text to the right, (head, a text a row).
    pairs: rows come in pairs that share a name, `name +` and `name −`.
    """

    title: str
    told: str
    table: Table
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: np.ndarray
    texts: tuple[tuple[str, ...], ...]
    hints: tuple[tuple[str, ...], ...]
    top: float
    unit: str
    row_name: str = ""
    column_name: str = ""
    own: frozenset[tuple[int, int]] = frozenset()
    beside: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pairs: bool = False
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    role: `effect`, or one of `CONTROLS`; place: which of the effects, for its colour and mark.
    x, y: `[point]`; low, high: ends of intervals, or nothing.
    joined: whether a line goes through them; marks: whether they are drawn themselves; rings: points that are marked,
        such as those on a front; labels: what stands beside them.
    """

    name: str
    role: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    hints: tuple[str, ...] = ()
    place: int = 0
    joined: bool = True
    marks: bool = True
    rings: tuple[bool, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: tuple[Series, ...]
    x_name: str = ""
    y_name: str = ""
    y_range: tuple[float, float] | None = None
    x_ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panels:
    """Small pairs of axes side by side, with one legend."""

    title: str
    told: str
    table: Table
    panels: tuple[Panel, ...]
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class DotSeries:
    """One mark a row: figures `[row]`, NaN for none, with intervals; of people, intervals alone."""

    name: str
    role: str
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    place: int = 0


@dataclass(frozen=True)
class Dots:
    """Rows of dots on one axis, with intervals."""

    title: str
    told: str
    table: Table
    rows: tuple[str, ...]
    series: tuple[DotSeries, ...]
    x_name: str
    x_range: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Arrow:
    """An edge of a graph; kind as in `nnvalue.causal.Edge`."""

    cause: str
    effect: str
    kind: str
    weight: float
    frequency: float
    hint: str


@dataclass(frozen=True)
class Arrows:
    """A graph whose nodes have places within the unit circle."""

    title: str
    told: str
    table: Table
    places: dict[str, tuple[float, float]]
    edges: tuple[Arrow, ...]
    on_circle: bool
    note: str = ""


@dataclass(frozen=True, eq=False)
class Circle:
    """Values where an MDS puts them, each joined to its own place on the theory's circle; places `[value, 2]`."""

    title: str
    told: str
    table: Table
    names: tuple[str, ...]
    theory: np.ndarray
    found: np.ndarray
    hints: tuple[str, ...] = field(default=())
    note: str = ""


Figure = HeatMap | Panels | Dots | Arrows | Circle


def short(name: str) -> str:
    """A value's name as it is shown."""
    return name.replace("_", " ")


def signed(figure: float | None, places: int = 2) -> str:
    """A figure with its sign, or a dash; nothing has no sign."""
    if figure is None or not np.isfinite(figure):
        return "—"
    told = f"{figure:+.{places}f}"
    return (told if float(told) else told[1:]).replace("-", "−")


def plain(figure: float | None, form: str = ".2f") -> str:
    """A figure, or a dash; nothing has no sign."""
    if figure is None or not np.isfinite(figure):
        return "—"
    told = f"{figure:{form}}"
    return (told.removeprefix("-") if not told.strip("-0.%") else told).replace("-", "−")


def rate(q: float | None) -> str:
    """A p or q in two digits, small ones as powers."""
    if q is None or not np.isfinite(q):
        return "—"
    return f"{q:.0e}".replace("-", "−") if q < 0.001 else f"{q:.2g}"


def interval(figure: float | None, low: float | None, high: float | None, places: int = 2) -> str:
    """A figure with its 95 % interval."""
    told = signed(figure, places)
    known = low is not None and high is not None and np.isfinite(low) and np.isfinite(high)
    return f"{told} [{signed(low, places)}, {signed(high, places)}]" if known else told


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a sentence, the first of many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
