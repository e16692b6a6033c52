"""The verbs: from a model and a dataset to ranked value neurons, by one method or by several side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nnvalue.artifacts import Journal, digest, is_empty_folder, kind_of, library_versions, recover_folder
from nnvalue.dataset import (
    Contrast,
    ValueInsight,
    build_contrasts,
    build_sentence_contrasts,
    load_valueinsight,
    neutral_prompt,
)
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.findings import KIND, ValueNeurons
from nnvalue.locator.config import LocateConfig
from nnvalue.locator.gathering import Gathering
from nnvalue.locator.methods import get_method
from nnvalue.locator.scoring import Scoring
from nnvalue.models import Subject, open_model
from nnvalue.progress import OVERALL, Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.values import POLES, Framework, load_framework

_NEUTRAL_PROMPTS = 20  # on which universal neurons are looked for, as published


def locate(
    model: Any = None,
    config: LocateConfig | None = None,
    *,
    dataset: ValueInsight | str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> ValueNeurons:
    """Find the neurons that tell a value's two poles apart.

    Every situation is answered greedily under a description of either pole; a teacher-forced pass over prompt and
    response takes statistics of each neuron; the method's score ranks them. If none is named, it is what the prompt
    alone does to a neuron's mean activation on the same texts (`prompt_difference`).

    Args:
        model: a `Subject`, or anything that `open_model` takes; None for the embedded organism.
        config: all settings at once; `settings` override single ones, e.g. `locate(values=("power",))`.
        dataset: an edition of ValueInsight, or what `load_valueinsight` takes; None for the shipped one.
        out: folder to save the result in. Unfinished work is kept beside it, in `<out>.work`, and a run with the same
            settings goes on from there. None keeps the result in memory only.
        overwrite: replace an earlier result at `out`, and throw away unfinished work, of other settings.

    Returns:
        The value neurons; if `out` holds the result of the same settings already, that one.

    Raises NnvalueError of some kind, with what to do, for anything that a user can mend.
    """
    config = LocateConfig(**{**(vars(config) if config else {}), **settings})
    place = None if out is None else Path(out).expanduser().resolve()
    (found,) = _locate(model, [config], dataset, [place], place, overwrite, progress)
    return found


def compare_methods(
    methods: Sequence[str],
    model: Any = None,
    config: LocateConfig | None = None,
    *,
    dataset: ValueInsight | str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> dict[str, ValueNeurons]:
    """Find value neurons by several methods, from the same responses and one pass over them for all.

    Args:
        methods: names of methods; `config.method` does not count.
        out: folder that gets a folder of each method's result. The rest is as for `locate`.

    Returns:
        Each method's value neurons, in the order of `methods`; `nnvalue.locator.comparison_table` sets them side by
        side.

    Raises NnvalueError of some kind, with what to do, for anything that a user can mend.
    """
    methods = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    if not methods:
        raise InvalidInputError(
            "No method to compare; name at least one, e.g. methods=('firing_difference', 'random')."
        )
    config = LocateConfig(**{**(vars(config) if config else {}), **settings, "method": methods[0]})
    configs = [replace(config, method=method) for method in methods]
    place = None if out is None else Path(out).expanduser().resolve()
    if place is not None and place.exists() and not place.is_dir():
        raise ArtifactError(f"{place} is a file, and results of several methods need a folder; give another --out.")
    if place is not None and kind_of(place) == KIND:
        raise ArtifactError(f"{place} holds the result of one method; give another --out.")
    places = [place and place / method for method in methods]
    return dict(zip(methods, _locate(model, configs, dataset, places, place, overwrite, progress), strict=True))


def _locate(
    model: Any,
    configs: Sequence[LocateConfig],
    dataset: ValueInsight | str | Path | None,
    places: Sequence[Path | None],
    out: Path | None,
    overwrite: bool,
    progress: Progress,
) -> list[ValueNeurons]:
    """One result for each configuration; they differ in the method only. Unfinished work lies beside `out`."""
    config = configs[0]
    dataset = dataset if isinstance(dataset, ValueInsight) else load_valueinsight(dataset)
    readings = list(dict.fromkeys(each.reading for each in configs))
    generates = any(
        each.reading.tokens == "response" or "products" in get_method(each.method).needs for each in configs
    )
    framework = load_framework(config.framework or dataset.framework)
    values = tuple(dict.fromkeys(map(framework.resolve, config.values or framework.values)))
    members = list(dict.fromkeys(member for value in values for member in framework.members(value)))
    _check_values(configs, len(members))
    contrasts = {member: _contrasts(dataset, member, config) for member in members}
    tested = config.null and any(get_method(each.method).paired for each in configs)
    null_of = [(member, pole) for member in members for pole in POLES] if tested else []
    null = {(member, pole): _contrasts(dataset, member, config, pole) for member, pole in null_of}
    if any(len({contrast.fold for contrast in drawn}) < 2 for drawn in null.values()):
        raise InvalidInputError(
            "The test needs two folds of situations at least; ask for more situations and folds, or leave the null out "
            "(--no-null)."
        )
    for place in filter(None, places):
        _check_place(place)
    subject = model if isinstance(model, Subject) else open_model(model)
    _check_weights(configs, subject)
    config.selection.size(subject.anatomy.layers * subject.anatomy.width)
    specs = [_spec(subject, dataset, framework, values, each) for each in configs]
    known = [
        _finished(place, spec) if place and not overwrite else None for place, spec in zip(places, specs, strict=True)
    ]
    finished = [one for one in known if one is not None]
    if len(finished) == len(known):
        return finished
    subject.runtime.begin()
    with _work_folder(out, specs[0] if len(specs) == 1 else {"methods": specs}, overwrite) as journal:
        steps = _Steps(progress)
        gathering = Gathering(
            subject,
            config,
            contrasts,
            null,
            readings,
            generates,
            _neutral_prompts(dataset),
            journal,
            progress,
            steps.done,
        )
        steps.start(gathering.steps + len(POLES) * len(values) * len(configs))
        finished = []
        for found, each, spec, where in zip(known, configs, specs, places, strict=True):
            if found is None:
                found = Scoring(gathering, each, framework, steps.done).value_neurons(values, spec)
                if where is not None:
                    found.save(where)
            finished.append(found)
        if out is not None:
            journal.remove()
    return finished


class _Steps:
    """Counts the steps of a whole run."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done, self._total = progress, 0, 0

    def start(self, total: int) -> None:
        """So many are to be done."""
        self._total = total
        self.done(0)

    def done(self, steps: int) -> None:
        """So many more are done."""
        self._done += steps
        self._progress(OVERALL, min(self._done, self._total), self._total)


