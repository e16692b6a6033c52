"""Arms compared at the same effect: what else moves, and what it costs, when the target moves equally far."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.evaluation.design import UNSTEERED
from nnvalue.values import SIGN

if TYPE_CHECKING:
    from nnvalue.evaluation.evaluating import Evaluation

RESAMPLES = 2_000
_SHARE = 0.95


@dataclass(frozen=True)
class Matched:
    """An arm at the dose at which its targets move by `effect` on average, over values and poles.

    dose: interpolated between doses, 0 among them. NaN where the arm does not get there.
    leakage: mean |mean movement| of values that were not the target; low, high: 95 % over situations' cores, the dose
        sought anew in each resample. Few situations a cell make it larger for all arms alike.
    failures: rise of the share of failed answers; log_perplexity: rise over the unsteered answers.
    reached: share of resamples in which the arm gets there.
    """

    arm: str
    effect: float
    dose: float
    leakage: float
    low: float
    high: float
    failures: float
    log_perplexity: float
    reached: float


def matched(
    done: Evaluation, effect: float | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[list[Matched], dict[tuple[str, str], tuple[float, float, float]]]:
    """Arms at one effect, and differences in leakage between pairs of arms (difference, low, high).

    Intervals are of resamples, the same ones for both arms of a pair. A resample's mean |movement| is larger than that
    of all data, most so where there is little leakage, so that intervals lean towards the smaller difference.

    Args:
        effect: mean movement of the targets; None for the largest that all arms reach which move them at all, less a
            twentieth.

    Raises InvalidInputError for an evaluation without answers of other values, or an effect that is not above 0 or that
    no arm reaches.
    """
    curves = _Curves(done)
    reached = [float(table[:, 0].max()) for table in curves.tables(None).values()]
    if effect is None:
        effect = _SHARE * min((each for each in reached if each > 0), default=0.0)
    if not effect > 0:
        raise InvalidInputError(
            f"Arms are compared at an effect above 0; {effect:.2f} was asked for, or no arm moves its targets."
        )
    if effect > max(reached):
        raise InvalidInputError(
            f"No arm moves its targets by {effect:.2f}; the most is {max(reached):.2f}, ask for less."
        )
    rng = np.random.default_rng(seed)
    count = len(curves.cores)
    drawn: dict[str, list[float]] = defaultdict(list)
    for _ in range(resamples):
        weights = rng.multinomial(count, np.full(count, 1 / count)).astype(float)
        for arm, table in curves.tables(weights).items():
            drawn[arm].append(_at(curves.doses[arm], table, effect)[1])
    made = []
    for arm, table in curves.tables(None).items():
        dose, leak, failures, perplexity = _at(curves.doses[arm], table, effect)
        known = np.array(drawn[arm])[np.isfinite(drawn[arm])]
        low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
        made.append(
            Matched(arm, effect, dose, leak, float(low), float(high), failures, perplexity, len(known) / resamples)
        )  # fmt: skip
    pairs = {}
    for place, one in enumerate(made):
        for other in made[place + 1 :]:
            gap = np.array(drawn[one.arm]) - np.array(drawn[other.arm])
            gap = gap[np.isfinite(gap)]
            if len(gap):
                low, high = np.quantile(gap, (0.025, 0.975))
                pairs[one.arm, other.arm] = (one.leakage - other.leakage, float(low), float(high))
    return made, pairs


class _Curves:
    """Of every arm and dose the mean effect, leakage, failures and log-perplexity, of cores weighted as one likes."""

    def __init__(self, done: Evaluation) -> None:
        base = {(row["measured"], row["situation"]): row for row in done.answers if row["arm"] == UNSTEERED}
        rows = [row for row in done.answers if row["arm"] != UNSTEERED and row["control_of"] is None]
        if not any(row["measured"] != row["value"] for row in rows):
            raise InvalidInputError("No other values were asked about; evaluate with others above 0.")
        self.cores = sorted({row["core"] for row in rows})
        place = {core: number for number, core in enumerate(self.cores)}
        cells: dict[tuple[str, float], dict[tuple[str, str, str], list[tuple[int, float, float, float]]]] = {}
        for row in rows:
            unsteered = base[row["measured"], row["situation"]]
            moved = SIGN[row["pole"]] * (row["stance"] - unsteered["stance"])
            failed = float(row["outcome"] != "answered") - float(unsteered["outcome"] != "answered")
            lost = (row["log_perplexity"] or 0.0) - (unsteered["log_perplexity"] or 0.0)
            cell = cells.setdefault((row["arm"], row["dose"]), {})
            cell.setdefault((row["value"], row["pole"], row["measured"]), []).append(
                (place[row["core"]], moved, failed, lost)
            )
        self.doses: dict[str, list[float]] = {}
        for arm, dose in sorted(cells):
            self.doses.setdefault(arm, []).append(dose)
        self._cells = {
            key: {cell: np.array(found) for cell, found in cells[key].items()} for key in sorted(cells)
        }  # fmt: skip

    def tables(self, weights: np.ndarray | None) -> dict[str, np.ndarray]:
        """Arm -> `[dose, figure]`: effect, leakage, failures, log-perplexity."""
        made = {}
        for arm, doses in self.doses.items():
            rows = []
            for dose in doses:
                own: list[float] = []
                others: list[float] = []
                failed: list[float] = []
                lost: list[float] = []
                for (value, _, measured), found in self._cells[arm, dose].items():
                    each = np.ones(len(found)) if weights is None else weights[found[:, 0].astype(int)]
                    if not each.sum():
                        continue
                    moved, down, worse = (each @ found[:, column] / each.sum() for column in (1, 2, 3))
                    (own if measured == value else others).append(moved if measured == value else abs(moved))
                    failed.append(down)
                    lost.append(worse)
                rows.append([np.mean(one) if one else np.nan for one in (own, others, failed, lost)])
            made[arm] = np.array(rows)
        return made


def _at(doses: list[float], table: np.ndarray, effect: float) -> tuple[float, float, float, float]:
    """Dose, leakage, failures and log-perplexity where the effect is first reached, by straight lines between doses."""
    before = np.zeros(5)
    for dose, row in zip(doses, table, strict=True):
        here = np.array([dose, *row])
        if here[1] >= effect:
            share = (effect - before[1]) / (here[1] - before[1])
            found = before + share * (here - before)
            return float(found[0]), float(found[2]), float(found[3]), float(found[4])
        before = here
    return (float("nan"),) * 4
