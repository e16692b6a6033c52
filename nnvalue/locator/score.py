"""Effect size of a neuron, and how much of a score map would come back with other texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nnvalue.locator.moments import ContrastMoments, Moments

HALVES = (slice(0, None, 2), slice(1, None, 2))
"""Even and odd folds."""


def cohens_d(positive: Moments, negative: Moments) -> Tensor:
    """(mean(+) − mean(−)) / √((variance(+) + variance(−)) / 2), float64 `[layer, neuron]`; 0 where nothing varies."""
    pooled = ((positive.variance() + negative.variance()) / 2).sqrt()
    gap = positive.mean() - negative.mean()
    return torch.where(pooled > 0, gap / pooled.clamp(min=torch.finfo(torch.float64).tiny), 0.0)


def split_half_reliability(parts: Sequence[ContrastMoments], score: Callable[[slice], Tensor]) -> float | None:
    """Pearson correlation of a score over neurons between even and odd folds.

    The folds share neither situations nor descriptions, so this is what of the map would come back with other texts.
    None where a member has fewer than two folds, or a half scores every neuron alike.

    Args:
        parts: the members of the value, each of which is halved.
        score: some of the folds -> score `[layer, neuron]`.
    """
    if min(len(part.positive.tokens) for part in parts) < 2:
        return None
    halves = [score(half).flatten() for half in HALVES]
    correlation = torch.corrcoef(torch.stack(halves))[0, 1]
    return float(correlation) if correlation.isfinite() else None
