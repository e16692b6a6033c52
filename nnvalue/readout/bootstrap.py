"""Bootstrap intervals over clusters: texts, or situations of one core, are drawn as wholes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_AT_ONCE = 4_000_000  # numbers of weights held at one time


def cluster_sums(table: np.ndarray, clusters: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Sums of the rows of each cluster, float64 `[cluster, column]`, from rows `[row, column]`."""
    _, at = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((at.max(initial=-1) + 1, table.shape[1]))
    np.add.at(sums, at, table)
    return sums


def resampled_sums(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Total sums when as many clusters as there are are drawn with replacement; float64 `[resample, column]`.

    What can be told from sums (means, ratios, correlations, kappa) can be told of each resample.
    """
    rng, count = np.random.default_rng(seed), len(sums)
    made: list[np.ndarray] = []
    while (left := resamples - sum(map(len, made))) > 0:
        some = min(left, max(1, _AT_ONCE // count))
        made.append(rng.multinomial(count, np.full(count, 1 / count), size=some) @ sums)
    return np.concatenate(made)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The ends of the 95 % interval of resampled figures that are defined; NaN where none is."""
    draws = draws[np.isfinite(draws)]
    return (float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975))) if len(draws) else (np.nan, np.nan)


def mean_interval(
    values: Sequence[float] | np.ndarray, clusters: Sequence[Any], resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over rows, by clusters; NaN where there are fewer than two clusters."""
    values = np.asarray(values, dtype=np.float64)
    sums = cluster_sums(np.stack([values, np.ones(len(values))], 1), clusters)
    if len(sums) < 2:
        return np.nan, np.nan
    drawn = resampled_sums(sums, resamples, seed)
    return interval(drawn[:, 0] / drawn[:, 1])
