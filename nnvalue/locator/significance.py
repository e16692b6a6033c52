"""Which neurons differ between the poles by more than the wording of descriptions does.

Two conditions, and a neuron must meet both: its paired difference is unlikely to be zero (q < .05), and its score is
larger than 95 % of those that the whole pipeline finds between two halves of one pole's descriptions (A/A).

The unit of the test is the fold. Folds share neither situations nor descriptions, so their means are independent;
contrasts of one fold share a description, and answers under one description are alike in many neurons. A test over
contrasts or tokens takes that likeness for the value.

The A/A bar is on the safe side: each of its arms has half of a pole's descriptions, so wording weighs up to twice as
much in its variance as in the contrast of the poles, which uses all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError

LEVEL = 0.05
"""False discovery rate, and the share of A/A scores that may lie above the bar."""


def paired_test(values: Sequence[Tensor]) -> Tensor:
    """Two-sided p that the mean paired difference is zero, float64 `[layer, neuron]`.

    One value: Student's t over its folds. Several (the members of a higher-order value): the mean of their means; the
    variance is that of folds within a value, so members that differ do not hide what they have in common, and degrees
    of freedom are Welch–Satterthwaite's. A neuron that does not vary at all has p = 1 where it does not differ, else 0.

    Args:
        values: of each value the mean paired difference in every fold, float64 `[fold, layer, neuron]`.

    Raises InvalidInputError if a value has fewer than two folds.
    """
    from scipy.stats import t as student

    fewest = min((len(value) for value in values), default=0)
    if fewest < 2:
        raise InvalidInputError(f"A test needs two folds of contrasts at least, {fewest} given.")
    mean = torch.stack([value.mean(0) for value in values]).mean(0)
    parts = torch.stack([value.var(0) / len(value) for value in values])  # [value, layer, neuron]
    freedom = torch.tensor([len(value) - 1 for value in values], dtype=torch.float64).view(-1, 1, 1)
    variance = parts.sum(0)
    degrees = variance.square() / (parts.square() / freedom).sum(0)
    statistic = mean * len(values) / variance.sqrt()
    p = torch.from_numpy(2 * student.sf(statistic.abs().numpy(), degrees.numpy()))
    return torch.where(variance > 0, p, (mean == 0).double())


def q_values(p: Tensor) -> Tensor:
    """Benjamini and Hochberg's (1995) adjusted p over all neurons, of the same shape."""
    from scipy.stats import false_discovery_control

    return torch.from_numpy(false_discovery_control(p.flatten().numpy(), method="bh")).view_as(p)


def null_bar(null_scores: Sequence[Tensor]) -> float:
    """The 95 % quantile of |score| over the neurons of the A/A runs, each `[layer, neuron]`.

    A score of exactly 0 is no part of it: neurons that never fire, or that a method leaves out, say nothing about what
    wording does to the others and would only lower the bar. 0 if no score is left.
    """
    every = np.concatenate([scores[scores != 0].abs().double().numpy() for scores in null_scores])
    return float(np.quantile(every, 1 - LEVEL)) if len(every) else 0.0


def called(score: Tensor, difference: Tensor, q: Tensor, bar: float) -> Tensor:
    """Which neurons are called, bool `[layer, neuron]`.

    A score and its test can point opposite ways, since one may weigh every token and the other every contrast alike;
    such a neuron is not called.

    Args:
        difference: mean paired difference that `q` is about, `[layer, neuron]`.
    """
    return (score.abs() > bar) & (q < LEVEL) & (score.sign() == difference.sign())
