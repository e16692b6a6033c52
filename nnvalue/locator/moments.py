"""Per-neuron statistics of one value's pole: additive, exact in counts, the same whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over the counted tokens of one pole, by fold.

    tokens: int64 `[fold]`, counted tokens.
    fired: int64 `[fold, layer, neuron]`, tokens with activation > 0.
    total, squares: float64 `[fold, layer, neuron]`, sum of activations and of their squares.
    """

    tokens: Tensor
    fired: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def zero(cls, folds: int, layers: int, width: int) -> Moments:
        """Nothing counted yet."""
        shape = (folds, layers, width)
        wide = torch.zeros(shape, dtype=torch.float64)
        return cls(torch.zeros(folds, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64), wide, wide.clone())

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Moments:
        """The inverse of `tensors`."""
        return cls(tensors["tokens"], tensors["fired"], tensors["total"], tensors["squares"])

    @classmethod
    def pooled(cls, parts: Sequence[Moments]) -> Moments:
        """Several values' moments as one, as for a higher-order value; folds are put side by side."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def tensors(self) -> dict[str, Tensor]:
        """For the journal."""
        return dict(vars(self))

    def folds(self, chosen: slice) -> Moments:
        """The moments of some of the folds."""
        return Moments(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def firing_rate(self) -> Tensor:
        """Share of counted tokens with activation > 0, float64 `[layer, neuron]`; 0 where nothing was counted."""
        return self.fired.sum(0) / self._count()

    def mean(self) -> Tensor:
        """Mean activation, float64 `[layer, neuron]`."""
        return self.total.sum(0) / self._count()

    def variance(self) -> Tensor:
        """Population variance of the activation over tokens, float64 `[layer, neuron]`."""
        return (self.squares.sum(0) / self._count() - self.mean().square()).clamp(min=0)

    def _count(self) -> int:
        return max(1, int(self.tokens.sum()))
