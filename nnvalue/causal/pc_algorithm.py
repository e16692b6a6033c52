"""The PC algorithm on linear Gaussian tests, order-independent in its skeleton.

Spirtes and Glymour 1991; the stable skeleton of Colombo and Maathuis 2014 (JMLR 15, algorithm 4.1); Fisher's z of
partial correlations; colliders in the order of their nodes, the first of two contradicting ones wins; Meek's rules 1 to
3 (1995), never closing a circle. The tests hold it against causal-learn with its settings `stable=True, uc_rule=0,
uc_priority=2`, which closes some.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.causal.marks import HEAD, NOTHING, TAIL, descendants

if TYPE_CHECKING:
    from nnvalue.causal.background import Knowledge

_LARGEST_CORRELATION = 1 - 1e-12
_FEWEST = 4


def pc(
    correlations: np.ndarray, n: int, alpha: float, knowledge: Knowledge | None = None, deepest: int | None = None
) -> np.ndarray:
    """Marks of the graph that fits what is independent of what; int8 `[node, node]`.

    Args:
        correlations: float64 `[node, node]`, of full rank.
        n: independent rows behind them.
        alpha: a pair stays adjacent if its partial correlation has p ≤ alpha given every set that is tried.
        knowledge: arrows that are forbidden or required.
        deepest: nodes in a set at most; None for as many as there are neighbours.
    """
    size = len(correlations)
    forbidden = np.zeros((size, size), dtype=bool) if knowledge is None else knowledge.forbidden
    required = np.zeros((size, size), dtype=bool) if knowledge is None else knowledge.required
    adjacent, separating = find_skeleton(correlations, n, alpha, forbidden, required, deepest)
    return orient(adjacent, separating, forbidden, required)


def find_skeleton(
    correlations: np.ndarray,
    n: int,
    alpha: float,
    forbidden: np.ndarray,
    required: np.ndarray,
    deepest: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs are adjacent, bool `[node, node]`, and which nodes separate the others, bool `[node, node, node]`.

    `separating[i, j, m]` says that m is in a set, of the size at which i and j were parted, given which they are
    independent.
    """
    from scipy.stats import norm

    size = len(correlations)
    adjacent = ~(forbidden & forbidden.T)
    np.fill_diagonal(adjacent, False)
    separating = np.zeros((size, size, size), dtype=bool)
    critical = norm.isf(alpha / 2)
    # A test with as many rows as nodes says nothing.
    last = min(n - _FEWEST, size if deepest is None else deepest)
    for depth in range(last + 1):
        if depth > adjacent.sum(1).max(initial=0) - 1:
            break
        bar = np.tanh(critical / np.sqrt(n - depth - 3))
        frozen = adjacent.copy()
        for i, j in itertools.combinations(range(size), 2):
            if not frozen[i, j] or required[i, j] or required[j, i]:
                continue
            for one, other in ((i, j), (j, i)):
                near = np.flatnonzero(frozen[one])
                found = list(itertools.combinations(near[near != other], depth))
                sets = np.array(found, dtype=np.int64).reshape(len(found), depth)
                parted = np.abs(partial_correlations(correlations, i, j, sets)) < bar
                if parted.any():
                    adjacent[i, j] = adjacent[j, i] = False
                    separating[i, j, sets[parted].ravel()] = separating[j, i, sets[parted].ravel()] = True
                if not depth:
                    break
    return adjacent, separating


