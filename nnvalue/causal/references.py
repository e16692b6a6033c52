"""Graphs to hold a result against: a file of arrows, a saved graph, or what is true of the organism."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnvalue.artifacts import kind_of
from nnvalue.causal.background import read_mapping
from nnvalue.causal.graph import KIND, ValueGraph
from nnvalue.causal.marks import marks_of
from nnvalue.errors import InvalidInputError
from nnvalue.organism import causal_model

ORGANISM = "organism"
"""The causal model that the embedded organism's speakers are drawn from."""


def read_reference(source: str | Path, values: Sequence[str]) -> np.ndarray:
    """Marks int8 `[value, value]` of a graph on these values.

    Args:
        source: `organism`; the folder of a saved graph; or a YAML or JSON file `arrows: [[cause, effect], …]`.

    Raises InvalidInputError or UnknownNameError for what is not there, or is of other values.
    """
    if str(source) == ORGANISM:
        model = causal_model()
        arrows = [(cause, effect) for cause, effect, _ in model.edges]
        if unknown := sorted(set(values) - set(model.values)):
            raise InvalidInputError(
                f"The organism's causal model is of {', '.join(model.values)}, and these are not among them: "
                f"{', '.join(unknown)}."
            )
        return _of_some(marks_of(arrows, model.values), model.values, values)
    if Path(source).is_dir():
        if kind_of(Path(source)) != KIND:
            raise InvalidInputError(f"{source} is no graph of nnvalue; give the folder of one, or a file of arrows.")
        graph = ValueGraph.load(source)
        if not set(values) <= set(graph.values):
            raise InvalidInputError(f"The graph in {source} is of other values: {', '.join(graph.values)}.")
        return _of_some(graph.marks, graph.values, values)
    arrows = read_mapping(source, {"arrows"}).get("arrows") or []
    for arrow in arrows:
        if not isinstance(arrow, list) or len(arrow) != 2:
            raise InvalidInputError(f"{source}: arrows must be a list of pairs [cause, effect], {arrow!r} given.")
    return marks_of([(str(cause), str(effect)) for cause, effect in arrows], values)


def _of_some(marks: np.ndarray, known: Sequence[str], values: Sequence[str]) -> np.ndarray:
    at = [list(known).index(value) for value in values]
    return marks[np.ix_(at, at)]
