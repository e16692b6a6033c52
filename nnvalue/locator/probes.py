"""A logistic probe that tells two classes of vectors apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


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

    There are fewer vectors than features, and w is a mix of vectors (w = Xᵀα): so α is looked for, and w never held.

    Args:
        features: `[vector, feature]`.
        signs: `[vector]`, +1 or −1.
    """
    from scipy.optimize import minimize

    mean = features.double().mean(0)
    centred = features.double() - mean
    spread = centred.std(0, correction=0)
    scale = torch.where(spread > 0, 1 / spread.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    centred = centred * scale
    kernel = centred @ centred.T
    sign = signs.double()

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        alpha, intercept = torch.from_numpy(point[:-1]), point[-1]
        mixed = kernel @ alpha
        margin = sign * (mixed + intercept)
        pull = -sign * torch.sigmoid(-margin)
        loss = torch.nn.functional.softplus(-margin).sum() + alpha @ mixed / 2
        return float(loss), torch.cat((kernel @ (pull + alpha), pull.sum().view(1))).numpy()

    start, exact = np.zeros(len(sign) + 1), {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=exact)
    standardised = centred.T @ torch.from_numpy(found.x[:-1])
    weights = standardised * scale
    return Probe(weights, float(found.x[-1] - mean @ weights), standardised)
