"""Steering by single neurons: edits of their activations, by a dose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from nnvalue.errors import InvalidInputError
from nnvalue.models import Anatomy
from nnvalue.steering.in_trace import InTrace
from nnvalue.steering.recipes import Recipe, checked_site
from nnvalue.steering_protocol import Edits, checked_dose, checked_scope


@dataclass(frozen=True, eq=False)
class NeuronSteering(InTrace):
    """Edits of neurons; a dose above 0 does one recipe, a dose below 0 its counterpart.

    forth: what a dose above 0 does.
    back: what a dose below 0 does, by its size; None where there is no counterpart, and such a dose is refused.
    site: `gate` or `down_in`.
    scope: which positions are edited: `answer`, `decode`, `all`, or spans (start, end) of tokens.
    full_caps: whether caps and floors act fully at every dose but 0, as published by NPTI.
    keep, seed: with `keep` below 1, every addition is left out with probability 1 − keep, by a new coin at each step.
    model: `Subject.identity()` of the model that it was made for; None for any.
    about: what it was made of, for the record.
    """

    forth: Recipe
    back: Recipe | None = None
    site: str = "down_in"
    dose: float = 1.0
    scope: Any = "answer"
    full_caps: bool = False
    keep: float = 1.0
    seed: int = 0
    model: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose", checked_dose(self.dose))
        object.__setattr__(self, "scope", checked_scope(self.scope))
        checked_site(self.site)
        if not 0 < self.keep <= 1:
            raise InvalidInputError(f"keep is a probability above 0, {self.keep} given.")
        if self.dose < 0 and self.back is None:
            raise InvalidInputError(
                f"These edits have no counterpart for a dose below 0, {self.dose:g} given; give one above."
            )
        self.recipe.check_dose(self.dose)

    @classmethod
    def from_edits(cls, edits: Iterable[tuple[Any, ...]], **settings: Any) -> NeuronSteering:
        """From rows (op, layer, neuron, amount): see `nnvalue.steering.OPS`.

        >>> NeuronSteering.from_edits([("scale", 2, 17, 0.0), ("add", 2, 40, 1.5)], site="gate").describe()["neurons"]
        2
        """
        return cls(Recipe.of(edits), **settings)

    @property
    def recipe(self) -> Recipe:
        """What its dose does."""
        return self.back if self.dose < 0 and self.back is not None else self.forth

    def edits(self, anatomy: Anatomy) -> Edits:
        """Compiled edits; none at dose 0. Raises ModelError for a neuron that the model lacks."""
        if not self.dose:
            return []
        return self.recipe.compile(anatomy, self.site, abs(self.dose), self.scope, self.full_caps, self.keep, self.seed)

    def describe(self) -> dict[str, Any]:
        """What it is and does, as JSON data."""
        coins = {"keep": self.keep, "seed": self.seed} if self.keep < 1 else {}
        return {
            **self.about, "kind": "neurons", "dose": self.dose, "scope": self.scope, "site": self.site,
            "full_caps": self.full_caps, **coins, **self.recipe.facts(),
        }  # fmt: skip

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Settings and tensors that it can be made of again."""
        names = ("site", "dose", "scope", "full_caps", "keep", "seed", "model", "about")
        settings = {name: getattr(self, name) for name in names}
        tensors = self.forth.tensors("forth") | (self.back.tensors("back") if self.back is not None else {})
        return settings, tensors

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> NeuronSteering:
        """The inverse of `state`."""
        back = Recipe.from_tensors(tensors, "back") if "back.layer" in tensors else None
        return cls(Recipe.from_tensors(tensors, "forth"), back, **settings)