def partial_correlations(correlations: np.ndarray, i: int, j: int, sets: np.ndarray) -> np.ndarray:
    """Correlations of i and j given each of several sets of nodes, int64 `[set, member]`; float64 `[set]`."""
    if not len(sets):
        return np.empty(0)
    if sets.shape[1] == 0:
        return np.full(len(sets), correlations[i, j])
    if sets.shape[1] == 1:
        a, b = correlations[i, sets[:, 0]], correlations[j, sets[:, 0]]
        return (correlations[i, j] - a * b) / np.sqrt((1 - a**2) * (1 - b**2))
    at = np.column_stack([np.full((len(sets), 2), (i, j)), sets])
    inverse = np.linalg.inv(correlations[at[:, :, None], at[:, None, :]])
    found = -inverse[:, 0, 1] / np.sqrt(np.abs(inverse[:, 0, 0] * inverse[:, 1, 1]))
    return np.clip(found, -_LARGEST_CORRELATION, _LARGEST_CORRELATION)


def orient(adjacent: np.ndarray, separating: np.ndarray, forbidden: np.ndarray, required: np.ndarray) -> np.ndarray:
    """Marks int8 `[node, node]` of a skeleton, by what is known, its colliders and Meek's rules."""
    marks = np.where(adjacent, TAIL, NOTHING).astype(np.int8)
    for i, j in zip(*np.nonzero(adjacent & ((forbidden & ~forbidden.T) | required.T)), strict=True):
        _point(marks, j, i)
    for i, m, j in _triples(marks):
        if i > j or adjacent[i, j] or separating[i, j, m]:
            continue
        if forbidden[i, m] or forbidden[j, m] or required[m, i] or required[m, j]:
            continue
        if not _leads(marks, m, i) and not _leads(marks, m, j):
            _point(marks, i, m)
            _point(marks, j, m)
    _meek(marks, adjacent, forbidden)
    return marks


def _triples(marks: np.ndarray) -> list[tuple[int, int, int]]:
    """Every i, m, j with i and m, and m and j adjacent, in causal-learn's order: edges by their marks, tails first."""
    pairs = [(int(i), int(m)) for mark in (TAIL, HEAD) for m, i in np.argwhere(mark == marks.T)]
    after: dict[int, list[int]] = {}
    for m, j in pairs:
        after.setdefault(m, []).append(j)
    return [(i, m, j) for i, m in pairs for j in after[m] if j != i]


def _meek(marks: np.ndarray, adjacent: np.ndarray, forbidden: np.ndarray) -> None:
    """Orient what must be, so that no new collider and no circle arises."""
    triples = _triples(marks)
    open_ones = [(i, m, j) for i, m, j in triples if not adjacent[i, j]]
    triangles = [(i, m, j) for i, m, j in triples if adjacent[i, j]]
    over: dict[tuple[int, int], list[int]] = {}
    for i, m, j in triangles:
        over.setdefault((i, j), []).append(m)
    kites = [
        (i, one, other, end)
        for i, one, end in triangles
        for other in over[i, end]
        if one < other and not adjacent[one, other]
    ]

    def point(cause: int, effect: int) -> bool:
        if not _open(marks, cause, effect) or forbidden[cause, effect]:
            return False
        if descendants(marks == HEAD)[effect, cause]:
            return False
        _point(marks, cause, effect)
        return True

    changed = True
    while changed:
        changed = False
        for i, m, j in open_ones:
            if _leads(marks, i, m) and _open(marks, m, j):
                changed |= point(m, j)
        for i, m, j in triangles:
            if _leads(marks, i, m) and _leads(marks, m, j) and _open(marks, i, j):
                changed |= point(i, j)
        for i, one, other, end in kites:
            sides = _open(marks, i, one) and _open(marks, i, other) and _open(marks, i, end)
            if sides and _leads(marks, one, end) and _leads(marks, other, end):
                changed |= point(i, end)


def _leads(marks: np.ndarray, i: int, j: int) -> bool:
    """Whether i → j."""
    return marks[i, j] == HEAD and marks[j, i] == TAIL


def _open(marks: np.ndarray, i: int, j: int) -> bool:
    """Whether i — j."""
    return marks[i, j] == TAIL and marks[j, i] == TAIL


def _point(marks: np.ndarray, cause: int, effect: int) -> None:
    marks[cause, effect], marks[effect, cause] = HEAD, TAIL
