"""The verb: from a model and a dataset to ranked value neurons."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnvalue.artifacts import Journal, digest, is_empty_folder, kind_of, library_versions, recover_folder
from nnvalue.dataset import (
    SYSTEM_PROMPT,
    Contrast,
    ValueInsight,
    build_contrasts,
    load_valueinsight,
    neutral_prompt,
)
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.findings import KIND, ValueNeurons, build_table
from nnvalue.locator.collect import gather_contrasts
from nnvalue.locator.methods import Evidence, get_method
from nnvalue.locator.moments import ContrastMoments
from nnvalue.locator.quantiles import exact_quantiles
from nnvalue.locator.readings import Reading
from nnvalue.locator.response_table import responses_parquet
from nnvalue.locator.score import HALVES, cohens_d, split_half_reliability
from nnvalue.locator.select import Selection, Threshold, TopK, select_neurons
from nnvalue.locator.universal import universal_neurons
from nnvalue.models import Response, Subject, encode_prompt, generate_responses, open_model
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.values import POLES, Framework, load_framework

_NEUTRAL_PROMPTS = 20  # on which universal neurons are looked for, as published
OVERALL = "locating"
"""The progress stage that counts the whole run."""


@dataclass(frozen=True)
class LocateConfig:
    """Settings of `locate`, written into the result.

    values: values or groups of the framework; None for all its values.
    framework: an embedded framework's name, or the path of a YAML file; None for that of the dataset.
    situations: how many situations a value is asked about; None for all of the dataset's `locate` split.
    folds: at most so many folds of situations and descriptions.
    method: how neurons are scored, one of `method_names()`.
    site: `gate` or `down_in`; None for the method's own.
    tokens: which tokens count: `response`, `last_prompt` or `prompt`; None for the method's own. Where the prompt alone
        is read, nothing is generated.
    selection: `TopK` or `Threshold`.
    max_new_tokens: length limit of a response.
    batch_tokens: tokens of one batch, padding included.
    seed: order of situations and descriptions.
    """

    values: tuple[str, ...] | None = None
    framework: str | None = None
    situations: int | None = 64
    folds: int = 16
    method: str = "firing_difference"
    site: str | None = None
    tokens: str | None = None
    selection: Selection = field(default_factory=TopK)
    max_new_tokens: int = 128
    batch_tokens: int = 8192
    seed: int = 0
    system_prompt: str = SYSTEM_PROMPT

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise InvalidInputError(f"values must be a tuple of names; write values=('{self.values}',).")
        for name in ("situations", "folds", "max_new_tokens", "batch_tokens"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise InvalidInputError(f"{name} must be at least 1, {given} given.")
        if isinstance(self.selection, Threshold) and self.method != "firing_difference":
            raise InvalidInputError(
                f"A threshold is a difference of firing rates and does not fit the scores of {self.method}; select by "
                f"top-k."
            )

    @property
    def reading(self) -> Reading:
        """What is read. Raises UnknownNameError for a method, site or choice of tokens that does not exist."""
        own = get_method(self.method).reading
        return Reading(self.site or own.site, self.tokens or own.tokens).check()


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
    """Find the neurons that tell a value's two poles apart, by ValueLocate's statistic or another method.

    Every situation is answered greedily under a description of either pole; one teacher-forced pass over prompt and
    response takes statistics of each neuron; the method's score ranks them, δ = p(+) − p(−) if none is named.

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
    dataset = dataset if isinstance(dataset, ValueInsight) else load_valueinsight(dataset)
    reading = config.reading
    framework = load_framework(config.framework or dataset.framework)
    values = tuple(dict.fromkeys(map(framework.resolve, config.values or framework.values)))
    contrasts = {
        member: build_contrasts(
            dataset, member, situations=config.situations, folds=config.folds, seed=config.seed,
            system_prompt=config.system_prompt,
        )
        for member in dict.fromkeys(member for value in values for member in framework.members(value))
    }  # fmt: skip
    if get_method(config.method).needs_rates and len(contrasts) < 2:
        raise InvalidInputError(f"{config.method} compares values with each other and needs two at least; 1 given.")
    if out is not None:
        out = Path(out).expanduser().resolve()
        _check_place(out)
    subject = model if isinstance(model, Subject) else open_model(model)
    config.selection.size(subject.anatomy.layers * subject.anatomy.width)
    spec = {
        "model": subject.identity(),
        "dataset": {"name": dataset.name, "sha256": dataset.fingerprint},
        "framework": {"name": framework.name, "sha256": digest(asdict(framework))},
        "settings": {
            **asdict(config),
            **reading._asdict(),
            "values": values,
            "framework": framework.name,
            "source": get_method(config.method).source,
        },
        "versions": library_versions(),
    }
    spec["settings"]["selection"]["rule"] = type(config.selection).__name__
    if out is not None and not overwrite and (known := _finished(out, spec)):
        return known
    subject.runtime.begin()
    with _work_folder(out, spec, overwrite) as journal:
        run = _Run(subject, config, framework, contrasts, _neutral_prompts(dataset), journal, progress)
        found = run.value_neurons(values, spec)
        if out is not None:
            found.save(out)
            journal.remove()
    return found


