"""A profile against people's, and where it points on the circle of values; each says so where it is not defined."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from nnvalue.readout.profile import ValueProfile
from nnvalue.readout.scale_scores import interval, resampled
from nnvalue.values import embedded_frameworks, human_profile19, human_reference, human_samples, load_framework

_ENOUGH = 3  # values that a correlation needs at least


class PeopleAgreement(NamedTuple):
    """How a profile's scores go with people's over values; float64 `[voice]`, NaN where one side does not vary.

    n: how many people, or None where groups of them were pooled.
    low, high: ends of the 95 % interval of `pearson` over the items of the model's questionnaire; NaN for a profile of
        another readout. Over which values it is taken is given: ten of them say little.
    means: people's centred means or the like, float64 `[value]`, in the profile's order; NaN for a value they lack.
    """

    sample: str
    instrument: str
    n: int | None
    means: np.ndarray
    pearson: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spearman: np.ndarray


class Direction(NamedTuple):
    """Where the scores of each voice point on the circle; float64 `[voice]`.

    angle: degrees, counted as `Framework.angle` counts them.
    length: amplitude of the cosine wave around the circle that fits the scores best, in points of their scale.
    share: of the scores' variance that this wave explains.
    nearest: the value that lies nearest to the angle.
    """

    angle: np.ndarray
    length: np.ndarray
    share: np.ndarray
    nearest: tuple[str, ...]


def against_people(profile: ValueProfile) -> list[PeopleAgreement]:
    """Correlations with each sample of people whose values were measured in the profile's framework; none elsewhere."""
    known: list[tuple[str, str, int | None, dict[str, float]]] = []
    if profile.framework == "schwartz":
        for sample in map(human_reference, human_samples()):
            means = dict(zip(sample.values, sample.mean.tolist(), strict=True))
            known.append((sample.name, sample.instrument, sample.n, means))
    elif profile.framework == "schwartz19":
        people = human_profile19()
        known.append(
            (people.name, people.instrument, None, dict(zip(people.values, people.scores.tolist(), strict=True)))
        )
    drawn = resampled(profile) if known else None
    found = []
    for name, instrument, n, means in known:
        theirs = np.array([means.get(value, math.nan) for value in profile.values])
        pairs = [_correlations(mine, theirs) for mine in profile.scores]
        pearson, spearman = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        low, high = np.full((2, len(pearson)), np.nan) if drawn is None else interval(_pearson(drawn, theirs))
        found.append(PeopleAgreement(name, instrument, n, theirs, pearson, low, high, spearman))
    return found


def no_people(profile: ValueProfile) -> str:
    """What is said where there are no people to hold a profile against."""
    return f"not defined for {profile.framework}: nobody's figures are known"


def direction(profile: ValueProfile) -> Direction | None:
    """Where the profile points on the circle, or None where there is none, or a value of it was not measured.

    The sum of (2 / k) · score · (cos θ, sin θ) over the k values at equal steps, which is the least-squares fit of a
    cosine wave to the scores.
    """
    circle = circle_of(profile)
    if not circle or not set(circle) <= set(profile.values):
        return None
    scores = profile.of(circle).scores
    turns = 2 * np.pi * np.arange(len(circle)) / len(circle)
    x, y = (2 / len(circle) * scores @ wave(turns) for wave in (np.cos, np.sin))
    length, angle = np.hypot(x, y), np.round(np.degrees(np.arctan2(y, x)), 9) % 360
    spread = scores.var(axis=1)
    share = np.where(spread > 0, length**2 / 2 / np.where(spread > 0, spread, 1), np.nan)
    places = np.round(np.nan_to_num(angle) / 360 * len(circle)).astype(int) % len(circle)
    return Direction(angle, length, share, tuple(circle[place] for place in places))


def no_circle(profile: ValueProfile) -> str:
    """Why there is no direction."""
    if not circle_of(profile):
        return f"not defined for {profile.framework}: it has no circle"
    return f"not defined here: not all values of {profile.framework}'s circle were measured"


def circle_of(profile: ValueProfile) -> tuple[str, ...]:
    """The values in circular order as the profile's record has them; empty where the framework has no circle."""
    known: Any = profile.readout.get("circle")
    if known is None and profile.framework in embedded_frameworks():
        known = load_framework(profile.framework).circle
    return tuple(known or ())


def _pearson(scores: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Correlations `[...]` of scores `[..., value]` with people's, over the values that both have."""
    both = np.isfinite(theirs) & np.isfinite(scores).all(axis=tuple(range(scores.ndim - 1)))
    if both.sum() < _ENOUGH:
        return np.full(scores.shape[:-1], np.nan)
    mine, theirs = (one[..., both] - one[..., both].mean(axis=-1, keepdims=True) for one in (scores, theirs))
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing varies there is no correlation
        return (mine * theirs).sum(-1) / np.sqrt((mine**2).sum(-1) * (theirs**2).sum(-1))


def _correlations(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Pearson's and Spearman's, over the values that both have."""
    from scipy.stats import rankdata

    both = np.isfinite(mine) & np.isfinite(theirs)
    mine, theirs = mine[both], theirs[both]
    if len(mine) < _ENOUGH or np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return math.nan, math.nan
    return np.corrcoef(mine, theirs)[0, 1], np.corrcoef(rankdata(mine), rankdata(theirs))[0, 1]
