"""Statistics of an experiment's rows: effects clustered by situation, tests, corrections, dose-response, Pareto fronts.

Answers to variants of one situation are alike, so situations' cores are what is drawn and tested, never single answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.readout.bootstrap import mean_interval

RESAMPLES = 10_000
LEVEL = 0.05
_TINY = 1e-12


@dataclass(frozen=True)
class Effect:
    """How much something moved.

    mean: of all differences; low, high: its 95 % bootstrap interval over clusters; NaN for a single one.
    d: Cohen's d of paired differences, the mean of the clusters' means over their standard deviation (Cohen 1988, d_z);
        NaN for fewer than two clusters or none that vary.
    p: two-sided, Student's t over the clusters' means; 1 where nothing moves at all, NaN for fewer than two clusters
        and where all move by the same, which a t test cannot weigh.
    n, clusters: how many differences and clusters.
    """

    mean: float
    low: float
    high: float
    d: float
    p: float
    n: int
    clusters: int


def effect(differences: Sequence[float] | np.ndarray, clusters: Sequence[str], seed: int = 0) -> Effect:
    """The mean of paired differences, with what a reader needs to believe it.

    Args:
        differences: [answer], of an arm minus the unsteered arm, for the same situation and noise.
        clusters: [answer], the core of each one's situation.
        seed: of the bootstrap.

    Raises InvalidInputError for no answers, or as many clusters as do not fit.
    """
    values, at = _clustered(differences, clusters)
    sums, counts = np.bincount(at, values), np.bincount(at)
    low, high = mean_interval(values, clusters, RESAMPLES, seed)
    means = sums / counts
    spread = means.std(ddof=1) if len(means) > 1 else np.nan
    d = float(means.mean() / spread) if spread > 0 else float("nan")
    return Effect(float(values.mean()), low, high, d, _t_test(means), len(values), len(counts))


def _clustered(values: Sequence[float] | np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or len(values) != len(clusters):
        raise InvalidInputError(
            f"An effect needs an answer at least, and a cluster for each; {len(values)} answers and {len(clusters)} "
            "clusters given."
        )
    if not np.isfinite(values).all():
        raise InvalidInputError("An effect is taken over numbers; unreadable answers count as 0, not as NaN.")
    _, at = np.unique(np.asarray(clusters), return_inverse=True)
    return values, at


def _t_test(means: np.ndarray) -> float:
    from scipy.stats import ttest_1samp

    if len(means) < 2:
        return float("nan")
    if np.ptp(means) < _TINY:
        return 1.0 if abs(means[0]) < _TINY else float("nan")
    return float(ttest_1samp(means, 0).pvalue)


def adjusted(p: Sequence[float]) -> np.ndarray:
    """Benjamini and Hochberg's (1995) adjusted p of one family of tests; a NaN stays one and does not count."""
    from scipy.stats import false_discovery_control

    given = np.asarray(p, dtype=np.float64)
    known = ~np.isnan(given)
    made = np.full_like(given, np.nan)
    if known.any():
        made[known] = false_discovery_control(given[known], method="bh")
    return made


@dataclass(frozen=True)
class DoseResponse:
    """How an effect goes with the dose.

    slope: mean over clusters of the least-squares slope on dose, up to the dose of the largest effect (three doses at
        least, 0 among them); p: two-sided t test of the clusters' slopes. That dose is chosen on the same answers, so p
        is somewhat too small.
    saturates_at: dose of the largest mean effect.
    reversals: steps down between neighbouring doses up to there whose t test over clusters is below .05, divided by the
        number of steps.
    spearman: rank correlation of dose and mean effect over all doses; 1 if every dose moves more than the last.
    """

    slope: float
    p: float
    saturates_at: float
    reversals: int
    spearman: float


def dose_response(by_dose: dict[float, np.ndarray], clusters: Sequence[str]) -> DoseResponse:
    """The trend of answers over doses.

    Args:
        by_dose: dose -> stance towards the asked pole `[answer]`, of the same situations in the same order at every
            dose; 0 is among the doses.
        clusters: [answer].

    Raises InvalidInputError for fewer than two doses, without dose 0, or doses below it.
    """
    from scipy.stats import spearmanr

    doses = sorted(by_dose)
    if len(doses) < 2 or doses[0] != 0:
        raise InvalidInputError(f"A dose-response needs dose 0 and one above it at least; {doses} given.")
    tables = []
    for dose in doses:
        values, at = _clustered(by_dose[dose], clusters)
        tables.append(np.bincount(at, values) / np.bincount(at))
    table = np.stack(tables)  # [dose, cluster]
    means = np.array([np.mean(by_dose[dose]) for dose in doses])
    top = int(means.argmax())
    used = max(top + 1, min(3, len(doses)))
    centred = np.array(doses[:used]) - np.mean(doses[:used])
    slopes = centred @ table[:used] / (centred @ centred)
    steps = np.diff(table[: top + 1], axis=0)
    down = [step for step in steps if step.mean() < 0 and _t_test(step) < LEVEL / len(steps)]
    flat = np.ptp(means) == 0
    rank = 0.0 if flat else float(spearmanr(doses, means).statistic)
    return DoseResponse(float(slopes.mean()), _t_test(slopes), doses[top], len(down), rank)


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Which points no other one dominates, in their order: at least as good in everything and better in something.

    Args:
        points: `[point, criterion]`, larger is better. Points that are equal stand together.
    """
    given = np.asarray(points, dtype=np.float64)
    if not len(given):
        return []
    at_least: Any = (given[None] >= given[:, None]).all(-1)
    better: Any = (given[None] > given[:, None]).any(-1)
    return [number for number in range(len(given)) if not (at_least[number] & better[number]).any()]
