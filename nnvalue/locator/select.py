"""Which neurons of a score map are called value neurons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError

PUBLISHED_FLOOR_SHARE = 0.0044
"""The published floor of 2,000 neurons as a share of Llama-3-8B's 458,752, the model it was set for."""

FIXED_THRESHOLDS = (0.10, 0.03)
"""On |δ|: that of NPTI's and ValueLocate's code, and one sometimes given for ValueLocate."""


@dataclass(frozen=True)
class TopK:
    """The k highest and the k lowest scores. `k` below 1 is a share of all neurons, else a number of neurons."""

    k: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.k < math.inf or (self.k >= 1 and self.k != int(self.k)):
            raise InvalidInputError(
                f"top-k must be a share between 0 and 1 or a whole number of neurons from 1, {self.k:g} given."
            )

    def size(self, neurons: int) -> int:
        """How many neurons of a pole, out of so many."""
        size = max(1, round(self.k * neurons)) if self.k < 1 else int(self.k)
        if size > neurons:
            raise InvalidInputError(f"top-k asks for {size} neurons, but the model has {neurons}.")
        return size

    def keep(self, ranked: Tensor) -> int:
        """How many of a pole's ranked scores (descending) are selected."""
        return self.size(len(ranked))


@dataclass(frozen=True)
class Threshold:
    """The published rule (NPTI's and ValueLocate's code).

    The first `floor` neurons of a pole are taken whatever their score, then more while the score is at least
    `threshold`. `floor` below 1 is a share of all neurons, else a number of neurons.
    """

    threshold: float = 0.10
    floor: float = PUBLISHED_FLOOR_SHARE

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise InvalidInputError(f"The threshold on δ must lie between 0 and 1, {self.threshold:g} given.")
        if not 0 <= self.floor < math.inf or (self.floor >= 1 and self.floor != int(self.floor)):
            raise InvalidInputError(f"The floor must be a share or a whole number of neurons, {self.floor:g} given.")

    def size(self, neurons: int) -> int:
        """The least number of neurons of a pole, out of so many."""
        return min(neurons, round(self.floor * neurons) if self.floor < 1 else int(self.floor))

    def keep(self, ranked: Tensor) -> int:
        """How many of a pole's ranked scores (descending) are selected."""
        return max(self.size(len(ranked)), int((ranked >= self.threshold).sum()))


Selection = TopK | Threshold


def select_neurons(score: Tensor, selection: Selection) -> tuple[Tensor, Tensor]:
    """Positive and negative value neurons of a score map `[layer, neuron]`.

    A neuron is positive only with a score above 0 and negative only with one below, so the two sets are disjoint, and
    a pole may get fewer than asked for. Ties go to the lower layer, then the lower index.

    Returns:
        Two int64 `[k, 2]` of (layer, neuron), strongest first.
    """
    width = score.shape[1]
    found = []
    for sign in (1, -1):
        flat = sign * score.flatten()
        ranked, order = torch.sort(flat, descending=True, stable=True)
        kept = min(selection.keep(ranked), int((ranked > 0).sum()))
        chosen = order[:kept]
        found.append(torch.stack((chosen // width, chosen % width), dim=1))
    return found[0], found[1]
