"""The figures of a result by name, for papers: the same data that the page shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnvalue.artifacts import kind_of
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.report.causal import graph_figures
from nnvalue.report.evaluation import evaluation_figures
from nnvalue.report.figures import Figure
from nnvalue.report.gathering import Result, gather
from nnvalue.report.neurons import neuron_figures
from nnvalue.report.page import framework_of
from nnvalue.report.profile import feature_figures, profile_figures
from nnvalue.report.structure import survey_figures
from nnvalue.values import Framework

MAKERS: dict[str, Callable[[Any, Framework | None], dict[str, Figure]]] = {
    "value-neurons": neuron_figures, "graph": graph_figures, "survey": survey_figures, "profile": profile_figures,
    "value-features": feature_figures,
}  # fmt: skip


def figures_of(folder: str | Path) -> dict[str, Figure]:
    """Every figure of a saved result, by name; names of figures of one arm end in that arm's.

    Raises InvalidInputError for a folder that is no result or one without figures, ArtifactError for a damaged one.
    """
    path = Path(folder)
    if path.is_dir() and kind_of(path) is None:
        raise InvalidInputError(f"{path} is no result of nnvalue; name one result's folder.")
    (result,) = gather([path]).results
    made = _figures(result)
    if not made:
        raise InvalidInputError(f"{path} is of the kind '{result.kind}', which has no figures.")
    return made


def _figures(result: Result) -> dict[str, Figure]:
    if result.kind == "evaluation":
        return evaluation_figures(result.content, result.content.tables())
    return MAKERS[result.kind](result.content, framework_of(result)) if result.kind in MAKERS else {}


def chosen(figures: dict[str, Figure], name: str) -> Figure:
    """A figure by its name, or by the beginning of it: then the first one. Raises UnknownNameError."""
    for known, figure in figures.items():
        if known == name or known.startswith(f"{name} "):
            return figure
    raise UnknownNameError("figure", name, figures, "(of this result)")
