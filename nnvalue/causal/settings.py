"""What a survey steers by: each setting is one way of moving the model, with the value that it is meant to move."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnvalue.artifacts import digest
from nnvalue.dataset import Role, ValueInsight, voice
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.findings import ValueNeurons
from nnvalue.models import Subject
from nnvalue.prompts import Prompt
from nnvalue.sae import SparseAutoencoder, ValueFeatures, active_at, place_sae
from nnvalue.steering import (
    PromptSteering,
    Steering,
    ValueDirections,
    direction_steering,
    feature_steering,
    neuron_steering,
    pack_steering,
    unpack_steering,
    value_features,
)
from nnvalue.values import POLES, SIGN, load_framework

UNSTEERED = "unsteered"
MARKER = " your values"
"""Where the paper looks for features and adds them."""
_FIELDS = ("name", "kind", "value", "pole", "dose", "seed")


@dataclass(frozen=True, eq=False)
class Setting:
    """One way of steering everybody who is asked.

    name: short and its own within a survey.
    steering: what moves the model; None for nothing inside it and no words.
    descriptions: texts of which one is put into the frame of each role, drawn by the role's name, so that no wording
        stands for a value alone; empty for none.
    kind: `none`, `prompt`, `neurons`, `direction`, or whatever the steering says of itself.
    value, pole, dose: what it is meant to move, where to and how strongly; None where it is not about one value.
    """

    name: str
    steering: Steering | None = None
    descriptions: tuple[str, ...] = ()
    kind: str = "none"
    value: str | None = None
    pole: str | None = None
    dose: float = 0.0
    seed: int = field(default=0, repr=False)

    @classmethod
    def of(cls, name: str, steering: Steering) -> Setting:
        """A setting that steers, and is about what the steering says of itself."""
        told = steering.describe()
        return cls(name, steering, (), told.get("kind", "own"), told.get("value"), told.get("pole"), steering.dose)

    @property
    def target(self) -> float:
        """The side that it moves its value to: 1, −1, or 0 where it is about none."""
        if self.value is None or not self.dose:
            return 0.0
        return SIGN[self.pole or POLES[0]] * (1.0 if self.dose > 0 else -1.0)

    def system(self, name: str, role: Role | str | None) -> str | None:
        """The system turn of a role in this setting."""
        if not self.descriptions:
            return voice(role)
        drawn = random.Random(f"{self.seed}/{self.value}/{name}").randrange(len(self.descriptions))
        return voice(role, self.descriptions[drawn])

    def as_steering(self, role: Role | str | None = None) -> Steering:
        """What steers in this setting, for use elsewhere: its own steering, or the system turn of a role in it.

        Raises InvalidInputError for one that does nothing, and where the steering was not saved.
        """
        if self.steering is not None:
            return self.steering
        said = self.system("nobody", role)
        if said is None or not self.descriptions:
            raise InvalidInputError(f"The setting '{self.name}' does nothing, or what steered in it was not saved.")
        return PromptSteering(said, None, 1.0, {"value": self.value, "pole": self.pole, "setting": self.name})

    def facts(self) -> dict[str, Any]:
        """What it is, as JSON data."""
        told = None if self.steering is None else self.steering.describe()
        return {
            "name": self.name, "kind": self.kind, "value": self.value, "pole": self.pole, "dose": self.dose,
            "steering": told, "descriptions": len(self.descriptions), "descriptions_sha256": digest(self.descriptions),
            "seed": self.seed,
        }  # fmt: skip


def unsteered() -> Setting:
    """The model as it is."""
    return Setting(UNSTEERED)


def prompt_settings(
    edition: ValueInsight,
    values: Iterable[str] | None = None,
    poles: Sequence[str] = POLES,
    *,
    split: str = "locate",
    seed: int = 0,
) -> list[Setting]:
    """A description of somebody at each pole of each value, in the frame of each role: do(value = its pole).

    Which description is drawn for a role is the same pair at both poles, and a function of seed, value and role alone.

    Args:
        values: values of the edition's framework; all of them by default.

    Raises UnknownNameError for a value or pole that does not exist, DatasetError where one has no descriptions.
    """
    framework = load_framework(edition.framework)
    made = []
    for value in map(framework.resolve, framework.values if values is None else values):
        if value not in framework.values:
            raise UnknownNameError("value", value, framework.values, "(a group has no description of its own)")
        for pole in poles:
            if pole not in POLES:
                raise UnknownNameError("pole", pole, POLES)
            rows = [
                row for row in edition.descriptions
                if (row["value"], row["pole"], row["split"]) == (value, pole, split)
            ]  # fmt: skip
            if not rows:
                raise DatasetError(f"{edition.name} has no descriptions of '{value}' in its '{split}' split.")
            texts = tuple(row["text"] for row in sorted(rows, key=lambda row: row["pair"]))
            made.append(Setting(_named("prompt", value, pole), None, texts, "prompt", value, pole, 1.0, seed))
    return made


def neuron_settings(
    found: ValueNeurons, doses: Sequence[float] = (8.0,), values: Iterable[str] | None = None, **steering: Any
) -> list[Setting]:
    """Edits of value neurons towards both poles; a value without neurons of a pole has no setting there.

    Args:
        doses: above 0.
        values: of the result; all of them by default.
        steering: further settings of `neuron_steering`.
    """
    return _made("neurons", found.values if values is None else values, doses,
                 lambda value, pole: neuron_steering(found, value, pole, **steering))  # fmt: skip


def direction_settings(
    directions: ValueDirections, doses: Sequence[float] = (0.5,), values: Iterable[str] | None = None, **steering: Any
) -> list[Setting]:
    """Shifts along values' directions, towards both poles; arguments as of `neuron_settings`."""
    return _made("direction", directions.values if values is None else values, doses,
                 lambda value, pole: direction_steering(directions, value, pole, **steering))  # fmt: skip


