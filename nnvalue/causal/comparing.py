"""How alike two graphs are, and how alike they would be by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnvalue.causal.marks import heads, skeleton
from nnvalue.errors import InvalidInputError

PERMUTATIONS = 2_000
_AT_ONCE = 250


@dataclass(frozen=True)
class Measure:
    """One figure of a comparison beside its null: the same graph with its nodes' names shuffled.

    chance, sd: mean and standard deviation over shuffled names; p: the share of them that are at least as alike, the
        real one counted.
    """

    value: float
    chance: float
    sd: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """How alike a graph is to a reference.

    skeleton, direction: F1 of adjacent pairs, and of arrows (an edge without a direction has none); 0 where one of the
        graphs has none.
    shd: structural Hamming distance, pairs whose edge differs in any way.
    precision, recall: of the skeleton.
    edges, reference: how many edges there are in either.
    """

    skeleton: Measure
    direction: Measure
    shd: Measure
    precision: float
    recall: float
    edges: int
    reference: int
    permutations: int


def compare(marks: np.ndarray, reference: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Comparison:
    """A graph held against another one on the same nodes, both int8 `[node, node]` (see `nnvalue.causal.marks`).

    Raises InvalidInputError for graphs of different sizes.
    """
    if marks.shape != reference.shape:
        raise InvalidInputError(
            f"Graphs are compared on the same values; one has {len(marks)} of them and the other {len(reference)}."
        )
    found = _figures(marks[None], reference)[0]
    rng = np.random.default_rng(seed)
    drawn = []
    for start in range(0, permutations, _AT_ONCE):
        count = min(_AT_ONCE, permutations - start)
        order = rng.permuted(np.tile(np.arange(len(marks)), (count, 1)), axis=1)
        drawn.append(_figures(marks[order[:, :, None], order[:, None, :]], reference))
    null = np.concatenate(drawn)
    tiny = 1e-9
    measures = []
    for column, better in ((0, 1), (1, 1), (2, -1)):
        extreme = (better * null[:, column] >= better * found[column] - tiny).sum()
        measures.append(
            Measure(
                float(found[column]), float(null[:, column].mean()), float(null[:, column].std()),
                float((1 + extreme) / (1 + permutations)),
            )
        )  # fmt: skip
    edges, known = int(skeleton(marks).sum()) // 2, int(skeleton(reference).sum()) // 2
    both = int((skeleton(marks) & skeleton(reference)).sum()) // 2
    one, other, distance = measures
    return Comparison(
        one, other, distance, both / edges if edges else 0.0, both / known if known else 0.0, edges, known, permutations
    )


def _figures(marks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Skeleton F1, direction F1 and SHD of graphs `[graph, node, node]`; float64 `[graph, 3]`."""
    size = marks.shape[-1]
    upper = np.triu_indices(size, 1)
    same = (marks == reference) & (marks.swapaxes(1, 2) == reference.T)
    shd = (~same)[:, upper[0], upper[1]].sum(1)
    made = [_f1(kind(marks), kind(reference)) for kind in (skeleton, heads)]
    return np.column_stack([*made, shd.astype(np.float64)])


def _f1(found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    both = (found & reference).sum((1, 2))
    total = found.sum((1, 2)) + reference.sum()
    return np.divide(2.0 * both, total, out=np.zeros(len(found)), where=(total > 0) & (both > 0))
