"""Figures drawn by matplotlib, from the data that the page shows, for one or two columns of a paper."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from nnvalue.report.figures import CONTROLS, Arrows, Circle, Dots, Figure, HeatMap, Panels, Series, short

UP, DOWN, INK, PALE, GREY = "#1b6ca8", "#b5452c", "#222222", "#bbbbbb", "#6b7480"
COLOURS = (UP, DOWN, "#00705a", "#8a3a80", "#6b5a00", "#2f6f9f", "#9c2740", "#3f4c58")
MARKS = ("o", "s", "^", "D", "v", "P", "h", "p")
SCALE = ("#7c2d06", "#b3470f", "#ef9f6b", "#fdebdd", "#f7f8f9", "#e3eefa", "#7fb2e3", "#2f6fb0", "#154a80")
"""Of heat maps, from below 0 to above it: the page's own."""
WIDTHS = {1: 3.4, 2: 7.0}
"""Inches of a column, and of two with the gap between them."""
SEEN = 0.5
_CONTROL_MARKS = {"random": "o", "busy": "s", "chance": "D", "people": "^", "unsteered": "^"}
_DASHES = {"random": (0, (4, 2)), "busy": (0, (1.5, 2)), "chance": (0, (5, 2, 1, 2)), "people": "-", "unsteered": "-"}
_HEADS = {"↔": "<|-|>", "—": "-", "o—o": "-", "o—": "-"}