def feature_settings(
    found: ValueFeatures,
    sae: SparseAutoencoder,
    doses: Sequence[float] = (0.5,),
    values: Iterable[str] | None = None,
    **steering: Any,
) -> list[Setting]:
    """Edits of value features of an SAE, towards both poles; arguments as of `neuron_settings`."""
    return _made("features", found.values if values is None else values, doses,
                 lambda value, pole: value_features(found, sae, value, pole, **steering))  # fmt: skip


def published_feature_settings(
    subject: Subject,
    sae: SparseAutoencoder,
    prompt: Prompt,
    text: str = MARKER,
    *,
    top: int = 24,
    dose: float = 100.0,
) -> list[Setting]:
    """The paper's settings: each of the features most active at some words adds `dose` decoder rows there.

    One setting a feature, about no value. The words are edited in the pass over the prompt alone, and must stand in
    every prompt of the survey (Kang et al. 2025, public code: the 24 features by their maximum over " your values",
    100 · W_dec).

    Args:
        prompt: in which features are looked for, such as the first that a survey puts.

    Raises InvalidInputError where the words do not stand in the prompt or nothing is active there, ModelError for an
    SAE that does not fit.
    """
    placed = place_sae(subject, sae)
    made = []
    for feature, activation in active_at(subject, placed, prompt, text, top=top):
        about = {"at": text, "activation": round(activation, 4)}
        steering = feature_steering(
            placed, [feature], [1.0], dose=dose, scope={"text": text}, model=subject.identity(), about=about
        )  # fmt: skip
        made.append(Setting.of(f"feature {feature}", steering))
    return made


def _made(kind: str, values: Iterable[str], doses: Sequence[float], make: Any) -> list[Setting]:
    made = []
    for value in values:
        for pole in POLES:
            try:
                steering = make(value, pole)
            except InvalidInputError as error:
                if isinstance(error, UnknownNameError):
                    raise
                continue
            for dose in doses:
                name = _named(kind, value, pole) + (f" {dose:g}" if len(doses) > 1 else "")
                made.append(Setting.of(name, steering.at(dose)))
    if not made:
        raise InvalidInputError(f"No value has {kind} to steer by; give other values, or another result.")
    return made


def _named(kind: str, value: str, pole: str) -> str:
    return f"{kind} {value} {'+' if SIGN[pole] > 0 else '−'}"


def checked_settings(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """Settings with the unsteered one first. Raises InvalidInputError for none, or two of one name."""
    given = list(settings)
    names = [setting.name for setting in given]
    if UNSTEERED not in names:
        given, names = [unsteered(), *given], [UNSTEERED, *names]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"Two settings are called '{twice}'; give each a name of its own.")
    given.sort(key=lambda setting: setting.name != UNSTEERED)
    return tuple(given)


def packed(setting: Setting, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A setting as JSON data and tensors, so that it steers again when it is opened.

    Of a steering that is not nnvalue's own, what it says of itself is kept and no more.
    """
    data = {name: getattr(setting, name) for name in _FIELDS} | {"descriptions": list(setting.descriptions)}
    if setting.steering is None:
        return data | {"steering": None}, {}
    try:
        state, tensors = pack_steering(setting.steering, f"s{number}")
    except InvalidInputError:
        return data | {"steering": {"lost": setting.steering.describe()}}, {}
    return data | {"steering": state}, tensors


def unpacked(data: Mapping[str, Any], number: int, tensors: Mapping[str, Any]) -> Setting:
    """The inverse of `packed`. Raises KeyError, TypeError or ArtifactError for what is not one."""
    state = data["steering"]
    mine = {name: tensor for name, tensor in tensors.items() if name.startswith(f"s{number}.")}
    steering = None if state is None or "lost" in state else unpack_steering(state, f"s{number}", mine)
    return Setting(
        **{name: data[name] for name in _FIELDS}, steering=steering, descriptions=tuple(data["descriptions"])
    )
