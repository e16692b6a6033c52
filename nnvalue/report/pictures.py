"""Pictures for papers, written as files by matplotlib, an extra, without a window."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import write_bytes
from nnvalue.causal import Structure, ValueGraph
from nnvalue.errors import InvalidInputError
from nnvalue.report.causal import graph_figure
from nnvalue.report.figures import Figure, HeatMap, Table, signed
from nnvalue.report.papers import paint, paint_arrows, paint_circle, paint_heat_map, size_of
from nnvalue.report.structure import circle_figure
from nnvalue.values import Framework

FORMATS = (".svg", ".png", ".pdf")
_SETTINGS: Any = {"svg.hashsalt": "nnvalue", "pdf.fonttype": 42, "ps.fonttype": 42}
"""Fonts in a PDF are TrueType, which journals ask for."""


def draw_figure(figure: Figure, file: str | Path, *, columns: int = 1) -> Path:
    """Any figure of a result, as `figures_of` gives them, as wide as one or two columns of a paper.

    Raises InvalidInputError for another ending than .svg, .png or .pdf, and without matplotlib; ArtifactError where
    the file cannot be written.
    """
    if columns not in (1, 2):
        raise InvalidInputError(f"A figure spans 1 or 2 columns; {columns} given.")
    path = _checked(file)
    return _written(path, size_of(figure, columns), lambda canvas: paint(figure, canvas, columns), dpi=300)


def draw_graph(
    graph: ValueGraph, file: str | Path, *, framework: Framework | None = None, title: str | None = None
) -> Path:
    """A value graph: blue arrows raise, red ones lower, width by size; dashed below .5 of the bootstraps.

    Values stand on the framework's circle where they have places on it, else as networkx lays them out.

    Raises InvalidInputError for another ending than .svg, .png or .pdf, without matplotlib, and for a graph without
    stability; ArtifactError where the file cannot be written.
    """
    path = _checked(file)
    figure, stable = graph_figure(graph, framework), graph.by_role
    told = f"{graph.roles} roles, {graph.contexts} contexts, {graph.resamples} bootstraps"
    if stable.ways:
        told += f"; halves of roles: skeleton F1 {stable.skeleton:.2f} (chance {stable.skeleton_chance:.2f})"

    def painted(canvas: Any) -> None:
        axes = canvas.add_subplot()
        paint_arrows(figure, canvas, axes)
        axes.set_title(f"{title or graph.rule['method']}\n{told}", fontsize=10)

    return _written(path, (7.5, 7.5), painted)


def draw_circle(found: Structure, framework: Framework, file: str | Path, *, title: str | None = None) -> Path:
    """Values where a metric MDS puts them, turned onto the theory's circle, each joined to its own place there.

    Raises InvalidInputError for a framework without a circle; the rest as `draw_graph`.
    """
    if found.points is None:
        raise InvalidInputError(f"There is no circle to draw: {found.why}.")
    path = _checked(file)
    figure = circle_figure(found, framework)
    template = next(one for one in found.measures if one.name == "template")

    def painted(canvas: Any) -> None:
        axes = canvas.add_subplot()
        paint_circle(figure, axes)
        axes.set_title(
            f"{title or 'Values on the circle'}\nn = {found.n}; template r {template.value:.2f} (p = {template.p:.2g}; "
            f"people {template.people_low:.2f} – {template.people_high:.2f})", fontsize=10,
        )  # fmt: skip

    return _written(path, (7, 7), painted)


def draw_heat_map(
    matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], file: str | Path, *, title: str = ""
) -> Path:
    """A matrix with its figures, blue above 0, orange below; cells without one stay empty. Raises as `draw_graph`."""
    path = _checked(file)
    table = np.asarray(matrix, dtype=np.float64)
    if table.shape != (len(rows), len(columns)):
        raise InvalidInputError(f"A heat map has a name for each row and column; {table.shape} given.")
    texts = tuple(tuple(signed(one) if np.isfinite(one) else "" for one in row) for row in table)
    top = float(np.nanmax(np.abs(table))) if np.isfinite(table).any() else 1.0
    figure = HeatMap(title, title, Table((), ()), tuple(rows), tuple(columns), table, texts, texts, top, "")
    size = 1.8 + 0.62 * len(columns), 1.6 + 0.5 * len(rows)
    return _written(path, size, lambda canvas: paint_heat_map(figure, canvas.add_subplot(), title=True))


def _checked(file: str | Path) -> Path:
    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"A picture ends in {', '.join(FORMATS)}; {path.name} given.")
    return path


def _written(path: Path, size: tuple[float, float], painted: Callable[[Any], None], dpi: int = 150) -> Path:
    """Written as a whole or not at all; the same picture gives the same bytes.

    Nothing is drawn on a screen, and no state of pyplot is touched.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise InvalidInputError("Pictures need matplotlib: pip install 'nnvalue[plots]'.") from None
    canvas = Canvas(figsize=size, layout="constrained")
    FigureCanvasAgg(canvas)
    sink = io.BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with matplotlib.rc_context(_SETTINGS):
        painted(canvas)
        canvas.savefig(sink, format=kind, dpi=dpi, metadata=no_date)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, sink.getvalue())
    return path
