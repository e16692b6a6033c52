"""A logistic probe that tells two classes of vectors apart."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nnvalue.errors import NumericalError

_RANK = 1e-7  # of the greatest length along an axis, below which one is rounding
_FLAT, _TINY, _MOST_STEPS = 1e-10, 1e-12, 100
_ROUNDING = 1e-12


class Probe(NamedTuple):
    """A logistic probe: log-odds of the class +1 = features · weights + bias.

    weights: float64 `[feature]`, in log-odds a unit of the feature.
    bias: in log-odds.
    standardised: float64 `[feature]`, the weights in log-odds a standard deviation of the feature: these compare.
    """

    weights: Tensor
    bias: float
    standardised: Tensor


def ridge_logistic(features: Tensor, signs: Tensor) -> Probe:
    """The w that minimises Σ log(1 + exp(−sign (x·w + b))) + ½|w|² with some b, x being standardised features.

    By Newton's method, in the span of the vectors: w is a mix of them, and there are mostly fewer than features.

    Args:
        features: `[vector, feature]`.
        signs: `[vector]`, +1 or −1.

    Raises NumericalError where the fit does not converge.
    """
    mean = features.double().mean(0)
    centred = features.double() - mean
    spread = centred.std(0, correction=0)
    scale = torch.where(spread > 0, 1 / spread.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    centred = centred * scale
    left, length, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = length > length.max() * _RANK
    within = left[:, kept] * length[kept]  # the vectors' coordinates in their span
    point = _newton(torch.cat((within, torch.ones(len(signs), 1, dtype=torch.float64)), dim=1), signs.double())
    standardised = axes[kept].T @ point[:-1]
    weights = standardised * scale
    return Probe(weights, float(point[-1] - mean @ weights), standardised)


def _newton(x: Tensor, signs: Tensor) -> Tensor:
    """The minimum, `[column]`; the last column is that of the bias, which has no penalty."""
    ridge = torch.ones(x.shape[1], dtype=torch.float64)
    ridge[-1] = 0

    def loss(point: Tensor) -> float:
        return float(torch.nn.functional.softplus(-signs * (x @ point)).sum() + (ridge * point.square()).sum() / 2)

    point, now = torch.zeros(x.shape[1], dtype=torch.float64), math.inf
    for _ in range(_MOST_STEPS):
        odds = torch.sigmoid(-signs * (x @ point))
        gradient = ridge * point - x.T @ (signs * odds)
        if gradient.abs().max() < _FLAT * len(signs):
            return point
        step = torch.linalg.solve((x.T * (odds * (1 - odds))) @ x + torch.diag(ridge + _TINY), gradient)
        now, share = loss(point), 1.0
        # Near the minimum the loss no longer tells better from worse but for rounding; the full step is right there.
        while loss(point - share * step) > now * (1 + _ROUNDING) and share > _TINY:
            share /= 2
        point = point - share * step
    raise NumericalError("A logistic probe does not converge; its features are too far apart in size. Try float32.")