class _Run:
    """One run of `locate`; every step reads what the journal has of it before it computes."""

    def __init__(
        self,
        subject: Subject,
        config: LocateConfig,
        framework: Framework,
        contrasts: dict[str, list[Contrast]],
        neutral: list[Prompt],
        journal: Journal,
        progress: Progress,
    ) -> None:
        self._subject, self._config, self._framework = subject, config, framework
        self._contrasts, self._neutral, self._journal, self._progress = contrasts, neutral, journal, progress
        self._method, self._reading = get_method(config.method), config.reading
        self._rates: dict[int | None, Tensor] = {}
        self._known_universal: Tensor | None = None
        self._gathered: set[str] = set()
        self._steps_done = self._steps = 0

    def value_neurons(self, values: tuple[str, ...], spec: dict[str, Any]) -> ValueNeurons:
        """The result, value by value, so that the memory of one is enough for all."""
        rows: list[tuple[Any, ...]] = []
        maps: dict[str, list[Tensor]] = {}
        facts = {}
        self._steps = len(POLES) * (len(self._contrasts) + len(values))
        self._progress(OVERALL, 0, self._steps)
        for number, value in enumerate(values):
            members = self._framework.members(value)
            parts = [self._moments(name) for name in members]
            positive, negative = self._evidence(members, parts).pooled(self._reading)
            found = {
                "score": self._score(members, parts, slice(None)),
                "firing_positive": positive.firing_rate(),
                "firing_negative": negative.firing_rate(),
                "effect_size": cohens_d(positive, negative),
            }
            rows += self._selected(number, value, found, parts[0].dtype)
            for name, kept in found.items():
                maps.setdefault(name, []).append(kept.float())
            facts[value] = {
                "members": members,
                "situations": sum(len(self._contrasts[name]) for name in members),
                "folds": sum(len(part.positive.tokens) for part in parts),
                "tokens": {"positive": int(positive.tokens.sum()), "negative": int(negative.tokens.sum())},
                "split_half_r": split_half_reliability(parts, lambda half, m=members, p=parts: self._score(m, p, half)),
                "activation_dtype": parts[0].dtype,
            }
        arrays = {name: torch.stack(kept).numpy() for name, kept in maps.items()}
        return ValueNeurons(
            values,
            build_table(rows),
            arrays,
            {**spec, "counts": facts},
            responses_parquet(self._contrasts, self._responses),
        )

    def _evidence(
        self, members: Sequence[str], parts: Sequence[ContrastMoments], folds: slice = slice(None)
    ) -> Evidence:
        """What the method sees of a value: all folds of its members, or some."""
        return Evidence(
            moments={self._reading: [part.folds(folds) for part in parts]},
            firing_rates={self._reading: self._firing_rates(folds)} if self._method.needs_rates else {},
            members=[list(self._contrasts).index(name) for name in members],
            universal=self._universal() if self._method.needs_universal else None,
            seed=self._config.seed,
        )

    def _score(self, members: Sequence[str], parts: Sequence[ContrastMoments], folds: slice) -> Tensor:
        return self._method.score(self._evidence(members, parts, folds), self._reading)

    def _firing_rates(self, folds: slice) -> Tensor:
        """Of all basic values of the run, over all folds or one of `HALVES`; float64 `[value, pole, layer, neuron]`."""
        if not self._rates:
            rates: dict[int | None, list[Tensor]] = {chosen.start: [] for chosen in (slice(None), *HALVES)}
            for part in map(self._moments, self._contrasts):
                for chosen in (slice(None), *HALVES):
                    some = part.folds(chosen)
                    poles = (some.positive.firing_rate(), some.negative.firing_rate())
                    rates[chosen.start].append(torch.stack(poles))
            self._rates = {start: torch.stack(of_values) for start, of_values in rates.items()}
        return self._rates[folds.start]

    def _universal(self) -> Tensor:
        if self._known_universal is None:
            encoded = [encode_prompt(self._subject.tokenizer, prompt) for prompt in self._neutral]
            self._known_universal = universal_neurons(
                self._subject, encoded, self._reading.site, batch_tokens=self._config.batch_tokens,
                journal=self._journal, progress=self._progress,
            )  # fmt: skip
        return self._known_universal

    def _responses(self, value: str, pole: str) -> list[Response]:
        prompts = [getattr(contrast, pole) for contrast in self._contrasts[value]]
        if self._reading.tokens != "response":
            return [
                Response(prompt.id, encode_prompt(self._subject.tokenizer, prompt), (), "", False) for prompt in prompts
            ]
        return generate_responses(
            self._subject,
            prompts,
            max_new_tokens=self._config.max_new_tokens,
            batch_tokens=self._config.batch_tokens,
            journal=self._journal,
            journal_key=f"{value}-{pole}-responses",
            progress=self._stage(value, pole),
        )

    def _moments(self, value: str) -> ContrastMoments:
        moments = gather_contrasts(
            self._subject,
            *(self._responses(value, pole) for pole in POLES),
            [contrast.fold for contrast in self._contrasts[value]],
            *self._reading,
            batch_tokens=self._config.batch_tokens,
            journal=self._journal,
            journal_key=f"{value}-moments",
            progress=self._stage(value),
        )
        if value not in self._gathered:
            self._gathered.add(value)
            self._step_done(len(POLES))
        return moments

    def _selected(self, number: int, value: str, found: dict[str, Tensor], dtype: str) -> Iterator[tuple[Any, ...]]:
        """Rows of the table: the selected neurons of both poles with their numbers and 95th percentiles."""
        delta = found["firing_positive"] - found["firing_negative"]
        columns = (found["score"], delta, *(found[name] for name in list(found)[1:]))
        for sign, pole, neurons in zip(
            (1, -1), POLES, select_neurons(found["score"], self._config.selection), strict=True
        ):
            if not len(neurons):
                self._step_done()
                continue
            q95 = exact_quantiles(
                self._subject,
                [response for name in self._framework.members(value) for response in self._responses(name, pole)],
                self._reading.site,
                neurons,
                tokens=self._reading.tokens,
                dtype=dtype,
                batch_tokens=self._config.batch_tokens,
                journal=self._journal,
                journal_key=f"{value}-{pole}-q95",
                progress=self._stage(value, pole),
            )
            self._step_done()
            layer, neuron = neurons.unbind(1)
            numbers = (layer, neuron, *(column[layer, neuron] for column in columns), q95)
            for cells in zip(*(column.tolist() for column in numbers), strict=True):
                yield number, sign, *cells

    def _step_done(self, steps: int = 1) -> None:
        self._steps_done += steps
        self._progress(OVERALL, min(self._steps_done, self._steps), self._steps)

    def _stage(self, value: str, pole: str | None = None) -> Progress:
        sign = {"positive": "+ ", "negative": "− ", None: ""}[pole]
        return lambda stage, done, total: self._progress(f"{value} {sign}{stage}", done, total)


def _neutral_prompts(dataset: ValueInsight) -> list[Prompt]:
    """Situations of the `locate` split, spread over it, without a description."""
    places = [place for place, split in enumerate(dataset.situations["split"]) if split == "locate"]
    chosen = places[:: max(1, len(places) // _NEUTRAL_PROMPTS)][:_NEUTRAL_PROMPTS]
    return [neutral_prompt(dataset.situations[place]) for place in chosen]


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
