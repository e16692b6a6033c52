"""From the moments of both poles to one signed score a neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnvalue.locator.moments import Moments


@dataclass(frozen=True)
class Scores:
    """Maps over all neurons of one value, float64 `[layer, neuron]`.

    firing_positive, firing_negative: share of counted tokens with activation > 0 under each pole, p(+) and p(−).
    effect_size: Cohen's d over tokens, (mean(+) − mean(−)) / pooled standard deviation; 0 where nothing varies.
    """

    firing_positive: Tensor
    firing_negative: Tensor
    effect_size: Tensor

    @property
    def delta(self) -> Tensor:
        """Firing-rate difference δ = p(+) − p(−): the score of NPTI (2410.12327) and ValueLocate (2505.17712)."""
        return self.firing_positive - self.firing_negative


def firing_difference(positive: Moments, negative: Moments) -> Scores:
    """Score every neuron by how much more often it fires under the positive pole."""
    return Scores(positive.firing_rate(), negative.firing_rate(), cohens_d(positive, negative))


def cohens_d(positive: Moments, negative: Moments) -> Tensor:
    """(mean(+) − mean(−)) / √((variance(+) + variance(−)) / 2), float64 `[layer, neuron]`; 0 where nothing varies."""
    pooled = ((positive.variance() + negative.variance()) / 2).sqrt()
    gap = positive.mean() - negative.mean()
    return torch.where(pooled > 0, gap / pooled.clamp(min=torch.finfo(torch.float64).tiny), 0.0)


def split_half_reliability(positive: Sequence[Moments], negative: Sequence[Moments]) -> float | None:
    """Pearson correlation of δ over neurons between even and odd folds; None where a part has fewer than two folds.

    The folds share neither situations nor descriptions, so this is what of the map would come back with other texts.

    Args:
        positive: the moments of the positive pole; of a higher-order value one part a member, each of which is halved.
        negative: the same of the negative pole.
    """
    if min(len(part.tokens) for part in (*positive, *negative)) < 2:
        return None
    halves = [
        firing_difference(
            *(Moments.pooled([part.folds(slice(start, None, 2)) for part in pole]) for pole in (positive, negative))
        ).delta.flatten()
        for start in (0, 1)
    ]
    correlation = torch.corrcoef(torch.stack(halves))[0, 1]
    return float(correlation) if correlation.isfinite() else None
