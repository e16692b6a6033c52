"""Ways to score neurons for a value, in one registry.

A method says what is read for it and turns that into one signed score a neuron: above zero where a neuron goes with the
positive pole. Register your own:

>>> def louder(evidence, reading):
...     positive, negative = evidence.pooled(reading)
...     return positive.mean().abs() - negative.mean().abs()
>>> register_method(Method("louder", louder, Reading("gate"), "my own"))
>>> get_method("louder").reading.tokens
'response'
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.locator.moments import ContrastMoments, Moments
from nnvalue.locator.probes import ridge_logistic
from nnvalue.locator.readings import Reading
from nnvalue.locator.score import cohens_d
from nnvalue.values import POLES

_FIRST_LAYERS = 2  # that `contrastive` leaves out
_LAPE_BAR = 0.95  # quantile of all firing rates that a class must pass
_PAIRED = ("firing", "mean")
NEEDS = ("firing_rates", "universal", "means", "residuals", "products", "output_weights")
"""What methods may ask for besides moments: the fields of `Evidence`, and the kinds of `Evidence.per_response`."""


class Poles(NamedTuple):
    """The moments of both poles."""

    positive: Moments
    negative: Moments


@dataclass(frozen=True)
class Evidence:
    """What was gathered for one value.

    moments: by reading, those of every member; a basic value is its own only member.
    firing_rates: for methods that compare values, by reading: of both poles of every basic value of the run, float64
        `[value, pole, layer, neuron]`.
    members: the members' places among the basic values of the run.
    universal: bool `[layer, neuron]`, neurons that are among the loudest of their layer whatever is asked.
    per_response: by kind (`gather_per_response` has them), of every member float32 `[contrast, pole, layer, neuron]`.
        Where both texts are read there are two rows a contrast, the positive pole's text first, and `products` of the
        negative pole's text are negated.
    output_weights: what each neuron writes to the residual stream, layer -> float32 `[neuron, hidden]`.
    seed: for what is random.
    """

    moments: Mapping[Reading, Sequence[ContrastMoments]]
    firing_rates: Mapping[Reading, Tensor]
    members: Sequence[int]
    universal: Tensor | None = None
    per_response: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    output_weights: Callable[[int], Tensor] | None = None
    seed: int = 0

    def pooled(self, reading: Reading) -> Poles:
        """The moments of both poles, those of the members taken together: every counted token weighs the same."""
        parts = self.moments[reading]
        return Poles(*(Moments.pooled([getattr(part, pole).summed() for part in parts]) for pole in POLES))


@dataclass(frozen=True)
class Method:
    """A way to score neurons.

    score: (evidence, reading) -> float64 `[layer, neuron]`.
    reading: the site, tokens and texts it was published for; it may be asked for at others.
    source: where it was published.
    paired: the paired difference that its test is about: `firing` rates or `mean` activations; None if no test belongs
        to it.
    needs: what of `NEEDS` must be in the evidence besides the moments.
    """

    name: str
    score: Callable[[Evidence, Reading], Tensor]
    reading: Reading
    source: str
    paired: str | None = "mean"
    needs: frozenset[str] = frozenset()

    @property
    def needs_weights(self) -> bool:
        """Whether the model's weights must be here, which they are not where it runs on a server."""
        return bool(self.needs & {"output_weights", "products"})


_METHODS: dict[str, Method] = {}


def register_method(method: Method) -> None:
    """Make a method known by its name. Raises InvalidInputError if another one has that name, or it makes no sense."""
    if not re.fullmatch("[a-z][a-z0-9_]*", method.name):
        raise InvalidInputError(f"A method's name is lower case letters, digits and _, '{method.name}' given.")
    method.reading.check()
    for need in method.needs - set(NEEDS):
        raise UnknownNameError("need of a method", need, NEEDS)
    if method.paired not in (*_PAIRED, None):
        raise UnknownNameError("paired difference", method.paired, _PAIRED)
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


