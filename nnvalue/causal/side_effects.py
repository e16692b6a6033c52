"""Side effects as the paper counts them: how often expected and unexpected values move along.

After the published code of Kang et al. (ACL Findings 2025): among the settings in which a target moved, the share in
which each other value moved, over its descendants in the graph (expected) and over all others (unexpected). What the
paper leaves out stands beside it: the same with sizes, ancestors apart from unrelated values, and a null in which the
graph's names are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnvalue.causal.scores import NONE, ScoreTable
from nnvalue.errors import InvalidInputError

PERMUTATIONS = 2_000
_TINY = 1e-9


@dataclass(frozen=True)
class ValueSideEffects:
    """What moved along with one value.

    expected, unexpected: mean share of settings, over its descendants and over all others; ancestors and unrelated are
        the two parts of the latter. NaN where there are none, or the value never moved.
    moved: settings in which the value itself moved.
    """

    value: str
    expected: float
    unexpected: float
    ancestors: float
    unrelated: float
    moved: int


@dataclass(frozen=True)
class SideEffects:
    """Means over the values that moved, each of those for which it is defined, as published.

    expected, unexpected: of frequencies, or of sizes (`form`), over values with descendants, and with others; gap:
        expected − unexpected.
    chance, sd, p: of the gap over shuffled names of the graph, one-sided.
    expected_sd, unexpected_sd: over values.
    coverage: share of ordered pairs in which one value is a descendant of the other.
    """

    form: str
    expected: float
    unexpected: float
    gap: float
    chance: float
    sd: float
    p: float
    expected_sd: float
    unexpected_sd: float
    coverage: float
    permutations: int
    by_value: tuple[ValueSideEffects, ...]


def side_effects(
    differences: np.ndarray,
    downstream: np.ndarray,
    values: Sequence[str],
    *,
    form: str = "frequency",
    least: float = 0.0,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> SideEffects:
    """Expected and unexpected side effects of settings.

    Args:
        differences: float64 `[setting, value]`, scores in each setting minus those of the base.
        downstream: bool `[value, value]`, `ValueGraph.descendants`: which values lie downstream of which.
        form: `frequency`, the share of settings in which a value moved; or `magnitude`, mean |difference|.
        least: a value has moved if its difference is larger: 0 as published, for answers of yes and no; more for scores
            from probabilities, which always differ by a little.

    Raises InvalidInputError for another shape or form, or a base that is the only setting.
    """
    table = np.asarray(differences, dtype=np.float64)
    if form not in ("frequency", "magnitude"):
        raise InvalidInputError(f"Side effects are counted by frequency or magnitude, '{form}' given.")
    if table.ndim != 2 or table.shape[1] != len(values) or downstream.shape != (len(values),) * 2 or not len(table):
        raise InvalidInputError(
            f"Differences are [setting, value] and a graph is [value, value]; {table.shape} and {downstream.shape} "
            f"given for {len(values)} values."
        )
    shares, moved = _shares(table, form, least)
    expected, unexpected = _by_value(shares, downstream)
    rng = np.random.default_rng(seed)
    gaps = np.array([_gap(*_by_value(shares, _shuffled(downstream, rng))) for _ in range(permutations)])
    gap, gaps = _gap(expected, unexpected), gaps[np.isfinite(gaps)]
    rows = []
    for place, value in enumerate(values):
        others = np.arange(len(values)) != place
        up = downstream[:, place] & ~downstream[place] & others
        upstream, apart = (_mean(shares[place][kept]) for kept in (up, others & ~up & ~downstream[place]))
        rows.append(
            ValueSideEffects(
                value, float(expected[place]), float(unexpected[place]), upstream, apart, int(moved[place])
            )
        )  # fmt: skip
    size = len(values)
    return SideEffects(
        form, _mean(expected), _mean(unexpected), gap,
        _mean(gaps), float(gaps.std()) if len(gaps) else float("nan"),
        float((1 + (gaps >= gap - _TINY).sum()) / (1 + len(gaps))) if np.isfinite(gap) else float("nan"),
        _sd(expected), _sd(unexpected),
        float((downstream & ~np.eye(size, dtype=bool)).sum() / (size * (size - 1))), permutations, tuple(rows),
    )  # fmt: skip


def _shares(table: np.ndarray, form: str, least: float) -> tuple[np.ndarray, np.ndarray]:
    """F `[target, other]`, over the settings in which the target moved; and how many those are, `[target]`."""
    moves = np.abs(table) > max(least, _TINY)
    what = moves.astype(np.float64) if form == "frequency" else np.abs(table)
    counts = moves.sum(0)
    sums = moves.astype(np.float64).T @ what
    return np.divide(sums, counts[:, None], out=np.full(sums.shape, np.nan), where=counts[:, None] > 0), counts


def _by_value(shares: np.ndarray, downstream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    others = ~np.eye(len(shares), dtype=bool)
    made = []
    for kept in (downstream & others, ~downstream & others):
        count = kept.sum(1)
        sums = np.where(kept, shares, 0).sum(1)
        sums[~np.isfinite(shares).all(1)] = np.nan
        made.append(np.divide(sums, count, out=np.full(len(shares), np.nan), where=count > 0))
    return made[0], made[1]


def _gap(expected: np.ndarray, unexpected: np.ndarray) -> float:
    return _mean(expected) - _mean(unexpected)


def _shuffled(downstream: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(len(downstream))
    return downstream[np.ix_(order, order)]


def _mean(figures: np.ndarray) -> float:
    known = figures[np.isfinite(figures)]
    return float(known.mean()) if len(known) else float("nan")


def _sd(figures: np.ndarray) -> float:
    known = figures[np.isfinite(figures)]
    return float(known.std()) if len(known) else float("nan")


def role_differences(table: ScoreTable, base: str | None = None) -> np.ndarray:
    """What another role changes: scores of unsteered roles minus those of one of them; float64 `[role, value]`.

    Nobody in particular (a role called `none`) is no role here.

    Args:
        base: that role; by default the first, as published.

    Raises InvalidInputError for a role that is not there.
    """
    rows = table.unsteered()
    somebody = np.array([rows.roles[role] != NONE for role in rows.role])
    at = _role(rows, base or next((name for name in rows.roles if name != NONE), None))
    return rows.scores[somebody & (rows.role != at)] - rows.scores[rows.role == at]


def context_differences(table: ScoreTable, role: str | None = None) -> np.ndarray:
    """What settings change in one role: scores in each context minus the unsteered ones; float64 `[context, value]`.

    Args:
        role: in whom; by default the first.

    Raises InvalidInputError for a role that is not there, or has no unsteered row.
    """
    at = _role(table, role)
    mine, base = table.role == at, table.context == table.base
    if not (mine & base).any():
        raise InvalidInputError(f"Role '{table.roles[at]}' has no unsteered row to compare with.")
    return table.scores[mine & ~base] - table.scores[mine & base][0]


def over_roles(
    table: ScoreTable, downstream: np.ndarray, *, form: str = "frequency", least: float = 0.0, permutations: int = 200
) -> dict[str, SideEffects]:
    """Side effects of settings in every role in turn, as the paper shows one hand-picked role; role -> figures."""
    found = {}
    for role in table.roles:
        rows = context_differences(table, role)
        found[role] = side_effects(rows, downstream, table.values, form=form, least=least, permutations=permutations)
    return found


def _role(table: ScoreTable, name: str | None) -> int:
    if name is None:
        return int(table.role[0])
    if name not in table.roles:
        raise InvalidInputError(f"There is no role '{name}' among the {len(table.roles)} that were asked.")
    return table.roles.index(name)
