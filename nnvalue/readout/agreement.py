"""Do two judges agree on the same texts, and two readouts on the same people?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.readout.bootstrap import cluster_sums, interval, resampled_sums
from nnvalue.readout.judging import OUTCOMES, Judgement
from nnvalue.readout.profile import ValueProfile

LEVELS = 5


@dataclass(frozen=True)
class Agreement:
    """How two judges' judgements of the same texts compare.

    judges: their names.
    n: texts given to both.
    outcomes: outcome of the first -> outcome of the second -> how many texts; all of them add up to n.
    compared: texts that both gave a stance, those found unreadable with a stance of 0; all figures below are of these.
    pearson: correlation of the stances; None where one judge said the same of all.
    mean_difference, absolute_difference: means of (first − second) and of its size, in stances.
    exact: share of texts with the same rounded score 1 … 5.
    kappa: quadratically weighted, of the rounded scores; None where both said the same one of all.
    kappa_low, kappa_high: 95 % bootstrap interval by texts; None where there is none.
    resamples, seed: of the bootstrap.
    """

    judges: tuple[str, str]
    n: int
    outcomes: Mapping[str, Mapping[str, int]]
    compared: int
    pearson: float | None
    mean_difference: float | None
    absolute_difference: float | None
    exact: float | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    resamples: int
    seed: int

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {**asdict(self), "judges": list(self.judges)}


def judge_agreement(
    first: Sequence[Judgement], second: Sequence[Judgement], *, resamples: int = 2000, seed: int = 0
) -> Agreement:
    """Compare two judges' judgements of the same texts, one each and in the same order.

    A text that one judge could not or would not judge is an outcome, and is in no other figure.

    Raises InvalidInputError where the lists are empty or of other texts.
    """
    if not first or [(a.prompt_id, a.value) for a in first] != [(b.prompt_id, b.value) for b in second]:
        raise InvalidInputError(
            f"Judges are compared on the same texts in the same order; {len(first)} and {len(second)} judgements of "
            "others given."
        )
    counts = Counter((a.outcome, b.outcome) for a, b in zip(first, second, strict=True))
    table = {one: {other: counts[one, other] for other in OUTCOMES} for one in OUTCOMES}
    both = [(a, b) for a, b in zip(first, second, strict=True) if a.stance is not None and b.stance is not None]
    x, y = (np.array([pair[place].stance for pair in both], dtype=np.float64) for place in (0, 1))
    levels = rounded(x), rounded(y)
    low, high = _kappa_interval(*levels, [a.prompt_id for a, _ in both], resamples, seed)
    return Agreement(
        (first[0].judge, second[0].judge), len(first), table, len(both), _pearson(x, y), _mean(x - y),
        _mean(np.abs(x - y)), _mean(levels[0] == levels[1]), _number(quadratic_kappa(confusion(*levels))), low, high,
        resamples, seed,
    )  # fmt: skip


@dataclass(frozen=True)
class ProfileAgreement:
    """How two profiles of the same voices go together, over voices and values.

    voices, values: in how many of each the profiles agree to be compared.
    pearson, low, high: correlation of scores minus the voice's own mean over these values, in both profiles, with its
        95 % bootstrap interval over voices.
    as_they_are: correlation of the scores as the profiles give them, centred or not.
    by_value: value -> correlation over voices of the former; None where one profile does not vary.
    resamples, seed: of the bootstrap.
    """

    voices: int
    values: int
    pearson: float | None
    low: float | None
    high: float | None
    as_they_are: float | None
    by_value: Mapping[str, float | None]
    resamples: int
    seed: int


def profile_agreement(
    first: ValueProfile, second: ValueProfile, *, resamples: int = 2000, seed: int = 0
) -> ProfileAgreement:
    """Compare two profiles, such as of portraits and of judged text, on the voices and values that both have.

    A voice's mean is taken off in both: a questionnaire's scores come that way, as who says yes to everything holds no
    value more, and a text's do not. A cell without a score in either profile is left out of both.

    Raises InvalidInputError where they share fewer than two voices or two values.
    """
    voices = [name for name in first.voices if name in second.voices]
    values = [name for name in first.values if name in second.values]
    if len(voices) < 2 or len(values) < 2:
        raise InvalidInputError(
            f"Profiles are compared over two voices and two values at least; these share {len(voices)} and "
            f"{len(values)}."
        )
    tables = []
    for profile in (first, second):
        rows, columns = (
            [own.index(name) for name in names] for own, names in ((profile.voices, voices), (profile.values, values))
        )
        tables.append(profile.scores[np.ix_(rows, columns)])
    lost = np.isnan(tables[0]) | np.isnan(tables[1])
    raw = [np.where(lost, np.nan, table) for table in tables]
    counts = np.maximum((~lost).sum(1, keepdims=True), 1)
    x, y = (table - np.nansum(table, 1, keepdims=True) / counts for table in raw)
    kept, who = ~lost, np.nonzero(~lost)[0]
    low, high = _pearson_interval(x[kept], y[kept], who, resamples, seed)
    by_value = {
        name: _pearson(x[kept[:, at], at], y[kept[:, at], at]) for at, name in enumerate(values)
    }  # fmt: skip
    return ProfileAgreement(
        len(voices), len(values), _pearson(x[kept], y[kept]), low, high, _pearson(raw[0][kept], raw[1][kept]),
        by_value, resamples, seed,
    )  # fmt: skip


def rounded(stances: np.ndarray) -> np.ndarray:
    """Stances as scores 1 … 5, a half up; int64 of the same shape."""
    return np.floor(3 + 2 * np.asarray(stances, dtype=np.float64) + 0.5).astype(np.int64)


def confusion(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How often which pair of scores 1 … 5 was given; float64 `[first, second]`."""
    return np.bincount((first - 1) * LEVELS + second - 1, minlength=LEVELS**2).reshape(LEVELS, LEVELS).astype(float)