def firing_difference(evidence: Evidence, reading: Reading) -> Tensor:
    """δ = p(+) − p(−), the difference of firing rates (NPTI, 2410.12327; ValueLocate, 2505.17712)."""
    positive, negative = evidence.pooled(reading)
    return positive.firing_rate() - negative.firing_rate()


def mean_difference(evidence: Evidence, reading: Reading) -> Tensor:
    """Difference of mean activations."""
    positive, negative = evidence.pooled(reading)
    return positive.mean() - negative.mean()


def prompt_difference(evidence: Evidence, reading: Reading) -> Tensor:
    """Difference of mean activations on the same texts: what the prompt alone does to a neuron.

    Either pole's response is read under both prompts, so that what was said does not differ between the poles. Over
    each prompt's own response the same difference ranks neurons no better than their loudness (docs/locating.md).
    """
    return mean_difference(evidence, reading)


def effect_size(evidence: Evidence, reading: Reading) -> Tensor:
    """Cohen's d, over prompts where one token of each counts (DPN-LE, 2604.27929, which also asks for a large gap)."""
    return cohens_d(*evidence.pooled(reading))


def contrastive(evidence: Evidence, reading: Reading) -> Tensor:
    """Difference of means at the last prompt token, without the first two layers (CNA, 2605.12290).

    As published for models of 16 layers and more; of a shallow one it leaves out a large part. Neurons that are loud
    whatever is asked score 0 too: the authors do that when they attribute, and we do it here.

    Raises InvalidInputError if which neurons these are was not gathered.
    """
    if evidence.universal is None:
        raise InvalidInputError("contrastive leaves out universal neurons; gather them first (Evidence.universal).")
    positive, negative = evidence.pooled(reading)
    score = positive.mean() - negative.mean()
    score[:_FIRST_LAYERS] = 0
    return score.masked_fill(evidence.universal, 0)