def size_of(figure: Figure, columns: int) -> tuple[float, float]:
    """Inches: as wide as the columns, as high as the content."""
    wide = WIDTHS[columns]
    if isinstance(figure, HeatMap):
        return wide, 0.9 + min(0.26, 3.0 / max(8, len(figure.rows))) * len(figure.rows) + 0.35 * bool(figure.row_name)
    if isinstance(figure, Dots):
        return wide, 1.0 + 0.24 * len(figure.rows)
    if isinstance(figure, Panels):
        across = _across(figure, columns)
        return wide, 0.55 + 1.45 * -(-len(figure.panels) // across) * (1.5 if figure.wide else 1.0)
    return wide, wide


def _across(figure: Panels, columns: int) -> int:
    return min(len(figure.panels), (1 if figure.wide else 2) * columns)


def paint(figure: Figure, canvas: Any, columns: int) -> None:
    """Draw a figure on an empty matplotlib figure."""
    if isinstance(figure, Panels):
        paint_panels(figure, canvas, _across(figure, columns))
        return
    axes = canvas.add_subplot()
    if isinstance(figure, HeatMap):
        paint_heat_map(figure, axes)
    elif isinstance(figure, Dots):
        paint_dots(figure, axes)
    elif isinstance(figure, Arrows):
        paint_arrows(figure, canvas, axes)
    else:
        paint_circle(figure, axes)


def paint_heat_map(figure: HeatMap, axes: Any, title: bool = False) -> None:
    """Cells with their figures, blue above 0 and orange below; what stands beside them has no colour."""
    count, besides = len(figure.columns), len(figure.beside)
    room = np.full((len(figure.rows), besides), np.nan)
    axes.imshow(
        np.hstack([figure.cells, room]), cmap=_blue_and_orange(), vmin=-figure.top, vmax=figure.top, aspect="auto"
    )
    names = [*map(short, figure.columns), *(name.replace(" ", "\n") for name, _ in figure.beside)]
    long = max(map(len, names), default=0) > 8 or max(map(len, figure.columns), default=0) > 4
    axes.set_xticks(
        range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center", fontsize=6.5
    )
    axes.set_yticks(range(len(figure.rows)), [short(name) for name in figure.rows], fontsize=6.5)
    # A cell is as wide as its share of the axes, and a figure has five signs or six.
    small = min(6.0, max(3.2, axes.get_figure().get_figwidth() * 72 * 0.68 / max(1, len(names)) / 3.4))
    for row, told in enumerate(figure.texts):
        for column, one in enumerate((*told, *(cells[row] for _, cells in figure.beside))):
            loud = column < count and abs(figure.cells[row, column]) > 0.6 * figure.top
            if one:
                axes.text(column, row, one, ha="center", va="center", fontsize=small, color="white" if loud else INK)
    for row, column in figure.own:
        axes.add_patch(_box(column - 0.5, row - 0.5))
    axes.set_xlabel(figure.column_name, fontsize=7)
    axes.set_ylabel(figure.row_name, fontsize=7)
    axes.set_title(_folded(figure.title if title else figure.unit, axes), fontsize=7, color=INK)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _blue_and_orange() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("nnvalue", SCALE)


def _folded(told: str, axes: Any) -> str:
    """A line broken so that it fits the figure at the size of titles."""
    return textwrap.fill(told, int(axes.get_figure().get_figwidth() * 72 / 4.4))


def _legend(canvas: Any, names: list[str]) -> dict[str, Any]:
    """Where a legend goes that does not run over the edge."""
    longest = max(map(len, names), default=1) * 3.6 + 26
    return {
        "loc": "outside lower center", "fontsize": 6, "frameon": False,
        "ncols": max(1, min(len(names), int(canvas.get_figwidth() * 72 / longest))),
    }  # fmt: skip


def _box(x: float, y: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 1, 1, fill=False, edgecolor=INK, linewidth=1)


def paint_panels(figure: Panels, canvas: Any, across: int) -> None:
    """Small pairs of axes with one legend below."""
    down = -(-len(figure.panels) // across)
    grid = canvas.subplots(down, across, squeeze=False)
    seen: dict[str, Any] = {}
    for axes, one in zip(grid.flat, figure.panels, strict=False):
        axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
        for series in sorted(one.series, key=lambda each: each.role == "effect"):
            seen.setdefault(series.name, _paint_series(series, axes))
        axes.set_title(one.title, fontsize=7, color=INK)
        axes.set_xlabel(one.x_name, fontsize=6.5)
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
        if one.x_ticks:
            axes.set_xticks(one.x_ticks)
        if one.y_range is not None:
            axes.set_ylim(*one.y_range)
    for axes in grid[:, 0]:
        axes.set_ylabel(figure.panels[0].y_name, fontsize=6.5)
    for axes in list(grid.flat)[len(figure.panels) :]:
        axes.axis("off")
    names = [textwrap.shorten(name, 48) for name in seen]
    canvas.legend(list(seen.values()), names, **_legend(canvas, names))


def _paint_series(series: Series, axes: Any) -> Any:
    control = series.role in CONTROLS
    colour = GREY if control else COLOURS[series.place % len(COLOURS)]
    kind = _CONTROL_MARKS[series.role] if control else MARKS[series.place % len(MARKS)]
    dashes = (_DASHES[series.role] if control else "-") if series.joined else "none"
    (drawn,) = axes.plot(
        series.x, series.y, color=colour, linestyle=dashes, marker=kind if series.marks else "none",
        markersize=3.2, markerfacecolor="white" if control else colour, linewidth=1.1, label=series.name,
    )  # fmt: skip
    if series.low:
        axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0)
    for place, ringed in enumerate(series.rings):
        if ringed:
            axes.plot(series.x[place], series.y[place], marker="o", markersize=8, markerfacecolor="none",
                      markeredgecolor=INK, linestyle="none")  # fmt: skip
    for x, y, label in zip(series.x, series.y, series.labels, strict=False):
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=5.5, color=INK)
    return drawn


