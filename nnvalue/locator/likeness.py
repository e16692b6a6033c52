"""What the values of a result have in common, and whether likeness follows the circle."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnvalue.findings import ValueNeurons
from nnvalue.values import Framework

PERMUTATIONS = 9_999
_ALIKE = 1e-9  # correlations that differ by less are the same


def shared_share(scores: np.ndarray) -> float:
    """Share of the scores' sum of squares that their mean over values carries: 1 if all are alike, 1/K by chance.

    Args:
        scores: `[value, layer, neuron]`, of K values. Each is first brought to length 1, so that none outweighs others.
    """
    flat = _unit(scores)
    return float(np.square(flat.mean(0)).sum())


def between_values(found: ValueNeurons, framework: Framework, seed: int = 0) -> dict[str, Any]:
    """Likeness of the values' score maps, and its relation to distance on the circle; groups are left out.

    The relation is Pearson's r over pairs of values between likeness and angular distance, so values that lie close and
    are alike make it negative. The baseline moves the values to random places of the circle; p is the share of such
    circles with an r at least as low, the real one counted.

    Returns:
        values: the names; likeness: Pearson correlation of their score maps `[value][value]`; overlap: Jaccard overlap
        of their selected neurons; shared_share: as above; circle: `r`, `p`, `permutations`, and of the baseline's r the
        `mean` and 2.5 and 97.5 % quantiles, `low` and `high`. None where it is not defined: for circle without one, for
        fewer than four values on it, for flat maps, and where all pairs are equally alike.
    """
    names = [name for name in found.values if name in framework.values]
    if not names:
        return {"values": [], "likeness": None, "overlap": [], "shared_share": None, "circle": None}
    part = found.of(names)
    scores = part.maps["score"]
    flat = scores.reshape(len(names), -1).astype(np.float64)
    likeness: Any = np.corrcoef(flat) if len(names) > 1 and (flat.std(1) > 0).all() else None
    placed = [place for place, name in enumerate(names) if name in framework.circle]
    circle = None
    if len(placed) > 3 and likeness is not None:
        circle = _circle_relation(likeness[np.ix_(placed, placed)], framework, [names[at] for at in placed], seed)
    return {
        "values": list(part.values),
        "likeness": None if likeness is None else likeness.tolist(),
        "overlap": part.overlap().tolist(),
        "shared_share": shared_share(scores) if len(names) > 1 else None,
        "circle": circle,
    }


def _circle_relation(likeness: np.ndarray, framework: Framework, names: list[str], seed: int) -> dict[str, Any] | None:
    distance = np.array([[framework.distance(one, other) for other in names] for one in names])
    upper = np.triu_indices(len(names), 1)
    if np.ptp(likeness[upper]) < _ALIKE:
        return None
    observed = _pearson(likeness[upper], distance[upper])
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(PERMUTATIONS):
        order = random.permutation(len(names))
        drawn.append(_pearson(likeness[upper], distance[np.ix_(order, order)][upper]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "r": observed,
        "p": (1 + sum(r <= observed + 1e-12 for r in drawn)) / (1 + PERMUTATIONS),
        "permutations": PERMUTATIONS,
        "mean": float(np.mean(drawn)),
        "low": float(low),
        "high": float(high),
    }


def _unit(scores: np.ndarray) -> np.ndarray:
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 0, length, 1)


def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])
