"""What moves beside the value that was steered: ratios, and whether it follows the circle and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.values import Framework, human_reference, human_samples

PERMUTATIONS = 9_999
_TINY = 1e-9
MOVED = 0.01
"""A target that moves by less has not moved, and nothing is told for a unit of it."""
FEWEST = 5  # values on the circle: of four there are three orders, too few to tell one from chance


@dataclass(frozen=True)
class Leakage:
    """What one steered value did to the others.

    on_target: its own movement towards the asked pole.
    off_target: mean absolute movement of the other values.
    per_unit: off_target / on_target: how much the others move for a unit of the target; NaN unless the target moved
        towards the asked pole.
    nlr: mean of the others' rises over the target's rise; nglr: share of the rises that lie outside the target's
        groups. Both are our working formulas after NeVA (arXiv 2602.07356), which does not give its own:
        L_ij = max(0, s_ij − b_j), NLR_i = mean_{j≠i} L_ij / max(ε, s_ii − b_i), NGLR_i = Σ_{j∉group(i)} L_ij /
        Σ_{j≠i} L_ij. NaN where the denominator is not positive, and nglr where the framework has no groups.
    """

    value: str
    on_target: float
    off_target: float
    per_unit: float
    nlr: float
    nglr: float


def leakage(effects: np.ndarray, values: Sequence[str], framework: Framework) -> list[Leakage]:
    """Leakage of every steered value.

    Args:
        effects: `[steered, measured]`, over the same values: what steering one towards its positive pole moves another.
    """
    table = _square(effects, values)
    made = []
    for place, value in enumerate(values):
        row, others = table[place], np.arange(len(values)) != place
        own, rises = float(row[place]), np.maximum(row, 0)
        groups = set(framework.groups_of(value))
        outside = np.array([not groups & set(framework.groups_of(other)) for other in values]) & others
        total = rises[others].sum()
        moved = own > MOVED
        off = float(np.abs(row[others]).mean()) if others.any() else float("nan")
        made.append(
            Leakage(
                value, own, off,
                off / own if moved else float("nan"),
                float(rises[others].mean() / own) if moved and others.any() else float("nan"),
                float(rises[outside].sum() / total) if total > _TINY and groups else float("nan"),
            )
        )  # fmt: skip
    return made


def along_the_circle(
    effects: np.ndarray, values: Sequence[str], framework: Framework, seed: int = 0
) -> Mapping[str, Any] | None:
    """Whether what moves beside a value follows distance on the circle; None without one, or of fewer than five values.

    Least squares of the off-target effects, each over its target's own, on cos(distance): 1 for the same place, −1 for
    the opposite one, so that a slope above 0 says that near values move along and opposite ones against. The baseline
    puts the values on random places; p is the share of circles with a slope at least as high, the real one counted.

    Returns:
        r, slope, p, permutations, and of the permuted slopes the 2.5 and 97.5 % quantiles `low`, `high`; n pairs.
    """
    placed = [place for place, value in enumerate(values) if value in framework.circle]
    if len(placed) < FEWEST:
        return None
    table = _per_unit(_square(effects, values)[np.ix_(placed, placed)])
    names = [values[place] for place in placed]
    near = np.cos(np.radians([[framework.distance(one, other) for other in names] for one in names]))
    off = ~np.eye(len(names), dtype=bool) & np.isfinite(table)
    if off.sum() < 6 or np.ptp(table[off]) == 0:
        return None
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(PERMUTATIONS):
        order = rng.permutation(len(names))
        drawn.append(_slope(near[np.ix_(order, order)][off], table[off]))
    slope = _slope(near[off], table[off])
    low, high = np.quantile(drawn, (0.025, 0.975))
    above = 1 + sum(one >= slope - _TINY for one in drawn)
    return {
        "r": float(np.corrcoef(near[off], table[off])[0, 1]), "slope": slope, "p": above / (PERMUTATIONS + 1),
        "permutations": PERMUTATIONS, "low": float(low), "high": float(high), "n": int(off.sum()),
    }  # fmt: skip


def against_people(effects: np.ndarray, values: Sequence[str]) -> list[dict[str, Any]]:
    """Pearson's r between off-target effects (both directions' mean) and people's correlations, by sample.

    Beside it stands the ceiling: what the other samples of people reach against the same one. Empty unless the values
    are among those that people were asked about, four at least.
    """
    table = _per_unit(_square(effects, values))
    both = (table + table.T) / 2
    made = []
    for name in human_samples():
        sample = human_reference(name)
        common = [value for value in values if value in sample.values]
        if len(common) < 4:
            continue
        own = [list(values).index(value) for value in common]
        theirs = [sample.values.index(value) for value in common]
        upper = np.triu_indices(len(common), 1)
        ours, people = both[np.ix_(own, own)][upper], sample.correlations[np.ix_(theirs, theirs)][upper]
        known = np.isfinite(ours)
        others = [human_reference(other) for other in human_samples() if other != name]
        ceiling = [np.corrcoef(one.correlations[np.ix_(theirs, theirs)][upper], people)[0, 1] for one in others]
        usable = known.sum() >= 3 and np.ptp(ours[known]) > 0
        made.append(
            {
                "sample": name, "pairs": int(known.sum()),
                "r": float(np.corrcoef(ours[known], people[known])[0, 1]) if usable else float("nan"),
                "ceiling_low": float(min(ceiling)), "ceiling_high": float(max(ceiling)),
            }
        )  # fmt: skip
    return made


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def _per_unit(table: np.ndarray) -> np.ndarray:
    """Effects over the target's own; a row whose target did not move is NaN."""
    own = np.diag(table).copy()
    own[own <= MOVED] = np.nan
    return table / own[:, None]


def _square(effects: np.ndarray, values: Sequence[str]) -> np.ndarray:
    table = np.asarray(effects, dtype=np.float64)
    if table.shape != (len(values), len(values)):
        raise InvalidInputError(
            f"Effects must be [steered, measured] over the same {len(values)} values; their shape is {table.shape}."
        )
    return table