def paint_dots(figure: Dots, axes: Any) -> None:
    """Rows of marks with intervals."""
    rows, effects = np.arange(len(figure.rows)), sum(series.role == "effect" for series in figure.series)
    axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    for series in sorted(figure.series, key=lambda one: one.role == "effect"):
        control = series.role in CONTROLS
        colour = GREY if control else COLOURS[series.place % len(COLOURS)]
        kind = _CONTROL_MARKS[series.role] if control else MARKS[series.place % len(MARKS)]
        bars = series.role == "people"
        at = rows if control else rows + 0.22 * (series.place - (effects - 1) / 2)
        if series.low:
            axes.hlines(at, series.low, series.high, color=colour, alpha=0.5 if bars else 1,
                        linewidth=5 if bars else 1, label=series.name if bars else "_")  # fmt: skip
        if not bars:
            axes.plot(series.values, at, marker=kind, linestyle="none", color=colour, markersize=4,
                      markerfacecolor="white" if control else colour, label=series.name)  # fmt: skip
    axes.set_yticks(rows, [textwrap.fill(short(name), 30) for name in figure.rows], fontsize=6.5)
    axes.invert_yaxis()
    if figure.x_range is not None:
        axes.set_xlim(*figure.x_range)
    axes.set_xlabel(figure.x_name, fontsize=7)
    axes.tick_params(labelsize=6.5)
    axes.spines[["top", "right"]].set_visible(False)
    canvas = axes.get_figure()
    canvas.legend(**_legend(canvas, [series.name for series in figure.series]))


def paint_arrows(figure: Arrows, canvas: Any, axes: Any) -> None:
    """A graph: blue arrows raise, red ones lower, width by size; dashed below half of the bootstraps."""
    small = min(9.0, 1.9 * canvas.get_figwidth())
    names = {
        value: axes.text(
            x, y, short(value), ha="center", va="center", fontsize=small, color=INK, zorder=3,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": PALE},
        )
        for value, (x, y) in figure.places.items()
    }  # fmt: skip
    largest = max((abs(edge.weight) for edge in figure.edges), default=1.0) or 1.0
    for edge in figure.edges:
        axes.annotate(
            "", xy=figure.places[edge.effect], xytext=figure.places[edge.cause],
            arrowprops={
                "arrowstyle": _HEADS.get(edge.kind, "-|>"), "mutation_scale": 1.7 * small,
                "color": UP if edge.weight >= 0 else DOWN,
                "linewidth": (0.8 + 3.2 * abs(edge.weight) / largest) * small / 9,
                "linestyle": "-" if edge.frequency >= SEEN else "--", "connectionstyle": "arc3,rad=0.06",
                # Arrows end at the frames of the names, which are there only once they are drawn.
                "patchA": names[edge.cause].get_bbox_patch(), "patchB": names[edge.effect].get_bbox_patch(),
                "shrinkA": 4, "shrinkB": 4,
            },
        )  # fmt: skip
    axes.set_title(_folded(figure.told, axes), fontsize=7, color=INK)
    _frame(axes, list(figure.places.values()))
    canvas.canvas.draw()


def paint_circle(figure: Circle, axes: Any) -> None:
    """Values where an MDS puts them, each joined to its own place on the circle."""
    turn, small = np.linspace(0, 2 * np.pi, 200), min(9.0, 1.9 * axes.get_figure().get_figwidth())
    axes.plot(np.cos(turn), np.sin(turn), color=PALE, linewidth=1)
    for place, (x, y), value in zip(figure.theory, figure.found, figure.names, strict=True):
        axes.plot([place[0], x], [place[1], y], color=PALE, linewidth=1)
        axes.plot(*place, marker="D", color="white", markeredgecolor=GREY, markersize=5)
        axes.plot(x, y, marker="o", color=UP, markersize=6)
        away = np.array([x, y]) / max(float(np.hypot(x, y)), 1e-9)
        axes.annotate(
            short(value), (x, y), textcoords="offset points", xytext=tuple(8 * away), fontsize=small, color=INK,
            ha="left" if away[0] > 0.3 else "right" if away[0] < -0.3 else "center",
            va="bottom" if away[1] > 0.3 else "top" if away[1] < -0.3 else "center",
        )  # fmt: skip
    axes.set_title(_folded(figure.note, axes), fontsize=7, color=INK)
    _frame(axes, [*figure.found, *figure.theory])


def _frame(axes: Any, points: list[Any]) -> None:
    reach = 1.22 * max(1.0, float(np.abs(np.array(points, dtype=np.float64)).max()))
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.axis("off")
