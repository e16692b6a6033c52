"""What steers in `nnvalue steer`: which options go together, and the steering that they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nnvalue.dataset import Role, ValueInsight
    from nnvalue.findings import ValueNeurons
    from nnvalue.models import Subject
    from nnvalue.progress import Progress
    from nnvalue.steering import DirectionSteering, PromptSteering, Steering, ValueDirections

_SOURCES = ("neurons", "directions", "features", "steering", "survey")
_OF_SURVEYS = ("protect", "graph", "by", "penalty")
_WORDS = ("describe", "role")
_OF_NEURONS = ("mode", "top", "factor", "part", "as_published")  # they make no sense along a direction
_BELONGS = {
    **dict.fromkeys(("direction", *_OF_NEURONS), ("neurons",)),
    **dict.fromkeys(("mode", "top", "factor"), ("neurons", "features")),
    **dict.fromkeys(("sae", "at_text"), ("features",)),
    "value": ("neurons", "directions", "features", "survey"),
    "scope": ("neurons", "directions", "features"),
    **dict.fromkeys(_OF_SURVEYS, ("survey",)),
    **dict.fromkeys(("layers", "goal"), ("direction", "directions")),
    "pole": ("neurons", "directions", "features", "describe", "survey"),
    "dataset": _WORDS,
    "control": ("neurons", "steering"),
}


def check_source(options: Mapping[str, Any]) -> None:
    """Raises click's UsageError for options that do not go together."""
    given = _given(options)
    sources = [name for name in _SOURCES if name in given]
    if not given.keys() & {*_SOURCES, *_WORDS}:
        raise click.UsageError(
            "Nothing steers; give --neurons RESULT (of nnvalue locate), --directions, --steering, --survey, --describe "
            "or --role."
        )
    if len(sources) > 1:
        raise click.UsageError(f"{_flags(sources, 'and')} are two sources; give one of them.")
    for name, owners in _BELONGS.items():
        if name in given and not given.keys() & set(owners):
            flag = _flags([name])
            raise click.UsageError(f"{flag} goes with {_flags(owners, 'or')}; give it too, or leave {flag} out.")
    for name in (*_OF_NEURONS, "control") if "direction" in given else ():
        if name in given:
            raise click.UsageError(f"{_flags([name])} is about single neurons; leave it out, or --direction.")


@dataclass(frozen=True)
class Plan:
    """What steers, at any dose: something inside the trace, words before the question, or both.

    The dose is that of what acts inside the trace. Words beside it are said at every dose but 0; below 0 a description
    is one of the other pole. Words alone have the doses of `PromptSteering`.
    """

    inside: Steering | None
    words: PromptSteering | None

    def at(self, dose: float) -> Steering:
        """The steering at a dose. Raises InvalidInputError where it has none of that kind."""
        from nnvalue.steering import CombinedSteering

        if self.words is None:
            assert self.inside is not None  # `check_source` saw to it that something steers
            return self.inside.at(dose)
        if self.inside is None:
            return self.words.at(dose)
        return CombinedSteering((self.words, self.inside.at(1.0)), dose)

    def control(self, subject: Subject, seed: int) -> Plan:
        """The same at random neurons."""
        from nnvalue.steering import NeuronSteering, matched_random

        assert isinstance(self.inside, NeuronSteering)  # `read_source` saw to it
        return replace(self, inside=matched_random(self.inside, subject.anatomy.width, seed))


def read_source(options: Mapping[str, Any]) -> ValueNeurons | Steering | None:
    """What acts inside the trace, as far as it can be made without the model: the result, if `learn` is to follow."""
    from nnvalue.findings import ValueNeurons
    from nnvalue.steering import NeuronSteering, ValueDirections, from_pretrained, neuron_steering

    if options["steering"] is not None:
        saved = from_pretrained(options["steering"])
        if options["control"] and not isinstance(saved, NeuronSteering):
            raise click.UsageError("--control draws other neurons; leave it out, this steering is not one by neurons.")
        return saved
    if options["directions"] is not None:
        directions = ValueDirections.load(options["directions"])
        return _along(directions, _value(options, directions.values), options)
    if options.get("features") is not None:
        return _by_features(options)
    if options["neurons"] is None:
        return None
    found = ValueNeurons.load(options["neurons"])
    value = _value(options, found.values)
    if options["direction"] is not None:
        return found.of((value,))
    return neuron_steering(found, value, **_given(options, "pole", "scope", "seed", *_OF_NEURONS))


def learn(subject: Subject, found: ValueNeurons, options: Mapping[str, Any], progress: Progress) -> DirectionSteering:
    """A steering along a direction that is learned from a result's responses."""
    from nnvalue.steering import learn_directions

    directions = learn_directions(
        subject, found, place=options["direction"], batch_tokens=options["batch_tokens"], progress=progress
    )
    return _along(directions, options["value"], options)


def read_words(options: Mapping[str, Any]) -> PromptSteering | None:
    """What is said before the question: a role, a description, or the description of somebody in a role."""
    from nnvalue.dataset import load_valueinsight
    from nnvalue.steering import role_prompt, value_prompt

    role, described = options["role"], options["describe"]
    if role is None and described is None:
        return None
    edition = load_valueinsight(options["dataset"])
    who = None if role is None else find_role(edition, role)
    if described is None and who is not None:
        return role_prompt(who)
    return value_prompt(edition, described, role=who, **_given(options, "pole", "seed"))


def find_role(edition: ValueInsight, given: str) -> Role | str:
    """A role of the dataset by its id, or the words themselves; one word alone is meant to be an id."""
    from nnvalue.dataset import role_of
    from nnvalue.errors import InvalidInputError

    if row := next((row for row in edition.roles if row["id"] == given), None):
        return role_of(row)
    if len(given.split()) == 1:
        raise InvalidInputError(
            f"There is no role '{given}' in {edition.name}; nnvalue data show --table roles has their ids. One in your "
            "own words has more than one word."
        )
    return given


def _by_features(options: Mapping[str, Any]) -> Steering:
    """A steering by value features, at words of the prompt if some are given."""
    from nnvalue.organism import sae_folder
    from nnvalue.sae import ValueFeatures, open_sae
    from nnvalue.steering import value_features

    found = ValueFeatures.load(options["features"])
    sae = open_sae(sae_folder() if options["sae"] is None else options["sae"])
    scope = {} if options["at_text"] is None else {"scope": {"text": options["at_text"]}}
    given = _given(options, "pole", "scope", "mode", "top", "factor") | scope
    if "top" in given:
        given["top"] = int(given["top"])
    return value_features(found, sae, _value(options, found.values), **given)


def _along(directions: ValueDirections, value: str, options: Mapping[str, Any]) -> DirectionSteering:
    from nnvalue.steering import direction_steering

    return direction_steering(directions, value, **_given(options, "pole", "scope", "layers", "goal"))


def _value(options: Mapping[str, Any], values: Iterable[str]) -> str:
    if options["value"] is None:
        raise click.UsageError(f"Which value? Give --value, one of {', '.join(values)}.")
    return options["value"]


def _given(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The options that were given, of these or of all; 0 is something, no flag is nothing."""
    asked = {name: options[name] for name in names or options}
    return {name: given for name, given in asked.items() if given is not None and given is not False}


def _flags(names: Iterable[str], word: str = "") -> str:
    return f" {word} ".join("--" + name.replace("_", "-") for name in names)
