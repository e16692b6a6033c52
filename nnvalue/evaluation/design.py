"""What is compared: arms, doses, values and poles, and how each cell is read; as a dataclass or a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nnvalue.artifacts import read_yaml
from nnvalue.dataset import SPLITS
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.steering_protocol import Sampling, checked_dose
from nnvalue.values import POLES

KINDS = ("neurons", "direction", "features", "prompt", "role")
"""What an arm steers by: value neurons, a direction, features of an SAE, a description of a person at the pole, or a
role of the dataset that stands there."""
_SPOKEN = ("prompt", "role")


@dataclass(frozen=True)
class Arm:
    """One way of steering, at several doses.

    locate: of neurons and directions, settings of locating: those of `LocateConfig`, and `top_k` or `threshold`.
    steering: settings of `neuron_steering`, `direction_steering` or `value_features`, such as mode, top, scope or goal.
    sae: of features, where the SAE is, as `open_sae` takes it; None for the organism's.
    """

    name: str
    kind: str = "neurons"
    doses: tuple[float, ...] = (1.0,)
    locate: Mapping[str, Any] = field(default_factory=dict)
    steering: Mapping[str, Any] = field(default_factory=dict)
    sae: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("kind of arm", self.kind, KINDS)
        doses = tuple(dict.fromkeys(map(checked_dose, self.doses)))
        for name in ("locate", "steering"):
            if not isinstance(getattr(self, name), Mapping):
                raise InvalidInputError(f"The arm '{self.name}': {name} must be a mapping of settings.")
        if self.sae is not None and self.kind != "features":
            raise InvalidInputError(f"The arm '{self.name}' has an SAE and is one of {self.kind}; leave sae out.")
        if self.kind in _SPOKEN and (self.locate or self.steering):
            raise InvalidInputError(f"The arm '{self.name}' speaks, and has no settings of locating or steering.")
        if not isinstance(self.name, str) or not self.name or not doses or min(doses) <= 0:
            raise InvalidInputError(
                f"The arm '{self.name}' needs a name and doses above 0, {list(self.doses)} given; 0 is always there."
            )
        object.__setattr__(self, "doses", doses)


@dataclass(frozen=True)
class Design:
    """An experiment. Controls are added by themselves: dose 0, random neurons and directions, single steps, agreement.

    values: values or groups that are steered; poles: towards which of them.
    situations: situations of the steered value that are answered in each cell.
    others: situations of every other one of `values`, for leakage in text; 0 for none.
    pairs: pairs of portraits a value that are read in each cell; 0 for none.
    random_sets: draws of random neurons (of either kind of control) and directions; 0 for no such control.
    held_out: pairs of held-out sentences whose likelihood tells what a steering costs; 0 for none.
    statements: whether statements that have nothing to do with values are put, too.
    temperature: answers are drawn with noise that all arms share.
    locate_situations: situations a value on which neurons are found, in the split `locate`.
    split: of what the model is asked: `test`.
    """

    values: tuple[str, ...]
    arms: tuple[Arm, ...]
    poles: tuple[str, ...] = POLES
    situations: int = 24
    others: int = 4
    pairs: int = 1
    random_sets: int = 4
    held_out: int = 10
    statements: bool = True
    temperature: float = 0.7
    max_new_tokens: int = 64
    locate_situations: int = 32
    split: str = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("situations", 2), ("others", 0), ("pairs", 0), ("random_sets", 0), ("held_out", 0),
                            ("max_new_tokens", 1), ("locate_situations", 1)):  # fmt: skip
            given = getattr(self, name)
            if not isinstance(given, int) or given < least:
                raise InvalidInputError(f"{name} must be a whole number of at least {least}, {given!r} given.")
        if self.temperature:
            Sampling(self.temperature)
        if self.split not in SPLITS:
            raise UnknownNameError("split", str(self.split), SPLITS)
        for name in ("values", "poles", "arms"):
            given = getattr(self, name)
            if isinstance(given, str) or not given:
                raise InvalidInputError(f"{name} must be a list with something in it, {given!r} given.")
            object.__setattr__(self, name, tuple(dict.fromkeys(given)) if name == "poles" else tuple(given))
        for pole in self.poles:
            if pole not in POLES:
                raise UnknownNameError("pole", pole, POLES)
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names) or UNSTEERED in names:
            raise InvalidInputError(f"Arms have different names, and none is called '{UNSTEERED}'; {names} given.")

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        arms = [{**asdict(arm), "doses": list(arm.doses)} for arm in self.arms]
        return {**asdict(self), "values": list(self.values), "poles": list(self.poles), "arms": arms}


UNSTEERED = "unsteered"


def read_design(file: str | Path) -> Design:
    """A design from a YAML file: the fields of `Design`, its arms a list of the fields of `Arm`.

    `preset: NAME` takes a ready one, and the file says what differs from it.

    Raises InvalidInputError for a file that is missing, unreadable or has a field that there is not.
    """
    return design_from(read_yaml(Path(file)), str(file))


def design_from(raw: Any, where: str) -> Design:
    """A design from a mapping, as `read_design` takes it."""
    given = _checked(raw, {one.name for one in fields(Design)} | {"preset"}, where)
    base = given.pop("preset", None)
    if "arms" in given:
        if not isinstance(given["arms"], list | tuple):
            raise InvalidInputError(f"{where}: arms must be a list of arms.")
        known = {one.name for one in fields(Arm)}
        arms = [_checked(arm, known, f"{where}, arm {number}") for number, arm in enumerate(given["arms"], 1)]
        for number, arm in enumerate(arms, 1):
            if not isinstance(arm.get("doses", []), list | tuple):
                raise InvalidInputError(f"{where}, arm {number}: doses must be a list of numbers.")
            if "name" not in arm:
                raise InvalidInputError(f"{where}, arm {number}: the field 'name' is missing.")
        given["arms"] = tuple(Arm(**arm) for arm in arms)
    for name in ("values", "poles"):
        if isinstance(given.get(name), list):
            given[name] = tuple(given[name])
    if base is not None:
        return replace(preset(base), **given)
    if missing := [name for name in ("values", "arms") if name not in given]:
        raise InvalidInputError(f"{where}: the field '{missing[0]}' is missing; or start from a preset.")
    return Design(**given)


def _checked(raw: Any, known: set[str], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidInputError(f"{where} must be a mapping with the fields {', '.join(sorted(known))}.")
    if unknown := sorted(set(map(str, raw)) - known):
        raise UnknownNameError("field", unknown[0], known, f"({where})")
    return dict(raw)


_GROUPS = ("openness_to_change", "self_transcendence", "conservation", "self_enhancement")
_PUBLISHED = {"method": "firing_difference", "threshold": 0.1, "null": False}
_FOUND = {"null": False}
PRESETS: dict[str, Design] = {
    "quick": Design(
        _GROUPS,
        (
            Arm("neurons", doses=(4, 12), locate=_FOUND),
            Arm("direction", "direction", (0.5,), locate=_FOUND),
            Arm("prompt", "prompt"),
        ),
        situations=16, others=3, random_sets=2, held_out=4, locate_situations=16,
    ),
    "paper": Design(
        _GROUPS,
        (
            Arm("as published", doses=(0.25, 0.5, 1), locate=_PUBLISHED,
                steering={"mode": "npti", "as_published": True, "scope": "decode"}),
            Arm("public code", doses=(0.5, 1), locate=_PUBLISHED,
                steering={"mode": "valuelocate", "as_published": True, "scope": "decode"}),
            Arm("neurons", doses=(4, 8, 12, 16), locate=_FOUND),
            Arm("sparse", doses=(12, 20), locate=_FOUND, steering={"top": 6}),
            Arm("direction", "direction", (0.25, 0.5), locate=_FOUND),
            Arm("prompt", "prompt"),
        ),
        situations=60, others=8, pairs=2, random_sets=6, held_out=20,
    ),
}  # fmt: skip
PRESETS["full"] = replace(PRESETS["paper"], situations=240, others=24, pairs=6, random_sets=12, held_out=60)
"""Ready designs: a look in minutes, the paper's claim, and the same with more of everything."""


def preset(name: str) -> Design:
    """A ready design by name. Raises UnknownNameError."""
    if name not in PRESETS:
        raise UnknownNameError("preset", str(name), PRESETS)
    return PRESETS[name]