def quadratic_kappa(counts: np.ndarray) -> np.ndarray:
    """Weighted kappa of tables `[…, level, level]`; NaN where no disagreement is to be expected.

    κ = 1 − Σ w O / Σ w E with w = (i − j)², O the observed counts and E those of the margins alone (J. Cohen 1968,
    *Weighted kappa*, Psychological Bulletin 70, 213–220).
    """
    level = np.arange(counts.shape[-1])
    weights = (level[:, None] - level[None, :]) ** 2
    total = counts.sum((-2, -1))
    observed = (weights * counts).sum((-2, -1))
    margins = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = (weights * margins).sum((-2, -1)) / total
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def _kappa_interval(
    first: np.ndarray, second: np.ndarray, texts: Sequence[str], resamples: int, seed: int
) -> tuple[float | None, float | None]:
    if len(set(texts)) < 2:
        return None, None
    cells = np.zeros((len(first), LEVELS**2))
    cells[np.arange(len(first)), (first - 1) * LEVELS + second - 1] = 1
    drawn = resampled_sums(cluster_sums(cells, texts), resamples, seed).reshape(-1, LEVELS, LEVELS)
    low, high = interval(quadratic_kappa(drawn))
    return _number(low), _number(high)


def _pearson_interval(
    x: np.ndarray, y: np.ndarray, clusters: np.ndarray, resamples: int, seed: int
) -> tuple[float | None, float | None]:
    if len(set(clusters.tolist())) < 2:
        return None, None
    sums = cluster_sums(np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], 1), clusters)
    n, sx, sy, sxx, syy, sxy = resampled_sums(sums, resamples, seed).T
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (n * sxy - sx * sy) / np.sqrt((n * sxx - sx**2) * (n * syy - sy**2))
    low, high = interval(drawn)
    return _number(low), _number(high)


def _pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 2 or not np.ptp(x) or not np.ptp(y):
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
