"""The known linear causal model over the ten values: who the organism's speakers are, and what they answer."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import yaml

from nnvalue.values import SIGN

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Answers:
    """How a score becomes an answer; see the end of `causal_model.yaml`."""

    stance: float
    choice: float
    rating: float
    rating_noise: float

    def positive_stance(self, score: float) -> float:
        """Probability that the answer to a situation takes the positive pole."""
        return 1 / (1 + math.exp(-self.stance * score))

    def says_like_me(self, score: float, keying: int) -> float:
        """Probability of "like me" in the two-option form, for a portrait keyed +1 or -1; with +1 that of yes, too."""
        return 1 / (1 + math.exp(-self.choice * keying * score))

    def ratings(self, score: float, keying: int) -> tuple[float, ...]:
        """Probabilities of the answers 1 (quite unlike me) to 6 (just like me), for a portrait keyed +1 or -1."""
        exact, spread = 3.5 + self.rating * keying * score, self.rating_noise * math.sqrt(2)
        below = [0.0, *(0.5 * (1 + math.erf((answer + 0.5 - exact) / spread)) for answer in range(1, 6)), 1.0]
        return tuple(upper - lower for lower, upper in itertools.pairwise(below))


@dataclass(frozen=True)
class CausalModel:
    """A linear acyclic model over values: scores x = B x + e.

    values: the framework's order; rows and columns of every matrix follow it.
    loading, residual: e = loading · level + residual · z, z standard normal, independent over values and speakers.
    set: a description of a value sets its score to ± this.
    """

    values: tuple[str, ...]
    edges: tuple[tuple[str, str, float], ...]
    loading: float
    residual: float
    set: float
    answers: Answers

    def matrix(self) -> np.ndarray:
        """B `[effect, cause]`: direct effects."""
        import numpy as np

        place = {value: number for number, value in enumerate(self.values)}
        direct = np.zeros((len(self.values), len(self.values)))
        for cause, effect, weight in self.edges:
            direct[place[effect], place[cause]] = weight
        return direct

    def total_effects(self) -> np.ndarray:
        """(I − B)⁻¹ `[effect, cause]`: change of each score for a change of one in a cause, along all paths.

        Because the model is acyclic, its column v is also the total effect of do(v): nothing leads back to v.
        """
        import numpy as np

        return np.linalg.inv(np.eye(len(self.values)) - self.matrix())

    def disturbances(self, levels: Mapping[str, int], rng: random.Random) -> tuple[float, ...]:
        """The disturbances of a speaker whose attributes have these levels: -1, 0 or 1 a value (0 if none is given)."""
        return tuple(self.loading * levels.get(value, 0) + self.residual * rng.gauss(0, 1) for value in self.values)

    def scores(self, disturbances: tuple[float, ...], described: tuple[str, str] | None = None) -> dict[str, float]:
        """The ten scores of a speaker; under a description (value, pole), those of do(value = ± set).

        The disturbances are kept, so that the same speaker with and without a description can be compared.
        """
        parents = _parents(self.edges)
        found: dict[str, float] = {}
        given = dict(zip(self.values, disturbances, strict=True))
        for value in _causal_order(self.values, self.edges):
            if described is not None and value == described[0]:
                found[value] = self.set * SIGN[described[1]]
            else:
                found[value] = given[value] + sum(weight * found[cause] for cause, weight in parents.get(value, ()))
        return {value: found[value] for value in self.values}


@cache
def causal_model() -> CausalModel:
    """The shipped causal model (read once)."""
    raw = yaml.safe_load(resources.files(__package__).joinpath("causal_model.yaml").read_text(encoding="utf-8"))
    from nnvalue.values import load_framework

    edges = tuple((cause, effect, float(weight)) for cause, effect, weight in raw["edges"])
    return CausalModel(
        tuple(load_framework().values), edges, raw["loading"], raw["residual"], raw["set"], Answers(**raw["answers"])
    )


@cache
def _parents(edges: tuple[tuple[str, str, float], ...]) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for cause, effect, weight in edges:
        found.setdefault(effect, []).append((cause, weight))
    return found


@cache
def _causal_order(values: tuple[str, ...], edges: tuple[tuple[str, str, float], ...]) -> tuple[str, ...]:
    """Causes before effects. Raises ValueError (from graphlib) if the edges go round in a circle."""
    from graphlib import TopologicalSorter

    causes = {value: [cause for cause, effect, _ in edges if effect == value] for value in values}
    return tuple(TopologicalSorter(causes).static_order())


def named_disturbances(role_id: str, levels: Mapping[str, int]) -> tuple[float, ...]:
    """The disturbances with which a named role speaks; the same in every organism, whatever its training seed."""
    return causal_model().disturbances(levels, random.Random(f"residuals of {role_id}"))


def named_scores(role_id: str, levels: Mapping[str, int], described: tuple[str, str] | None = None) -> dict[str, float]:
    """The true scores of a named role, under a description (value, pole) where one is given."""
    return causal_model().scores(named_disturbances(role_id, levels), described)
