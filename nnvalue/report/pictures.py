"""Pictures of value graphs, of values on the circle, and of matrices; by matplotlib, an extra, without a window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import write_bytes
from nnvalue.causal import Structure, ValueGraph
from nnvalue.errors import InvalidInputError
from nnvalue.values import Framework

FORMATS = (".svg", ".png", ".pdf")
_UP, _DOWN, _INK, _PALE = "#1b6ca8", "#b5452c", "#222222", "#bbbbbb"
_HEADS = {"↔": "<|-|>", "—": "-", "o—o": "-", "o—": "-"}
_SEEN = 0.5
"""Edges that come back in fewer bootstraps than this are drawn dashed."""


def draw_graph(
    graph: ValueGraph, file: str | Path, *, framework: Framework | None = None, title: str | None = None
) -> Path:
    """A value graph: blue arrows raise, red ones lower, width by size; dashed below .5 of the bootstraps.

    Values stand on the framework's circle where they have places on it, else as networkx lays them out.

    Raises InvalidInputError for another ending than .svg, .png or .pdf, without matplotlib, and for a graph without
    stability; ArtifactError where the file cannot be written.
    """
    path, plot = _opened(file)
    edges = graph.edges()
    at = _places(graph, framework)
    figure, axes = plot(figsize=(7.5, 7.5))
    names = {
        value: axes.text(
            x, y, _short(value), ha="center", va="center", fontsize=9, color=_INK, zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": _PALE},
        )
        for value, (x, y) in at.items()
    }  # fmt: skip
    largest = max((abs(edge.weight) for edge in edges), default=1.0) or 1.0
    for edge in edges:
        axes.annotate(
            "", xy=at[edge.effect], xytext=at[edge.cause],
            arrowprops={
                "arrowstyle": _HEADS.get(edge.kind, "-|>"), "mutation_scale": 16,
                "color": _UP if edge.weight >= 0 else _DOWN, "linewidth": 0.8 + 3.2 * abs(edge.weight) / largest,
                "linestyle": "-" if edge.edge_frequency >= _SEEN else "--", "connectionstyle": "arc3,rad=0.06",
                # Arrows end at the frames of the names, which are there only once they are drawn.
                "patchA": names[edge.cause].get_bbox_patch(), "patchB": names[edge.effect].get_bbox_patch(),
                "shrinkA": 4, "shrinkB": 4,
            },
        )  # fmt: skip
    stable = graph.by_role
    told = f"{graph.roles} roles, {graph.contexts} contexts, {graph.resamples} bootstraps"
    if stable.ways:
        told += f"; halves of roles: skeleton F1 {stable.skeleton:.2f} (chance {stable.skeleton_chance:.2f})"
    axes.set_title(f"{title or graph.rule['method']}\n{told}", fontsize=10, color=_INK)
    _frame(axes, list(at.values()))
    figure.canvas.draw()
    return _written(figure, path)


def draw_circle(found: Structure, framework: Framework, file: str | Path, *, title: str | None = None) -> Path:
    """Values where a metric MDS puts them, turned onto the theory's circle, each joined to its own place there.

    Raises InvalidInputError for a framework without a circle; the rest as `draw_graph`.
    """
    if found.points is None:
        raise InvalidInputError(f"There is no circle to draw: {found.why}.")
    path, plot = _opened(file)
    figure, axes = plot(figsize=(7, 7))
    angles = np.radians([framework.angle(value) for value in found.values])
    theory = np.column_stack([np.cos(angles), np.sin(angles)])
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color=_PALE, linewidth=1)
    for place, (x, y), value in zip(theory, found.points, found.values, strict=True):
        axes.plot([place[0], x], [place[1], y], color=_PALE, linewidth=1)
        axes.plot(*place, marker="o", color="white", markeredgecolor=_PALE, markersize=6)
        axes.plot(x, y, marker="o", color=_UP, markersize=7)
        away = np.array([x, y]) / max(float(np.hypot(x, y)), 1e-9)
        axes.annotate(
            _short(value), (x, y), textcoords="offset points", xytext=tuple(10 * away), fontsize=9, color=_INK,
            ha="left" if away[0] > 0.3 else "right" if away[0] < -0.3 else "center",
            va="bottom" if away[1] > 0.3 else "top" if away[1] < -0.3 else "center",
        )  # fmt: skip
    measures = {one.name: one for one in found.measures}
    template = measures["template"]
    axes.set_title(
        f"{title or 'Values on the circle'}\nn = {found.n}; template r {template.value:.2f} (p = {template.p:.2g}; "
        f"people {template.people_low:.2f} – {template.people_high:.2f})", fontsize=10, color=_INK,
    )  # fmt: skip
    _frame(axes, [*found.points, *theory])
    return _written(figure, path)


def draw_heat_map(
    matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], file: str | Path, *, title: str = ""
) -> Path:
    """A matrix with its figures, blue above 0 and red below; cells without one stay empty. Raises as `draw_graph`."""
    path, plot = _opened(file)
    table = np.asarray(matrix, dtype=np.float64)
    if table.shape != (len(rows), len(columns)):
        raise InvalidInputError(f"A heat map has a name for each row and column; {table.shape} given.")
    figure, axes = plot(figsize=(1.8 + 0.62 * len(columns), 1.6 + 0.5 * len(rows)))
    largest = float(np.nanmax(np.abs(table))) if np.isfinite(table).any() else 1.0
    axes.imshow(table, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
    axes.set_xticks(range(len(columns)), [_short(name) for name in columns], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows], fontsize=8)
    for row, column in np.argwhere(np.isfinite(table)):
        loud = abs(table[row, column]) > 0.6 * largest
        told = f"{round(table[row, column], 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0: no minus before nothing
        axes.text(column, row, told, ha="center", va="center", fontsize=7, color="white" if loud else _INK)
    axes.set_title(title, fontsize=10, color=_INK)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return _written(figure, path)


def _opened(file: str | Path) -> tuple[Path, Any]:
    """The path, and what makes a figure. Nothing is drawn on a screen, and no state of pyplot is touched."""
    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"A picture ends in {', '.join(FORMATS)}; {path.name} given.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidInputError("Pictures need matplotlib: pip install 'nnvalue[plots]'.") from None

    def plot(figsize: tuple[float, float]) -> tuple[Any, Any]:
        figure = Figure(figsize=figsize, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.add_subplot()

    return path, plot


def _places(graph: ValueGraph, framework: Framework | None) -> dict[str, tuple[float, float]]:
    if framework is not None and set(graph.values) <= set(framework.circle):
        angles = {value: np.radians(framework.angle(value)) for value in graph.values}
        return {value: (float(np.cos(angle)), float(np.sin(angle))) for value, angle in angles.items()}
    import networkx

    plain = networkx.Graph()
    plain.add_nodes_from(graph.values)
    plain.add_edges_from((edge.cause, edge.effect) for edge in graph.edges())
    found = networkx.circular_layout(plain)
    return {value: (float(x), float(y)) for value, (x, y) in found.items()}


def _frame(axes: Any, points: Sequence[Any]) -> None:
    table = np.array(points, dtype=np.float64)
    reach = 1.25 * max(1.0, float(np.abs(table).max()))
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.axis("off")


def _written(figure: Any, path: Path) -> Path:
    """Written as a whole or not at all; the same picture gives the same bytes."""
    sink = io.BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "nnvalue"}):
        figure.savefig(sink, format=kind, dpi=150, metadata=no_date)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, sink.getvalue())
    return path


def _short(name: str) -> str:
    return name.replace("_", " ")
