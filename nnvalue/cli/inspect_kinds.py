"""What `nnvalue inspect` shows of each kind of result: its data, and a function that prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnvalue.artifacts import kind_of, read_json
from nnvalue.cli.tables import new_table, print_table
from nnvalue.errors import ArtifactError, InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console

    Shown = tuple[Mapping[str, Any], Callable[[Console], None]]

_MARKER = "nnvalue_steering.json"


def what_lies_in(folder: Path) -> str:
    """The kind of a folder, a key of `KINDS`; value neurons where it is none, whose reader says what is wrong.

    Raises InvalidInputError for a dataset or a model, with the verb that shows it; ArtifactError for a kind of a newer
    nnvalue.
    """
    kind = kind_of(folder)
    if kind is not None and kind in KINDS:
        return kind
    if kind not in (None, "organism", "dataset"):
        raise ArtifactError(
            f"{folder} holds a '{kind}', which this nnvalue does not know; known are {', '.join(KINDS)}."
        )
    if (folder / _MARKER).is_file():
        return "baked steering"
    if kind == "dataset" or (folder / "edition.json").is_file() or any(folder.glob("situations.*")):
        raise InvalidInputError(f"{folder} is a dataset; see it with nnvalue data show {folder}, or data check.")
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")) and not (folder / "cfg.json").exists():
        raise InvalidInputError(f"{folder} looks like a model; use it with nnvalue locate --model {folder}.")
    if (folder / "cfg.json").is_file():
        return "sparse-autoencoder"
    return "value-neurons"


def _neurons(folder: Path, values: tuple[str, ...], top: int) -> Shown:
    from nnvalue.cli.show import findings_as_data, print_findings
    from nnvalue.findings import ValueNeurons

    found = ValueNeurons.load(folder)
    if values:
        found = found.of(values)
    return findings_as_data(found, top), lambda console: print_findings(console, found, top)


def _profile(folder: Path, *_: object) -> Shown:
    from nnvalue.cli.measure_show import print_profile, profile_as_data
    from nnvalue.readout import ValueProfile

    profile = ValueProfile.load(folder)
    return profile_as_data(profile), lambda console: print_profile(console, profile)


def _evaluation(folder: Path, *_: object) -> Shown:
    from nnvalue.cli.evaluate_show import print_evaluation
    from nnvalue.evaluation import Evaluation

    done = Evaluation.load(folder)
    data = {**done.tables().as_json(), "notes": done.facts["notes"]}
    return data, lambda console: print_evaluation(console, done)


def _survey(folder: Path, *_: object) -> Shown:
    from nnvalue.causal import Survey
    from nnvalue.cli.survey_show import print_survey, survey_as_data

    done = Survey.load(folder)
    return survey_as_data(done), lambda console: print_survey(console, done)


def _graph(folder: Path, *_: object) -> Shown:
    from nnvalue.causal import ValueGraph
    from nnvalue.cli.graph_show import graph_as_data, print_graph

    graph = ValueGraph.load(folder)
    return graph_as_data(graph), lambda console: print_graph(console, graph)


def _features(folder: Path, values: tuple[str, ...], top: int) -> Shown:
    from nnvalue.cli.sae import print_features
    from nnvalue.sae import ValueFeatures

    found = ValueFeatures.load(folder)
    rows = [row for value in values or found.values for pole in ("positive", "negative")
            for row in found.top(value, pole, top)]  # fmt: skip
    data = {"features": [row._asdict() for row in rows], "norm": found.norm, "config": dict(found.config)}

    def show(console: Console) -> None:
        print_features(console, rows, None)
        console.print(
            f"{len(found):,} features of {len(found.values)} values, in {found.config['model']['name']}. Steer: "
            f"nnvalue steer --features {folder} --value {found.values[0]} …", soft_wrap=True,
        )  # fmt: skip

    return data, show


def _directions(folder: Path, values: tuple[str, ...], _top: int) -> Shown:
    from nnvalue.steering import ValueDirections

    found = ValueDirections.load(folder)
    wanted = {value: found.of(value) for value in values or found.values}
    shown = {
        value: {
            "accuracy": found.accuracy[at].tolist(),
            "length": (found.difference[at].norm(dim=-1) / found.norm).tolist(),
        }
        for value, at in wanted.items()
    }
    data = {"place": found.place, "values": shown, "norm": found.norm.tolist(), "config": dict(found.config)}

    def show(console: Console) -> None:
        table = new_table("value", "layer", "probe's accuracy", "length", keys=1)
        for value, figures in shown.items():
            for layer, (accuracy, length) in enumerate(zip(figures["accuracy"], figures["length"], strict=True)):
                table.add_row(value if layer == 0 else "", str(layer), f"{accuracy:.2f}", f"{length:.2f}")
        print_table(console, table, keys=2)
        console.print(
            f"Directions of {found.place} in {found.config['model']['name']}; accuracy on held-out folds; length: of "
            "the difference, as a share of what stands there."
        )

    return data, show


def _steering(folder: Path, *_: object) -> Shown:
    from nnvalue.cli.steer_show import steering_in_words
    from nnvalue.steering import load_steering

    steering = load_steering(folder)
    facts, made_for = steering.describe(), getattr(steering, "model", None)

    def show(console: Console) -> None:
        of = f", for {made_for['name']}" if made_for else ""
        console.print(f"A steering{of}, dose {steering.dose:g}: {steering_in_words(facts)}.", soft_wrap=True)
        console.print(f"Steer: nnvalue steer --steering {folder} …", soft_wrap=True)

    return {"steering": facts, "dose": steering.dose, "model": made_for}, show


def _sae(folder: Path, *_: object) -> Shown:
    from nnvalue.cli.sae import facts, print_facts
    from nnvalue.sae import open_sae

    told = facts(open_sae(str(folder)))

    def show(console: Console) -> None:
        print_facts(console, told)
        console.print(f"How good it is on a model: nnvalue sae inspect {folder} --model MODEL", soft_wrap=True)

    return {"sae": told}, show


def _baked(folder: Path, *_: object) -> Shown:
    from nnvalue.cli.steer_show import steering_in_words

    facts = read_json(folder / _MARKER)
    try:
        name, changed = facts["model"]["name"], facts["changed"]
        if not isinstance(name, str) or not isinstance(changed, list):
            raise TypeError
        told = ", ".join(changed) or "nothing, the model is copied"
        words = steering_in_words(facts["steering"])
    except (KeyError, TypeError, ValueError, AttributeError):  # whatever JSON holds where these should be
        raise ArtifactError(f"{folder / _MARKER} is damaged: it says nothing of a baked steering.") from None

    def show(console: Console) -> None:
        console.print(f"{name} with {words}, in its weights.")
        console.print(f"Changed: {told}.")
        console.print(f"It is an ordinary checkpoint: --model {folder}", soft_wrap=True)

    return facts, show


KINDS: Mapping[str, Callable[[Path, tuple[str, ...], int], Any]] = {
    "value-neurons": _neurons,
    "value-features": _features,
    "value-directions": _directions,
    "profile": _profile,
    "evaluation": _evaluation,
    "survey": _survey,
    "graph": _graph,
    "steering": _steering,
    "sparse-autoencoder": _sae,
    "baked steering": _baked,
}