def _contrasts(dataset: ValueInsight, value: str, config: LocateConfig, null_of: str | None = None) -> list[Contrast]:
    if config.responses == "dataset":
        return build_sentence_contrasts(
            dataset, value, pairs=config.situations, folds=config.folds, seed=config.seed, null_of=null_of
        )
    return build_contrasts(
        dataset, value, situations=config.situations, folds=config.folds, seed=config.seed,
        system_prompt=config.system_prompt, null_of=null_of,
    )  # fmt: skip


def _spec(
    subject: Subject, dataset: ValueInsight, framework: Framework, values: Sequence[str], config: LocateConfig
) -> dict[str, Any]:
    """What makes a result what it is: model, data, settings and versions."""
    settings = {
        **asdict(config),
        **config.reading._asdict(),
        "values": values,
        "framework": framework.name,
        "source": get_method(config.method).source,
    }
    settings["selection"]["rule"] = type(config.selection).__name__
    return {
        "model": subject.identity(),
        "dataset": {"name": dataset.name, "sha256": dataset.fingerprint},
        "framework": {"name": framework.name, "sha256": digest(asdict(framework))},
        "settings": settings,
        "versions": library_versions(),
    }


def _neutral_prompts(dataset: ValueInsight) -> list[Prompt]:
    """Situations of the `locate` split, spread over it, without a description."""
    places = [place for place, split in enumerate(dataset.situations["split"]) if split == "locate"]
    chosen = places[:: max(1, len(places) // _NEUTRAL_PROMPTS)][:_NEUTRAL_PROMPTS]
    return [neutral_prompt(dataset.situations[place]) for place in chosen]


def _check_values(configs: Sequence[LocateConfig], values: int) -> None:
    for config in configs:
        if "firing_rates" in get_method(config.method).needs and values < 2:
            raise InvalidInputError(f"{config.method} compares values with each other and needs two at least; 1 given.")
        if config.remove_shared and values < 2:
            raise InvalidInputError("The shared part shows in two values at least; ask for more values, or keep it.")


def _check_weights(configs: Sequence[LocateConfig], subject: Subject) -> None:
    for config in configs:
        if get_method(config.method).needs_weights and subject.runtime.costly:
            raise InvalidInputError(
                f"{config.method} needs the model's weights here, and this model runs on a server; choose another "
                f"method, or open the model locally."
            )


def _check_place(out: Path) -> None:
    """Refuse a place that is taken, before any work is done."""
    recover_folder(out)
    if out.exists() and not is_empty_folder(out) and kind_of(out) != KIND:
        raise ArtifactError(f"{out} exists and is no result of locating; give another --out.")


def _finished(out: Path, spec: dict[str, Any]) -> ValueNeurons | None:
    """The result at `out` if it is the one asked for; refuses one of other settings."""
    if not out.exists() or is_empty_folder(out):
        return None
    known = ValueNeurons.load(out)
    if digest({name: known.config.get(name) for name in spec}) == digest(spec):
        return known
    raise ArtifactError(f"{out} holds a result of other settings; give another --out, or --overwrite to replace it.")


@contextmanager
def _work_folder(out: Path | None, spec: dict[str, Any], overwrite: bool) -> Iterator[Journal]:
    """The journal beside `out`, kept if the work is not finished; without `out` a temporary one."""
    if out is not None:
        with Journal(out.with_name(f"{out.name}.work"), spec, discard=overwrite) as journal:
            yield journal
        return
    with tempfile.TemporaryDirectory(prefix="nnvalue-") as folder, Journal(Path(folder) / "work", spec) as journal:
        yield journal
