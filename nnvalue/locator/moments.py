"""Per-neuron statistics of a value's contrasts: additive, exact in counts, the same whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over the counted tokens of one pole, by fold.

    tokens: int64 `[fold]`, counted tokens.
    fired: int32 `[fold, layer, neuron]`, tokens with activation > 0.
    total, squares: float64 `[fold, layer, neuron]`, sum of activations and of their squares.
    """

    tokens: Tensor
    fired: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def pooled(cls, parts: Sequence[Moments]) -> Moments:
        """Several values' moments as one, as for a higher-order value; folds are put side by side."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def summed(self) -> Moments:
        """The same as one fold."""
        return Moments(*(getattr(self, name).sum(0, keepdim=True) for name in self.__dataclass_fields__))

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


@dataclass(frozen=True)
class ContrastSums:
    """What one bundle of contrasts comes to; 56 bytes a neuron and reading.

    fired: int32 `[reading, pole, layer, neuron]`, positive pole first.
    total, squares: float64 `[reading, pole, layer, neuron]`.
    difference, difference_squares: float32 `[reading, 2, layer, neuron]`, Σd and Σd² over contrasts; first of the
        difference of firing rates, then of that of means (positive − negative).
    """

    fired: Tensor
    total: Tensor
    squares: Tensor
    difference: Tensor
    difference_squares: Tensor

    @classmethod
    def zero(cls, readings: int, layers: int, width: int) -> ContrastSums:
        """Nothing counted yet."""
        poles = torch.zeros(readings, 2, layers, width, dtype=torch.float64)
        paired = poles.to(torch.float32)
        return cls(poles.to(torch.int32), poles, poles, paired, paired)

    def tensors(self) -> dict[str, Tensor]:
        """By name, for the journal."""
        return dict(vars(self))


@dataclass(frozen=True)
class PairedDifference:
    """The difference d of a contrast's two averages, over contrasts: every contrast weighs the same, long or short.

    contrasts: int64 `[fold]`, contrasts with counted tokens on both sides.
    total, squares: float32 `[fold, layer, neuron]`, Σd and Σd².
    """

    contrasts: Tensor
    total: Tensor
    squares: Tensor

    def mean(self) -> Tensor:
        """Mean of d over contrasts, float64 `[layer, neuron]`."""
        return self.total.sum(0, dtype=torch.float64) / max(1, int(self.contrasts.sum()))

    def standard_error(self) -> Tensor:
        """Standard error of `mean` were contrasts independent, float64 `[layer, neuron]`; NaN for fewer than two."""
        n = int(self.contrasts.sum())
        if n < 2:
            return torch.full_like(self.total[0], torch.nan, dtype=torch.float64)
        variance = (self.squares.sum(0, dtype=torch.float64) - n * self.mean().square()) / (n - 1)
        return (variance.clamp(min=0) / n).sqrt()

    def folds(self, chosen: slice) -> PairedDifference:
        """The difference in some of the folds."""
        return PairedDifference(self.contrasts[chosen], self.total[chosen], self.squares[chosen])

    def fold_means(self) -> Tensor:
        """Mean of d in every fold that has contrasts, float64 `[fold, layer, neuron]`."""
        used = self.contrasts > 0
        return self.total[used].double() / self.contrasts[used].view(-1, 1, 1)


@dataclass(frozen=True)
class ContrastMoments:
    """The statistics of one value in one reading: those of its poles, and of the paired differences between them.

    firing, mean: the paired difference of firing rates, and of mean activations.
    dtype: that of the activations, e.g. `float32`.
    """

    positive: Moments
    negative: Moments
    firing: PairedDifference
    mean: PairedDifference
    dtype: str

    def folds(self, chosen: slice) -> ContrastMoments:
        """The statistics of some of the folds."""
        return ContrastMoments(
            self.positive.folds(chosen), self.negative.folds(chosen), self.firing.folds(chosen),
            self.mean.folds(chosen), self.dtype,
        )  # fmt: skip

    @classmethod
    def of(
        cls, folds: Sequence[ContrastSums], reading: int, tokens: Tensor, contrasts: Tensor, dtype: str
    ) -> ContrastMoments:
        """From the sums of every fold; `tokens` is int64 `[pole, fold]`, `contrasts` int64 `[fold]`."""

        def stacked(names: tuple[str, ...], place: int) -> list[Tensor]:
            return [torch.stack([getattr(fold, name)[reading, place] for fold in folds]) for name in names]

        one, other = (Moments(tokens[pole], *stacked(("fired", "total", "squares"), pole)) for pole in (0, 1))
        firing, mean = (
            PairedDifference(contrasts, *stacked(("difference", "difference_squares"), kind)) for kind in (0, 1)
        )
        return cls(one, other, firing, mean, dtype)
