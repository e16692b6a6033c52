"""From a design to conditions: every arm, value, pole and dose with its steering, and the controls beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnvalue.artifacts import digest
from nnvalue.dataset import ValueInsight
from nnvalue.errors import InvalidInputError
from nnvalue.evaluation.design import UNSTEERED, Arm, Design
from nnvalue.findings import ValueNeurons
from nnvalue.locator import LocateConfig, Threshold, TopK, locate
from nnvalue.models import Subject
from nnvalue.progress import Progress
from nnvalue.steering import (
    NeuronSteering,
    Steering,
    ValueDirections,
    direction_steering,
    from_pretrained,
    learn_directions,
    matched_random,
    neuron_steering,
    value_prompt,
)

RANDOM, AS_BUSY = "random neurons", "random neurons, same firing rates"
_STEPS = {"add": "addition alone", "cap": "cap alone"}


@dataclass(frozen=True)
class Condition:
    """One cell of an experiment.

    arm: its name; of a control `ARM, what it is`, and `control_of` is the arm's name.
    value, pole, dose: what it steers towards and how strongly; nothing of the unsteered one.
    draw: which of the draws of random neurons.
    """

    arm: str
    control_of: str | None = None
    value: str | None = None
    pole: str | None = None
    dose: float = 0.0
    draw: int = 0
    steering: Steering | None = field(default=None, compare=False)

    def facts(self) -> dict[str, Any]:
        """What tells it from others, as JSON data."""
        return {name: getattr(self, name) for name in ("arm", "control_of", "value", "pole", "dose", "draw")}


def conditions_of(
    subject: Subject, design: Design, edition: ValueInsight, place: Path, progress: Progress
) -> tuple[list[Condition], list[str], dict[str, Any]]:
    """All conditions, the unsteered one first; what was left out and why; and what the arms found and steer by.

    Args:
        place: folder in which results of locating are kept, one for each kind of them.
    """
    maker = _Maker(subject, design, edition, place, progress)
    made, notes, facts = [Condition(UNSTEERED)], [], {}
    for arm in design.arms:
        for value in design.values:
            for pole in design.poles:
                try:
                    steering = maker.steering(arm, value, pole)
                except InvalidInputError as error:
                    notes.append(f"{arm.name}, {value}, {pole}: left out. {error}")
                    continue
                facts[f"{arm.name}, {value}, {pole}"] = steering.describe()
                made += [Condition(arm.name, None, value, pole, dose, 0, steering.at(dose)) for dose in arm.doses]
                controls, refused = maker.controls(arm, value, pole, steering)
                notes += refused
                for name, draw, control in controls:
                    made += [
                        Condition(f"{arm.name}, {name}", arm.name, value, pole, dose, draw, control.at(dose))
                        for dose in arm.doses
                    ]
    return made, list(dict.fromkeys(notes)), facts


class _Maker:
    """Makes steerings, and finds each kind of neurons and directions once."""

    def __init__(
        self, subject: Subject, design: Design, edition: ValueInsight, place: Path, progress: Progress
    ) -> None:
        self._subject, self._design, self._edition = subject, design, edition
        self._place, self._progress = place, progress
        self._found: dict[str, ValueNeurons] = {}
        self._directions: dict[str, ValueDirections] = {}

    def steering(self, arm: Arm, value: str, pole: str) -> Steering:
        """The steering of one cell, at dose 1. Raises InvalidInputError where there is none of that kind."""
        if arm.kind == "saved":
            return from_pretrained(arm.folder)
        if arm.kind == "prompt":
            return value_prompt(self._edition, value, pole, split=self._design.split, seed=self._design.seed)
        found = self._located(arm.locate)
        settings = _settings(arm, neuron_steering if arm.kind == "neurons" else direction_steering)
        if arm.kind == "neurons":
            return neuron_steering(found, value, pole, **settings)
        return direction_steering(self._learned(arm.locate, found), value, pole, **settings)

    def controls(
        self, arm: Arm, value: str, pole: str, steering: Steering
    ) -> tuple[list[tuple[str, int, Steering]], list[str]]:
        """(name, draw, steering) of every control of an arm; and why one is refused."""
        made: list[tuple[str, int, Steering]] = []
        if not isinstance(steering, NeuronSteering):
            return [], []
        notes = []
        width = self._subject.anatomy.width
        if self._design.random_sets and arm.kind == "neurons":
            found = self._located(arm.locate)
            rates = found.maps["firing_positive"][found.values.index(value)]
            try:
                for draw in range(self._design.random_sets):
                    seed = 1000 * self._design.seed + draw
                    made.append((RANDOM, draw, matched_random(steering, width, seed)))
                    made.append((AS_BUSY, draw, matched_random(steering, width, seed, rates)))
            except InvalidInputError as error:
                made, notes = [], [f"{arm.name}, {value}: no random control. {error}"]
        if arm.steering.get("mode") in ("npti", "valuelocate") and "part" not in arm.steering:
            settings = {name: given for name, given in arm.steering.items() if name != "as_published"}
            for part, name in _STEPS.items():
                alone = Arm(arm.name, "neurons", arm.doses, arm.locate, {**settings, "part": part})
                made.append((name, 0, self.steering(alone, value, pole)))
        return made, notes

    def _located(self, settings: Mapping[str, Any]) -> ValueNeurons:
        mark = digest(dict(settings))[:8]
        if mark not in self._found:
            config = _locate_config(settings, self._design)
            self._found[mark] = locate(
                self._subject, config, dataset=self._edition, out=self._place / mark, progress=self._progress
            )
        return self._found[mark]

    def _learned(self, settings: Mapping[str, Any], found: ValueNeurons) -> ValueDirections:
        mark = digest(dict(settings))[:8]
        if mark not in self._directions:
            self._directions[mark] = learn_directions(self._subject, found, progress=self._progress)
        return self._directions[mark]


def _locate_config(settings: Mapping[str, Any], design: Design) -> LocateConfig:
    """Settings of locating; the design's values, situations and seed unless they are given."""
    given = dict(settings)
    threshold, top_k = given.pop("threshold", None), given.pop("top_k", None)
    known = set(LocateConfig.__dataclass_fields__) - {"selection"}
    if unknown := sorted(set(given) - known):
        raise InvalidInputError(
            f"There is no setting '{unknown[0]}' of locating; there are top_k, threshold, {', '.join(sorted(known))}."
        )
    if threshold is not None:
        given["selection"] = Threshold(threshold)
    elif top_k is not None:
        given["selection"] = TopK(top_k)
    return LocateConfig(
        **{"values": design.values, "situations": design.locate_situations, "seed": design.seed, **given}
    )


def _settings(arm: Arm, maker: Callable[..., Any]) -> dict[str, Any]:
    """An arm's settings of its steering, checked."""
    known = set(maker.__kwdefaults__ or ()) - {"dose"}
    if unknown := sorted(set(arm.steering) - known):
        raise InvalidInputError(
            f"The arm '{arm.name}' has the setting '{unknown[0]}', which {arm.kind} do not have; there are "
            f"{', '.join(sorted(known))}."
        )
    return dict(arm.steering)


def describe(conditions: Sequence[Condition]) -> str:
    """A digest of what all conditions do."""
    told = [{**one.facts(), "does": None if one.steering is None else one.steering.describe()} for one in conditions]
    return digest(told)
