"""Graphs as small matrices of marks, and what follows from them: arrows, descendants, circles, reductions.

`marks[i, j]` is the mark at j's end of the edge between i and j: nothing, a tail, an arrowhead, or (of FCI) a circle.
So i → j is a tail at i and a head at j, i — j two tails, and i ↔ j two heads, which also stands for both arrows of the
paper's graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nnvalue.errors import InvalidInputError, UnknownNameError

NOTHING, TAIL, HEAD, CIRCLE = 0, 1, 2, 3


def marks_of(edges: Iterable[Sequence[str]], nodes: Sequence[str]) -> np.ndarray:
    """Marks of arrows (cause, effect), int8 `[node, node]`; a pair that is named both ways has two heads.

    Raises UnknownNameError for an end that is no node, InvalidInputError for an arrow from a node to itself.
    """
    place = {name: number for number, name in enumerate(nodes)}
    adjacent = np.zeros((len(place), len(place)), dtype=bool)
    for cause, effect in edges:
        for name in (cause, effect):
            if name not in place:
                raise UnknownNameError("value", str(name), place)
        if cause == effect:
            raise InvalidInputError(f"An arrow leads from '{cause}' to itself; give two different values.")
        adjacent[place[cause], place[effect]] = True
    return marks_of_arrows(adjacent)


def marks_of_arrows(arrows: np.ndarray) -> np.ndarray:
    """Marks int8 `[node, node]` of arrows bool `[cause, effect]`."""
    marks = np.where(arrows, HEAD, np.where(arrows.T, TAIL, NOTHING)).astype(np.int8)
    np.fill_diagonal(marks, NOTHING)
    return marks


def skeleton(marks: np.ndarray) -> np.ndarray:
    """Which pairs have an edge, bool `[..., node, node]`."""
    return marks != NOTHING


def heads(marks: np.ndarray) -> np.ndarray:
    """Arrows, bool `[..., cause, effect]`; of two heads there is one each way, of two tails none."""
    return marks == HEAD


def both_ways(marks: np.ndarray) -> np.ndarray:
    """The paper's rewriting: arrows bool `[cause, effect]`, where what has no direction, or two, points both ways."""
    directed = (marks == HEAD) & (marks.T == TAIL)
    return skeleton(marks) & ~directed.T


def descendants(arrows: np.ndarray) -> np.ndarray:
    """Which nodes can be reached along arrows, bool `[from, to]`; a node reaches itself if it lies on a circle."""
    reach = arrows.copy()
    for middle in range(len(reach)):
        reach |= reach[:, middle, None] & reach[None, middle]
    return reach


def circles(arrows: np.ndarray) -> list[list[int]]:
    """Groups of nodes that reach each other, each in order; empty for an acyclic graph."""
    reach = descendants(arrows)
    alike = reach & reach.T
    groups = {tuple(np.flatnonzero(row).tolist()) for row in alike if row.any()}
    return [list(group) for group in sorted(groups)]


def reduced_as_published(arrows: np.ndarray) -> np.ndarray:
    """The paper's transitive reduction of arrows bool `[cause, effect]` (code of Kang et al. 2025).

    Over the list of arrows, row by row: an arrow is taken out, and put back at the end where that changes what can be
    reached; until a whole pass takes none out. Inside circles the result depends on the order of the columns.
    """
    edges = [tuple(edge) for edge in np.argwhere(arrows)]
    reach = descendants(arrows)
    changed = True
    while changed:
        changed = False
        for edge in list(edges):
            edges.remove(edge)
            if np.array_equal(descendants(_filled(edges, len(arrows))), reach):
                changed = True
            else:
                edges.append(edge)
    return _filled(edges, len(arrows))


def reduced(arrows: np.ndarray) -> np.ndarray:
    """A transitive reduction that does not depend on the order of nodes, bool `[cause, effect]`.

    Circles stay as they are. Between groups of nodes that reach each other an arrow goes where a longer way leads, too
    (Aho, Garey and Ullman 1972, of the acyclic graph of such groups).
    """
    reach = descendants(arrows) | np.eye(len(arrows), dtype=bool)
    alike = reach & reach.T
    strictly = reach & ~alike
    # i → j goes if some node strictly between the two is reached from i and reaches j.
    longer = (strictly[:, :, None] & strictly[None]).any(1)
    return arrows & (alike | ~longer)


def _filled(edges: Sequence[tuple[int, ...]], size: int) -> np.ndarray:
    made = np.zeros((size, size), dtype=bool)
    if edges:
        made[tuple(np.array(edges).T)] = True
    return made
