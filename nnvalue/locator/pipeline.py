"""The verb: from a model and a dataset to ranked value neurons."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnvalue.artifacts import Journal, digest, is_empty_folder, kind_of, library_versions, recover_folder
from nnvalue.dataset import SYSTEM_PROMPT, Contrast, ValueInsight, build_contrasts, load_valueinsight
from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from nnvalue.findings import KIND, ValueNeurons, build_table
from nnvalue.locator.collect import gather_contrasts
from nnvalue.locator.moments import ContrastMoments, Moments
from nnvalue.locator.quantiles import exact_quantiles
from nnvalue.locator.score import Scores, firing_difference, split_half_reliability
from nnvalue.locator.select import Selection, TopK, select_neurons
from nnvalue.models import SITES, Response, Subject, generate_responses, open_model
from nnvalue.progress import Progress, silent
from nnvalue.values import POLES, Framework, load_framework

_ROW_GROUP = 512  # responses written at once
OVERALL = "locating"
"""The progress stage that counts the whole run."""


@dataclass(frozen=True)
class LocateConfig:
    """Settings of `locate`, written into the result.

    values: values or groups of the framework; None for all its values.
    framework: an embedded framework's name, or the path of a YAML file; None for that of the dataset.
    situations: how many situations a value is asked about; None for all of the dataset's `locate` split.
    folds: at most so many folds of situations and descriptions.
    site: `gate` (as published) or `down_in`.
    selection: `TopK` or `Threshold`.
    max_new_tokens: length limit of a response.
    batch_tokens: tokens of one batch, padding included.
    seed: order of situations and descriptions.
    """

    values: tuple[str, ...] | None = None
    framework: str | None = None
    situations: int | None = 64
    folds: int = 16
    site: str = "gate"
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
    """Find the neurons whose firing tells a value's two poles apart, by ValueLocate's statistic.

    Every situation is answered greedily under a description of either pole; one teacher-forced pass over prompt and
    response counts how often each neuron fires; δ = p(+) − p(−) ranks them.

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
    framework = load_framework(config.framework or dataset.framework)
    values = tuple(dict.fromkeys(map(framework.resolve, config.values or framework.values)))
    contrasts = {
        member: build_contrasts(
            dataset, member, situations=config.situations, folds=config.folds, seed=config.seed,
            system_prompt=config.system_prompt,
        )
        for member in dict.fromkeys(member for value in values for member in framework.members(value))
    }  # fmt: skip
    if config.site not in SITES:
        raise UnknownNameError("site", config.site, SITES)
    if out is not None:
        out = Path(out).expanduser().resolve()
        _check_place(out)
    subject = model if isinstance(model, Subject) else open_model(model)
    config.selection.size(subject.anatomy.layers * subject.anatomy.width)
    spec = {
        "model": subject.identity(),
        "dataset": {"name": dataset.name, "sha256": dataset.fingerprint},
        "framework": {"name": framework.name, "sha256": digest(asdict(framework))},
        "settings": {**asdict(config), "values": values, "framework": framework.name},
        "versions": library_versions(),
    }
    spec["settings"]["selection"]["rule"] = type(config.selection).__name__
    if out is not None and not overwrite and (known := _finished(out, spec)):
        return known
    subject.runtime.begin()
    with _work_folder(out, spec, overwrite) as journal:
        run = _Run(subject, config, framework, contrasts, journal, progress)
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
        journal: Journal,
        progress: Progress,
    ) -> None:
        self._subject, self._config, self._framework = subject, config, framework
        self._contrasts, self._journal, self._progress = contrasts, journal, progress
        self._steps_done = self._steps = 0

    def value_neurons(self, values: tuple[str, ...], spec: dict[str, Any]) -> ValueNeurons:
        """The result, value by value, so that the memory of one is enough for all."""
        rows: list[tuple[Any, ...]] = []
        maps: dict[str, list[Tensor]] = {"firing_positive": [], "firing_negative": [], "effect_size": []}
        facts = {}
        self._steps = len(POLES) * (len(self._contrasts) + len(values))
        self._progress(OVERALL, 0, self._steps)
        for number, value in enumerate(values):
            members = self._framework.members(value)
            parts = [self._moments(name) for name in members]
            poles = [[part.positive for part in parts], [part.negative for part in parts]]
            positive, negative = map(Moments.pooled, poles)
            scores = firing_difference(positive, negative)
            rows += self._selected(number, value, scores, parts[0].dtype)
            for name, kept in maps.items():
                kept.append(getattr(scores, name).float())
            facts[value] = {
                "members": members,
                "situations": sum(len(self._contrasts[name]) for name in members),
                "folds": len(positive.tokens),
                "tokens": {"positive": int(positive.tokens.sum()), "negative": int(negative.tokens.sum())},
                "split_half_r": split_half_reliability(*poles),
                "activation_dtype": parts[0].dtype,
            }
        arrays = {name: torch.stack(kept).numpy() for name, kept in maps.items()}
        return ValueNeurons(
            values,
            build_table(rows),
            arrays,
            {**spec, "counts": facts},
            self._responses_parquet(),
        )

    def _responses(self, value: str, pole: str) -> list[Response]:
        return generate_responses(
            self._subject,
            [getattr(contrast, pole) for contrast in self._contrasts[value]],
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
            self._config.site,
            batch_tokens=self._config.batch_tokens,
            journal=self._journal,
            journal_key=f"{value}-moments",
            progress=self._stage(value),
        )
        self._step_done(len(POLES))
        return moments

    def _selected(self, number: int, value: str, scores: Scores, dtype: str) -> Iterator[tuple[Any, ...]]:
        """Rows of the table: the selected neurons of both poles with their numbers and 95th percentiles."""
        for sign, pole, neurons in zip(
            (1, -1), POLES, select_neurons(scores.delta, self._config.selection), strict=True
        ):
            if not len(neurons):
                self._step_done()
                continue
            q95 = exact_quantiles(
                self._subject,
                [response for name in self._framework.members(value) for response in self._responses(name, pole)],
                self._config.site,
                neurons,
                dtype=dtype,
                batch_tokens=self._config.batch_tokens,
                journal=self._journal,
                journal_key=f"{value}-{pole}-q95",
                progress=self._stage(value, pole),
            )
            self._step_done()
            layer, neuron = neurons.unbind(1)
            columns = (scores.delta, scores.firing_positive, scores.firing_negative, scores.effect_size)
            numbers = (layer, neuron, *(column[layer, neuron] for column in columns), q95)
            for cells in zip(*(column.tolist() for column in numbers), strict=True):
                yield number, sign, *cells

    def _responses_parquet(self) -> bytes:
        """All responses as one parquet file: written value by value, so that only one is in memory."""
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema(
            [(name, pyarrow.string()) for name in ("value", "pole", "situation_id", "system", "user", "text")]
            + [(name, pyarrow.int64()) for name in ("fold", "prompt_tokens", "counted_tokens")]
            + [(name, pyarrow.list_(pyarrow.int32())) for name in ("prompt_ids", "token_ids")]
            + [("finished", pyarrow.bool_())]
        )
        buffer = io.BytesIO()
        with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
            for value, contrasts in self._contrasts.items():
                for pole in POLES:
                    responses = self._responses(value, pole)
                    for start in range(0, len(responses), _ROW_GROUP):
                        part = slice(start, start + _ROW_GROUP)
                        rows = [
                            _response_row(contrast, pole, response)
                            for contrast, response in zip(contrasts[part], responses[part], strict=True)
                        ]
                        writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
        return buffer.getvalue()

    def _step_done(self, steps: int = 1) -> None:
        self._steps_done += steps
        self._progress(OVERALL, min(self._steps_done, self._steps), self._steps)

    def _stage(self, value: str, pole: str | None = None) -> Progress:
        sign = {"positive": "+ ", "negative": "− ", None: ""}[pole]
        return lambda stage, done, total: self._progress(f"{value} {sign}{stage}", done, total)


def _response_row(contrast: Contrast, pole: str, response: Response) -> dict[str, Any]:
    prompt = getattr(contrast, pole)
    return {
        "value": contrast.value,
        "pole": pole,
        "situation_id": contrast.situation_id,
        "system": prompt.system,
        "user": prompt.user,
        "text": response.text,
        "fold": contrast.fold,
        "prompt_tokens": len(response.prompt_ids),
        "counted_tokens": len(response.fed_ids),
        "prompt_ids": list(response.prompt_ids),
        "token_ids": list(response.token_ids),
        "finished": response.finished,
    }


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
