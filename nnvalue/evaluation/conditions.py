"""From a design to conditions: every arm, value, pole and dose with its steering, and the controls beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nnvalue.artifacts import digest
from nnvalue.dataset import ValueInsight
from nnvalue.errors import InvalidInputError
from nnvalue.evaluation.design import UNSTEERED, Arm, Design
from nnvalue.findings import ValueNeurons
from nnvalue.locator import LocateConfig, Threshold, TopK, locate
from nnvalue.models import Subject
from nnvalue.organism import sae_folder as organism_sae
from nnvalue.progress import Progress
from nnvalue.sae import SparseAutoencoder, ValueFeatures, locate_features, open_sae
from nnvalue.steering import (
    DirectionSteering,
    FeatureSteering,
    NeuronSteering,
    Steering,
    ValueDirections,
    direction_steering,
    learn_directions,
    matched_random,
    neuron_steering,
    random_direction,
    random_features,
    value_features,
    value_prompt,
    value_role,
)

RANDOM, AS_BUSY, DIRECTION = "random neurons", "random neurons, same firing rates", "random direction"
FEATURES = "random features"
STEPPED = ("npti", "valuelocate")
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
    subject: Subject, design: Design, edition: ValueInsight, place: Path, overwrite: bool, progress: Progress
) -> tuple[list[Condition], list[str], dict[str, Any]]:
    """All conditions, the unsteered one first; what was left out and why; and what the arms steer by.

    Args:
        place: folder in which results of locating are kept, one for each kind of them.

    Raises InvalidInputError or UnknownNameError for a setting that there is not, before anything is left out.
    """
    maker = _Maker(subject, design, edition, place, overwrite, progress)
    made, notes, facts = [Condition(UNSTEERED)], [], {}
    for arm in design.arms:
        make = maker.maker_of(arm)
        for value in design.values:
            for pole in design.poles:
                try:
                    steering = make(value, pole)
                except InvalidInputError as error:  # such as a value without neurons of the pole
                    notes.append(f"{arm.name}, {value}, {pole}: left out. {error}")
                    continue
                facts[f"{arm.name}, {value}, {pole}"] = steering.describe()
                made += [Condition(arm.name, None, value, pole, dose, 0, steering.at(dose)) for dose in arm.doses]
                controls, refused = maker.controls(arm, value, pole, steering)
                notes += [f"{arm.name}, {value}, {pole}: {why}" for why in refused]
                for name, draw, control in controls:
                    made += [
                        Condition(f"{arm.name}, {name}", arm.name, value, pole, dose, draw, control.at(dose))
                        for dose in arm.doses
                    ]
    return made, list(dict.fromkeys(notes)), facts


class _Maker:
    """Makes steerings, and finds each kind of neurons and directions once."""

    def __init__(
        self, subject: Subject, design: Design, edition: ValueInsight, place: Path, overwrite: bool, progress: Progress
    ) -> None:
        self._subject, self._design, self._edition = subject, design, edition
        self._place, self._overwrite, self._progress = place, overwrite, progress
        self._found: dict[str, ValueNeurons] = {}
        self._directions: dict[str, ValueDirections] = {}
        self._features: dict[str, tuple[ValueFeatures, SparseAutoencoder]] = {}

    def maker_of(self, arm: Arm) -> Callable[[str, str], Steering]:
        """(value, pole) -> the arm's steering at dose 1; what it is made of is found here, once."""
        if arm.kind == "prompt":
            settings: dict[str, Any] = {"split": self._design.split, "seed": self._design.seed}
            return lambda value, pole: value_prompt(self._edition, value, pole, **settings)
        if arm.kind == "role":
            return lambda value, pole: value_role(self._edition, value, pole, seed=self._design.seed)
        if arm.kind == "neurons":
            settings, found = _settings(arm, neuron_steering), self._located(arm.locate)
            return lambda value, pole: neuron_steering(found, value, pole, **settings)
        if arm.kind == "features":
            settings, (features, sae) = _settings(arm, value_features), self._featured(arm)
            return lambda value, pole: value_features(features, sae, value, pole, **settings)
        settings, learned = _settings(arm, direction_steering), self._learned(arm.locate)
        return lambda value, pole: direction_steering(learned, value, pole, **settings)

    def controls(
        self, arm: Arm, value: str, pole: str, steering: Steering
    ) -> tuple[list[tuple[str, int, Steering]], list[str]]:
        """(name, draw, steering) of every control of an arm; and why one is not there."""
        made: list[tuple[str, int, Steering]] = []
        notes = []
        try:
            made += self._random(arm, value, steering)
        except InvalidInputError as error:
            notes.append(f"no random control. {error}")
        if arm.steering.get("mode") in STEPPED and "part" not in arm.steering:
            for part, name in _STEPS.items():
                try:
                    alone = self.maker_of(replace(arm, steering={**arm.steering, "part": part}))
                    made.append((name, 0, alone(value, pole)))
                except InvalidInputError as error:
                    notes.append(f"no control of the {name}. {error}")
        return made, notes

    def _random(self, arm: Arm, value: str, steering: Steering) -> list[tuple[str, int, Steering]]:
        made: list[tuple[str, int, Steering]] = []
        for draw in range(self._design.random_sets):
            seed = 1000 * self._design.seed + draw
            if isinstance(steering, DirectionSteering):
                made.append((DIRECTION, draw, random_direction(steering, seed)))
            elif isinstance(steering, FeatureSteering):
                made.append((FEATURES, draw, random_features(steering, self._featured(arm)[1], seed)))
            elif isinstance(steering, NeuronSteering):
                found = self._located(arm.locate)
                rates = found.maps["firing_positive"][found.values.index(value)]
                width = self._subject.anatomy.width
                made.append((RANDOM, draw, matched_random(steering, width, seed)))
                made.append((AS_BUSY, draw, matched_random(steering, width, seed, rates)))
        return made

    def _located(self, settings: Mapping[str, Any]) -> ValueNeurons:
        config = _locate_config(settings, self._design)
        asked = [asdict(config), type(config.selection).__name__, self._subject.identity(), self._edition.fingerprint]
        mark = digest(asked)[:8]
        if mark not in self._found:
            self._found[mark] = locate(
                self._subject, config, dataset=self._edition, out=self._place / mark, overwrite=self._overwrite,
                progress=self._progress,
            )  # fmt: skip
        return self._found[mark]

    def _featured(self, arm: Arm) -> tuple[ValueFeatures, SparseAutoencoder]:
        mark = digest([dict(arm.locate), arm.sae])
        if mark not in self._features:
            sae = open_sae(organism_sae() if arm.sae is None else arm.sae)
            found = self._located(arm.locate)
            self._features[mark] = locate_features(self._subject, sae, found, progress=self._progress), sae
        return self._features[mark]

    def _learned(self, settings: Mapping[str, Any]) -> ValueDirections:
        mark = digest(dict(settings))
        if mark not in self._directions:
            self._directions[mark] = learn_directions(self._subject, self._located(settings), progress=self._progress)
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
