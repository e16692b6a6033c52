"""Steering by what is said before the question: a description of a value's pole, or a role."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from nnvalue.dataset import Role, ValueInsight, role_of, voice
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.models import Anatomy
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Edits, checked_dose
from nnvalue.values import POLES, SIGN, load_framework


@dataclass(frozen=True)
class PromptSteering:
    """A system turn that is put before every question; said or not said, so its dose is 1, 0 or −1.

    forth: what a dose of 1 says.
    back: what a dose of −1 says; None where there is no opposite.
    about: what it is, for the record.

    A prompt that has a system turn already keeps it, after this one.
    """

    forth: str
    back: str | None = None
    dose: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose", checked_dose(self.dose))
        if self.dose not in (0, 1) and not (self.dose == -1 and self.back is not None):
            known = "1 or 0" if self.back is None else "1, 0 or -1"
            raise InvalidInputError(f"A prompt is said or not; its dose is {known}, {self.dose:g} given.")

    def at(self, dose: float) -> PromptSteering:
        """The same at another dose. Raises InvalidInputError for a dose that it has not."""
        return replace(self, dose=dose)

    def speak(self, prompt: Prompt) -> Prompt:
        """The prompt with the system turn of the dose."""
        said = {0: None, 1: self.forth, -1: self.back}[int(self.dose)]
        if said is None:
            return prompt
        return replace(prompt, system=said if prompt.system is None else f"{said} {prompt.system}")

    def edits(self, anatomy: Anatomy) -> Edits:
        """Nothing is done inside the trace."""
        return []

    def describe(self) -> dict[str, Any]:
        """What it is and says, as JSON data."""
        said = {0: None, 1: self.forth, -1: self.back}[int(self.dose)]
        return {**self.about, "kind": "prompt", "dose": self.dose, "system": said}

    def require_model(self, identity: Mapping[str, Any]) -> None:
        """Words fit every model."""

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Settings that it can be made of again."""
        return {name: getattr(self, name) for name in ("forth", "back", "dose", "about")}, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> PromptSteering:
        """The inverse of `state`."""
        return cls(**settings)


def value_prompt(
    edition: ValueInsight,
    value: str,
    pole: str = "positive",
    *,
    role: Role | str | None = None,
    dose: float = 1.0,
    split: str = "locate",
    seed: int = 0,
) -> PromptSteering:
    """A description of a person at a value's pole, drawn from a dataset, and one of the other pole for a dose of −1.

    Of a higher-order value one of its members is described; with a role, the described person has that role.

    Raises UnknownNameError for a value or pole that does not exist, DatasetError where it has no descriptions.
    """
    if pole not in POLES:
        raise UnknownNameError("pole", pole, POLES)
    framework = load_framework(edition.framework)
    members = framework.members(framework.resolve(value))
    rows = [row for row in edition.descriptions if row["value"] in members and row["split"] == split]
    if not rows:
        raise DatasetError(f"{edition.name} has no descriptions of '{value}' in its '{split}' split.")
    pairs: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        pairs.setdefault((row["value"], row["pair"]), {})[row["pole"]] = row["text"]
    chosen = random.Random(f"{seed}/{value}").choice(sorted(pairs))
    here, there = (voice(role, pairs[chosen][each]) or "" for each in (pole, POLES[1 - POLES.index(pole)]))
    about = {"value": value, "pole": pole, "described": chosen[0], "pair": chosen[1]}
    return PromptSteering(here, there, dose, about if role is None else about | {"role": _name(role)})


def role_prompt(role: Role | str, *, dose: float = 1.0) -> PromptSteering:
    """A role, of the dataset or in words of your own; it has no opposite."""
    text = voice(role)
    if not text:
        raise InvalidInputError("A role needs a text; an empty one was given.")
    return PromptSteering(text, None, dose, {"role": _name(role)})


def value_role(
    edition: ValueInsight, value: str, pole: str = "positive", *, dose: float = 1.0, split: str = "train", seed: int = 0
) -> PromptSteering:
    """A role of a dataset that stands at a value's pole, and of which as little as can be is told about other values.

    Among equals one is drawn by the seed. Of a higher-order value, one of its members is told about, and no other
    member at the other pole.

    Raises UnknownNameError for a value or pole that does not exist, DatasetError where no role stands there.
    """
    if pole not in POLES:
        raise UnknownNameError("pole", pole, POLES)
    framework = load_framework(edition.framework)
    members, side = framework.members(framework.resolve(value)), SIGN[pole]
    fitting: dict[int, list[Role]] = {}
    for role in map(role_of, edition.roles):
        own = {role.levels[one] for one in members if one in role.levels}
        if role.split == split and own == {side}:
            fitting.setdefault(sum(one not in members for one in role.levels), []).append(role)
    if not fitting:
        raise DatasetError(f"{edition.name} has no role at the {pole} pole of '{value}' in its '{split}' split.")
    plainest = sorted(fitting[min(fitting)], key=lambda role: role.id)
    steering = role_prompt(random.Random(f"{seed}/{value}/{pole}").choice(plainest), dose=dose)
    return replace(steering, about={**steering.about, "value": value, "pole": pole})


def _name(role: Role | str) -> str:
    return role.id if isinstance(role, Role) else "own words"