def lape(evidence: Evidence, reading: Reading) -> Tensor:
    """Language activation probability entropy (2402.16438), with values in the place of languages.

    p[k] is the firing rate under the positive pole of value k, LAPE = −Σ p′ log p′ with p′ = p / Σ p over values.
    Published: neurons without any p above the 95 % quantile of all p are dropped, those of lowest entropy are kept, and
    one belongs to every value whose own p is above that bar. Here the score is log K − LAPE for a neuron that belongs
    to the value and 0 for others; the same over the negative poles is taken off, which gives it a sign.

    Raises InvalidInputError if the run has one basic value only: an entropy over one class is always 0.
    """
    rates = evidence.firing_rates[reading]  # [value, pole, layer, neuron]
    if len(rates) < 2:
        raise InvalidInputError("lape compares values with each other and needs two at least; 1 given.")
    shares = rates / rates.sum(0).clamp(min=torch.finfo(rates.dtype).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum(0)  # [pole, layer, neuron]
    selective = math.log(len(rates)) - entropy
    bars = torch.from_numpy(np.quantile(rates.numpy(), _LAPE_BAR, axis=(0, 2, 3))).view(2, 1, 1)
    belongs = (rates[list(evidence.members)] > bars).any(0)
    positive, negative = torch.where(belongs, selective, 0.0)
    return positive - negative


def probe(evidence: Evidence, reading: Reading) -> Tensor:
    """Weights of a logistic probe in each layer that tells the poles' responses apart (NeVA 2602.07356 finds so).

    Features are the mean activations of a response, each divided by its standard deviation over the responses, so a
    weight is in log-odds a standard deviation, and neurons compare. Ridge penalty ½|w|², no penalty on the intercept.
    """
    members = evidence.per_response["means"]
    arms = torch.cat([member.flatten(0, 1) for member in members])  # [response, layer, neuron]
    signs = torch.cat([torch.tensor((1.0, -1.0)).repeat(len(member)) for member in members])
    return torch.stack([ridge_logistic(arms[:, layer], signs).standardised for layer in range(arms.shape[1])])


def value_plane(evidence: Evidence, reading: Reading) -> Tensor:
    """What a neuron writes along the value's direction in the residual stream after its layer (2509.24319).

    The direction is the difference of the poles' mean residuals, each first averaged over a response's counted tokens,
    at length 1. The authors project on the plane of an intrinsic and a prompted direction and rank by the length; of
    descriptions there is the prompted one only, and its sign is kept.
    """
    direction = torch.nn.functional.normalize(_mean_gap(evidence.per_response["residuals"]), dim=-1)
    assert evidence.output_weights is not None  # it is among this method's needs
    return torch.stack([evidence.output_weights(layer).double() @ way for layer, way in enumerate(direction)])


def attribution(evidence: Evidence, reading: Reading) -> Tensor:
    """Gradient × activation, the costly reference: what a neuron adds to the log-odds by which prompts part the texts.

    With c(p, t) = Σ a · ∂L/∂a over counted tokens, where L is the log-likelihood of text t after prompt p in nats, the
    size is that of ½ [c(+, +) − c(+, −) − c(−, +) + c(−, −)], mean over contrasts: to first order what is lost without
    the neuron. A neuron that serves either pole has it above zero; so its sign is turned where the neuron is lower
    under the positive prompt, and then says which way to push. Read on each prompt's own response, the score is
    c(+, +) − c(−, −).
    """
    gap = _mean_gap(evidence.per_response["products"])
    return gap if reading.texts == "own" else gap * mean_difference(evidence, reading).sign()


def _mean_gap(members: Sequence[Tensor]) -> Tensor:
    """Mean difference of the poles over all contrasts: members `[contrast, pole, layer, x]` -> float64 `[layer, x]`."""
    poles: list[Any] = [sum(member[:, pole].sum(0, dtype=torch.float64) for member in members) for pole in (0, 1)]
    return (poles[0] - poles[1]) / max(1, sum(map(len, members)))


def random_scores(evidence: Evidence, reading: Reading) -> Tensor:
    """`prompt_difference`'s scores shuffled within each layer, by the seed: what a method must beat.

    Layers and magnitudes are matched, so a set chosen by these differs from a real one only in which neurons it has.
    Other folds are shuffled otherwise, so its split-half reliability is that of chance. It has no test: that of a
    shuffled neuron would be another neuron's.
    """
    score = prompt_difference(evidence, reading)
    mark = f"{evidence.seed}/{list(evidence.members)}/{float(score.sum())!r}"
    drawn = torch.Generator().manual_seed(random.Random(mark).getrandbits(63))
    order = torch.stack([torch.randperm(score.shape[1], generator=drawn) for _ in score])
    return score.gather(1, order)


for _method in (
    Method("firing_difference", firing_difference, Reading("gate"), "arXiv 2505.17712, 2410.12327", paired="firing"),
    Method("mean_difference", mean_difference, Reading("down_in"), "a difference of means"),
    Method("prompt_difference", prompt_difference, Reading("down_in", texts="both"), "a difference of means"),
    Method("effect_size", effect_size, Reading("down_in", "last_prompt"), "arXiv 2604.27929"),
    Method(
        "contrastive",
        contrastive,
        Reading("down_in", "last_prompt"),
        "arXiv 2605.12290",
        needs=frozenset({"universal"}),
    ),
    Method("lape", lape, Reading("gate"), "arXiv 2402.16438", paired="firing", needs=frozenset({"firing_rates"})),
    Method("probe", probe, Reading("down_in"), "arXiv 2602.07356", needs=frozenset({"means"})),
    Method(
        "value_plane",
        value_plane,
        Reading("down_in"),
        "arXiv 2509.24319",
        paired=None,
        needs=frozenset({"residuals", "output_weights"}),
    ),
    Method(
        "attribution",
        attribution,
        Reading("down_in", texts="both"),
        "gradient × activation",
        paired=None,
        needs=frozenset({"products"}),
    ),
    Method("random", random_scores, Reading("down_in", texts="both"), "a control", paired=None),
):
    register_method(_method)
