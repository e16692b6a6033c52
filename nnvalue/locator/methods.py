"""Ways to score neurons for a value, in one registry.

A method says what is read for it and turns that into one signed score a neuron: above zero where a neuron goes with the
positive pole. The collector gathers what all methods of a run need in one pass. Register your own:

>>> def louder(evidence):
...     moments = evidence.pooled(Reading("gate"))
...     return moments.positive.mean().abs() - moments.negative.mean().abs()
>>> register(Method("louder", louder, Reading("gate"), "my own"))
>>> get_method("louder").reading.tokens
'response'
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.locator.moments import ContrastMoments, Moments
from nnvalue.locator.readings import Reading
from nnvalue.locator.score import cohens_d
from nnvalue.values import POLES

_FIRST_LAYERS = 2  # that `contrastive` leaves out
_LAPE_BAR = 0.95  # quantile of all firing rates that a class must pass


class Poles(NamedTuple):
    """The moments of both poles."""

    positive: Moments
    negative: Moments


@dataclass(frozen=True)
class Evidence:
    """What was gathered for one value.

    moments: by reading, those of every member; a basic value is its own only member.
    firing_rates: by reading, of both poles of every basic value of the run, float64 `[value, pole, layer, neuron]`.
    members: the members' places in `firing_rates`.
    universal: bool `[layer, neuron]`, neurons that are among the loudest of their layer whatever is asked.
    seed: for what is random.
    """

    moments: Mapping[Reading, Sequence[ContrastMoments]]
    firing_rates: Mapping[Reading, Tensor]
    members: Sequence[int]
    universal: Tensor | None = None
    seed: int = 0

    def pooled(self, reading: Reading) -> Poles:
        """The moments of both poles, those of the members taken together: every counted token weighs the same."""
        parts = self.moments[reading]
        return Poles(*(Moments.pooled([getattr(part, pole) for part in parts]) for pole in POLES))


@dataclass(frozen=True)
class Method:
    """A way to score neurons.

    score: evidence -> float64 `[layer, neuron]`.
    reading: which site and tokens it is defined on.
    source: where it was published.
    paired: the paired difference that its test is about, `firing` or `mean`.
    needs_universal: whether `Evidence.universal` must be there.
    """

    name: str
    score: Callable[[Evidence], Tensor]
    reading: Reading
    source: str
    paired: str = "mean"
    needs_universal: bool = False

    @property
    def generates(self) -> bool:
        """Whether it needs responses, or the prompts alone."""
        return self.reading.tokens == "response"


_METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Make a method known by its name. Raises InvalidInputError if another one has that name, or it makes no sense."""
    method.reading.check()
    if method.paired not in ("firing", "mean"):
        raise InvalidInputError(f"'{method.paired}' is no paired difference; a method's test is about firing or mean.")
    if _METHODS.get(method.name, method) != method:
        raise InvalidInputError(f"There is a method '{method.name}' already; give yours another name.")
    _METHODS[method.name] = method


def get_method(name: str) -> Method:
    """The method of a name. Raises UnknownNameError."""
    if name not in _METHODS:
        raise UnknownNameError("method", name, method_names())
    return _METHODS[name]


def method_names() -> tuple[str, ...]:
    """The registered methods, the embedded ones first."""
    return tuple(_METHODS)


def firing_difference(evidence: Evidence) -> Tensor:
    """δ = p(+) − p(−), the difference of firing rates (NPTI, 2410.12327; ValueLocate, 2505.17712)."""
    positive, negative = evidence.pooled(Reading("gate"))
    return positive.firing_rate() - negative.firing_rate()


def mean_difference(evidence: Evidence) -> Tensor:
    """Difference of mean activations over response tokens."""
    positive, negative = evidence.pooled(Reading("down_in"))
    return positive.mean() - negative.mean()


def effect_size(evidence: Evidence) -> Tensor:
    """Cohen's d over prompts, at the last prompt token (DPN-LE, 2604.27929, which also asks for a large difference)."""
    return cohens_d(*evidence.pooled(Reading("down_in", "last_prompt")))


def contrastive(evidence: Evidence) -> Tensor:
    """Difference of means at the last prompt token (CNA, 2605.12290).

    Neurons of the first two layers, and those that are loud whatever is asked, score 0.
    """
    positive, negative = evidence.pooled(Reading("down_in", "last_prompt"))
    score = positive.mean() - negative.mean()
    score[:_FIRST_LAYERS] = 0
    return score.masked_fill(evidence.universal, 0)


def lape(evidence: Evidence) -> Tensor:
    """Language activation probability entropy (2402.16438), with values in the place of languages.

    p[k] is the firing rate under the positive pole of value k, LAPE = −Σ p′ log p′ with p′ = p / Σ p over values.
    Published: neurons without any p above the 95 % quantile of all p are dropped, those of lowest entropy are kept, and
    one belongs to every value whose own p is above that bar. Here the score is log K − LAPE for a neuron that belongs
    to the value and 0 for others; the same over the negative poles is taken off, which gives it a sign.

    Raises InvalidInputError if the run has one basic value only: an entropy over one class is always 0.
    """
    rates = evidence.firing_rates[Reading("gate")]  # [value, pole, layer, neuron]
    if len(rates) < 2:
        raise InvalidInputError("lape compares values with each other and needs two at least; 1 given.")
    shares = rates / rates.sum(0).clamp(min=torch.finfo(rates.dtype).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum(0)  # [pole, layer, neuron]
    selective = math.log(len(rates)) - entropy
    bars = torch.from_numpy(np.quantile(rates.numpy(), _LAPE_BAR, axis=(0, 2, 3))).view(2, 1, 1)
    belongs = (rates[list(evidence.members)] > bars).any(0)
    positive, negative = torch.where(belongs, selective, 0.0)
    return positive - negative


def random_scores(evidence: Evidence) -> Tensor:
    """`firing_difference`'s scores shuffled within each layer, by the seed: what a method must beat.

    Layers and magnitudes are matched, so a set chosen by these differs from a real one only in which neurons it has.
    """
    score = firing_difference(evidence)
    drawn = torch.Generator().manual_seed(random.Random(f"{evidence.seed}/{list(evidence.members)}").getrandbits(63))
    order = torch.stack([torch.randperm(score.shape[1], generator=drawn) for _ in score])
    return score.gather(1, order)


for _method in (
    Method("firing_difference", firing_difference, Reading("gate"), "arXiv 2505.17712, 2410.12327", paired="firing"),
    Method("mean_difference", mean_difference, Reading("down_in"), "a difference of means"),
    Method("effect_size", effect_size, Reading("down_in", "last_prompt"), "arXiv 2604.27929"),
    Method("contrastive", contrastive, Reading("down_in", "last_prompt"), "arXiv 2605.12290", needs_universal=True),
    Method("lape", lape, Reading("gate"), "arXiv 2402.16438", paired="firing"),
    Method("random", random_scores, Reading("gate"), "a control", paired="firing"),
):
    register(_method)
