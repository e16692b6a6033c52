"""What moves beside the value that was steered: ratios, and whether it follows the circle and people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.values import Framework, human_reference, human_samples

PERMUTATIONS = 9_999
_TINY = 1e-9
MOVED = 0.01
"""A target that moves by less has not moved, and nothing is told for a unit of it."""
FEWEST = 5
"""Measured values on the circle: of four there are three orders, too few to tell one from chance."""


@dataclass(frozen=True)
class Leakage:
    """What one steered value or group did to the others.

    on_target: its own movement towards the asked pole; of a group, the mean of its members'.
    off_target: mean absolute movement of the other values; NaN where there are none.
    per_unit: off_target / on_target: how much the others move for a unit of the target; NaN unless the target moved
        towards the asked pole by `MOVED` at least.
    nlr: mean of the others' rises over the target's rise; nglr: share of the rises that lie outside the target's
        groups. Both are our working formulas after NeVA (arXiv 2602.07356), which does not give its own:
        L_ij = max(0, s_ij − b_j), NLR_i = mean_{j≠i} L_ij / max(ε, s_ii − b_i), NGLR_i = Σ_{j∉group(i)} L_ij /
        Σ_{j≠i} L_ij; a steered group is its own group. NaN where the denominator is not positive, and nglr where the
        framework has no groups.
    """

    value: str
    on_target: float
    off_target: float
    per_unit: float
    nlr: float
    nglr: float


def leakage(
    effects: np.ndarray, steered: Sequence[str], measured: Sequence[str], framework: Framework
) -> list[Leakage]:
    """Leakage of every steered value.

    Args:
        effects: `[steered, measured]`: what steering one towards a pole moves another towards it.
        steered, measured: values or groups of the framework. What is, or has, a member of the target belongs to it.

    Raises InvalidInputError for another shape.
    """
    table, own = _checked(effects, steered, measured, framework)
    made = []
    for row, mine, value in zip(table, own, steered, strict=True):
        on = float(row[mine].mean()) if mine.any() else float("nan")
        rises, others = np.maximum(row, 0), ~mine
        groups = {value} if value in framework.groups else set(framework.groups_of(value))
        near = np.array([bool(groups & _groups(other, framework)) for other in measured])
        total = rises[others].sum()
        moved, some = on > MOVED, others.any()
        off = float(np.abs(row[others]).mean()) if some else float("nan")
        made.append(
            Leakage(
                value, on, off,
                off / on if moved else float("nan"),
                float(rises[others].mean() / on) if moved and some else float("nan"),
                float(rises[others & ~near].sum() / total) if total > _TINY and groups else float("nan"),
            )
        )  # fmt: skip
    return made


def along_the_circle(
    effects: np.ndarray, steered: Sequence[str], measured: Sequence[str], framework: Framework, seed: int = 0
) -> dict[str, Any] | None:
    """Whether what moves beside a value follows distance on the circle; None without one, or of fewer than five values.

    Least squares of the off-target effects, each over its target's own, on cos(distance): 1 for the same place, −1 for
    the opposite one, so that a slope above 0 says that near values move along and opposite ones against. The baseline
    puts what was measured on random places; p is the share of circles with a slope at least as high, the real one
    counted.

    Returns:
        r, slope, p, permutations, and of the permuted slopes the 2.5 and 97.5 % quantiles `low`, `high`; n pairs.
    """
    table, own = _checked(effects, steered, measured, framework)
    rows, columns = (
        [place for place, name in enumerate(names) if set(framework.members(name)) <= set(framework.circle)]
        for names in (steered, measured)
    )
    if not rows or len(columns) < FEWEST:
        return None
    at = np.ix_(rows, columns)
    table, off = _per_unit(table, own)[at], ~own[at]
    near = np.cos(
        np.radians([[framework.distance(steered[one], measured[other]) for other in columns] for one in rows])
    )
    off &= np.isfinite(table)
    if off.sum() < FEWEST or np.ptp(table[off]) == 0:
        return None
    rng = np.random.default_rng(seed)
    drawn = np.array([_slope(near[:, rng.permutation(len(columns))][off], table[off]) for _ in range(PERMUTATIONS)])
    slope = _slope(near[off], table[off])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "r": float(np.corrcoef(near[off], table[off])[0, 1]), "slope": slope,
        "p": float((1 + (drawn >= slope - _TINY).sum()) / (PERMUTATIONS + 1)), "permutations": PERMUTATIONS,
        "low": float(low), "high": float(high), "n": int(off.sum()),
    }  # fmt: skip


def against_people(
    effects: np.ndarray, steered: Sequence[str], measured: Sequence[str], framework: Framework
) -> list[dict[str, Any]]:
    """Pearson's r between off-target effects, each over its target's own, and people's correlations, by sample.

    People's correlation of a group with a value is the mean of its members'. Beside it stands the ceiling: what the
    other samples of people reach in the same cells. Empty unless people were asked about five of the measured values.
    """
    table, own = _checked(effects, steered, measured, framework)
    table = _per_unit(table, own)
    made = []
    for name in human_samples():
        people = [_people_cells(one, steered, measured, framework) for one in (name, *human_samples())]
        known = np.isfinite(people[0]) & np.isfinite(table) & ~own
        if np.isfinite(people[0]).any(0).sum() < FEWEST or known.sum() < FEWEST:
            continue
        others = [one for other, one in zip(human_samples(), people[1:], strict=True) if other != name]
        ceiling = [float(np.corrcoef(one[known], people[0][known])[0, 1]) for one in others]
        varies = np.ptp(table[known]) > 0
        made.append(
            {
                "sample": name, "pairs": int(known.sum()),
                "r": float(np.corrcoef(table[known], people[0][known])[0, 1]) if varies else float("nan"),
                "ceiling_low": min(ceiling), "ceiling_high": max(ceiling),
            }
        )  # fmt: skip
    return made


def _people_cells(sample: str, steered: Sequence[str], measured: Sequence[str], framework: Framework) -> np.ndarray:
    """People's correlations `[steered, measured]`; NaN for what they were not asked about."""
    figures = human_reference(sample)
    known = {value: place for place, value in enumerate(figures.values)}
    cells = np.full((len(steered), len(measured)), np.nan)
    for row, one in enumerate(steered):
        for column, other in enumerate(measured):
            pairs = [(a, b) for a in framework.members(one) for b in framework.members(other)]
            if all(a in known and b in known for a, b in pairs):
                cells[row, column] = np.mean([figures.correlations[known[a], known[b]] for a, b in pairs])
    return cells


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def _per_unit(table: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Effects over the target's own; a row whose target did not move is NaN."""
    on = np.array([row[mine].mean() if mine.any() else np.nan for row, mine in zip(table, own, strict=True)])
    on[~(on > MOVED)] = np.nan
    return table / on[:, None]


def _groups(name: str, framework: Framework) -> set[str]:
    return {name} if name in framework.groups else set(framework.groups_of(name))


def _checked(
    effects: np.ndarray, steered: Sequence[str], measured: Sequence[str], framework: Framework
) -> tuple[np.ndarray, np.ndarray]:
    """The effects, and which of them are of the target itself: bool `[steered, measured]`."""
    table = np.asarray(effects, dtype=np.float64)
    if table.shape != (len(steered), len(measured)):
        raise InvalidInputError(
            f"Effects must be [steered, measured], {len(steered)} × {len(measured)}; their shape is {table.shape}."
        )
    members = [set(framework.members(name)) for name in measured]
    own = [[bool(set(framework.members(one)) & other) for other in members] for one in steered]
    return table, np.array(own, dtype=bool).reshape(table.shape)
