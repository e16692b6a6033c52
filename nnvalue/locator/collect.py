"""The teacher-forced pass: prompt and response go through the model once, and per-neuron sums come back.

A response token is counted when decoding would have fed it to the model: response tokens 1 … n−1 of n generated ones
(`Response.fed_ids`). So the numbers are those that watching the decoder step by step would give, at a fraction of the
cost, and they can be taken again from stored responses under any definition.

Work goes to where the model runs in bundles of batches, one nnsight session each, reduced over there: a bundle of
statistics is (at most) one fold of one value, and comes back as `[layer, neuron]` sums however much went into it.

In a session every statement stands on one line: nnsight's rehearsal (`remote="local"`) finds a pass by its line in the
file, and what it ships has one line a statement. Only the last pass of a session is stopped after its last site: in the
sandbox of NDIF 0.1.2 a pass that follows a stopped one fails. The others ask for one token's logits, so that what they
compute in vain is small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.errors import DatasetError, InvalidInputError, NumericalError, ResultError
from nnvalue.locator.moments import ContrastMoments, ContrastSums
from nnvalue.locator.readings import Reading, TeacherForcedBatches, response_length, teacher_forced
from nnvalue.models import SITES, Bundle, Load, Response, Subject, plan_batches
from nnvalue.progress import DETAIL, Progress, silent
from nnvalue.traces import add_up, collect_contrasts, count_digits, read_activation

_COUNTING, _RANKING = "collecting activations", "taking quantiles"
_DTYPES = ("float32", "bfloat16", "float16")
_DONE, _DTYPE = "batches_done", "dtype"
_CHEAP_WRITE_SECONDS = 0.5
LEAN = {"use_cache": False, "logits_to_keep": 1}
"""Of a pass that is read for its activations only."""


def gather_contrasts(
    subject: Subject,
    positive: Sequence[Response],
    negative: Sequence[Response],
    folds: Sequence[int],
    site: str,
    tokens: str = "response",
    **settings: Any,
) -> ContrastMoments:
    """Statistics of contrasts in one reading; see `gather_readings`, which takes the same settings."""
    reading = Reading(site, tokens)
    return gather_readings(subject, positive, negative, folds, [reading], **settings)[reading]


def gather_readings(
    subject: Subject,
    positive: Sequence[Response],
    negative: Sequence[Response],
    folds: Sequence[int],
    readings: Sequence[Reading],
    *,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "contrasts",
    progress: Progress = silent,
) -> dict[Reading, ContrastMoments]:
    """Statistics of contrasts by fold, of all readings in one pass; memory does not grow with the responses.

    Both responses of a contrast go through the model in one batch. With a journal, what is done is kept bundle by
    bundle, and a run that was stopped goes on from there.

    Args:
        positive, negative: the responses under either pole, contrast by contrast.
        folds: the fold of each contrast, from 0.
        readings: what to read; at least one. Their `texts` are a matter of which responses are given.

    Raises:
        NumericalError: NaN or infinity at a site; names the layers.
        DatasetError: no response has a token that counts.
        UnknownNameError: a site or a choice of tokens that does not exist.
        InvalidInputError: not as many responses under one pole as under the other, or not as many folds.
    """
    if not len(positive) == len(negative) == len(folds):
        raise InvalidInputError(
            f"Contrasts need a response under either pole and a fold each; {len(positive)} positive and "
            f"{len(negative)} negative ones and {len(folds)} folds are given."
        )
    readings = list(dict.fromkeys(reading.check() for reading in readings))
    if not readings:
        raise InvalidInputError("Nothing to read: give at least one reading, e.g. Reading('gate').")
    counts = torch.tensor([[[r.count(one) for one in pole] for pole in (positive, negative)] for r in readings])
    if not counts.flatten(1).any(1).all():
        raise DatasetError("All responses are empty, so there is nothing to count; does the model answer prompts?")
    places = [[place for place, fold in enumerate(folds) if fold == number] for number in range(max(folds) + 1)]
    batches = ContrastBatches(subject, positive, negative, places, readings, batch_tokens)
    sums = running_sums(
        subject, batches.loads, batches.sums_of, [batches.zero() for _ in places], journal,
        f"{journal_key}-{'-'.join('-'.join(reading) for reading in readings)}-fold",
        Stage(_COUNTING, len(batches.loads), progress),
    )  # fmt: skip
    dtypes = {str(made.pop(_DTYPE).dtype).removeprefix("torch.") for made in sums if _DTYPE in made}
    if len(dtypes) != 1:
        raise ResultError(
            f"The activations changed their dtype ({', '.join(sorted(dtypes))}); run it afresh (--overwrite)."
        )
    by_fold, dtype = [ContrastSums(**made) for made in sums], dtypes.pop()
    tokens = torch.stack([counts[:, :, place].sum(2) for place in places], dim=2)  # [reading, pole, fold]
    contrasts = torch.stack([(counts[:, :, place] > 0).all(1).sum(1) for place in places], dim=1)  # [reading, fold]
    return {
        reading: ContrastMoments.of(by_fold, number, tokens[number], contrasts[number], dtype)
        for number, reading in enumerate(readings)
    }


class ContrastBatches:
    """Batches that hold both responses of a contrast, and contrasts of one fold only.

    plan: the contrasts of each batch; loads: what each batch costs.
    """

    def __init__(
        self,
        subject: Subject,
        positive: Sequence[Response],
        negative: Sequence[Response],
        folds: Sequence[Sequence[int]],
        readings: Sequence[Reading],
        batch_tokens: int,
    ) -> None:
        self._subject, self._poles = subject, (positive, negative)
        self._names = [site for site in SITES if any(reading.site == site for reading in readings)]
        self._choices = list(dict.fromkeys(reading.tokens for reading in readings))
        self._readings = [(self._names.index(one.site), self._choices.index(one.tokens)) for one in readings]
        lengths = [max(map(response_length, pair)) for pair in zip(positive, negative, strict=True)]
        self.plan: list[list[int]] = []
        self.loads: list[Load] = []
        for fold, places in enumerate(folds):
            for chosen in plan_batches([lengths[place] for place in places], max(1, batch_tokens // 2)):
                rows = [places[number] for number in chosen]
                self.plan.append(rows)
                tokens = 2 * len(rows) * max(lengths[row] for row in rows)
                self.loads.append(load_of(tokens, fold, masks=len(self._choices)))

    def batch(self, number: int) -> tuple[Tensor, ...]:
        """As `teacher_forced`: the positive responses of some contrasts, then the negative ones."""
        rows = [pole[place] for pole in self._poles for place in self.plan[number]]
        return teacher_forced(rows, self._subject.pad_id, *self._choices)

    def zero(self) -> dict[str, Tensor]:
        """The sums of nothing."""
        shape = (len(self._readings), self._subject.anatomy.layers, self._subject.anatomy.width)
        return ContrastSums.zero(*shape).tensors()

    def sums_of(self, bundle: Bundle, backend: Any) -> dict[str, Tensor]:
        """The sums of some batches, and an empty tensor of the activations' dtype."""
        batches = [self.batch(number) for number in bundle]
        sites = [*zip(*(self._subject.anatomy.sites(name) for name in self._names), strict=True)]
        sums, dtype = sum_contrasts(self._subject.model, sites, batches, self._readings, backend)
        check_delivery(sums, self.zero(), self._subject)
        if dtype not in _DTYPES:
            raise ResultError(f"{self._subject.runtime.name} delivered activations of dtype {str(dtype)[:20]}.")
        for place, (site, _) in enumerate(self._readings):
            _refuse_non_finite({name: value[place] for name, value in sums.items()}, self._names[site])
        return {**sums, _DTYPE: torch.empty(0, dtype=getattr(torch, dtype))}


def sum_contrasts(
    model: Any,
    sites: Sequence[Sequence[str]],
    batches: Sequence[tuple[Tensor, ...]],
    readings: Sequence[tuple[int, int]],
    backend: Any = None,
) -> tuple[dict[str, Tensor], str]:
    """Sums of contrasts over some batches, in one session.

    Args:
        sites: of each layer the sites that are read, in forward order.
        batches: of `teacher_forced`; the first half of the rows under the positive pole, the second half the same
            contrasts under the negative one.
        readings: as `collect_contrasts` takes them.
        backend: nnsight's; None for this process.

    Returns:
        The fields of `ContrastSums` by name, and the name of the activations' dtype.
    """
    with model.session(backend=backend):
        total, dtype = None, ""
        for left, (ids, attention, *masks) in zip(range(len(batches) - 1, -1, -1), batches, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                part, dtype = collect_contrasts(model, sites, masks, readings)
                if not left:
                    tracer.stop()
            total = add_up(total, part)
        poles = total[:, :6].unflatten(1, (2, 3))
        paired = total[:, 6:].unflatten(1, (2, 2)).float()
        sums = {
            "fired": poles[:, :, 0].round().to(torch.int32),
            "total": poles[:, :, 1].clone(),
            "squares": poles[:, :, 2].clone(),
            "difference": paired[:, :, 0].clone(),
            "difference_squares": paired[:, :, 1].clone(),
        }
        sums, dtype = nnsight.save(sums), nnsight.save(dtype)
    return sums, dtype


def gather_digit_counts(
    subject: Subject,
    responses: Sequence[Response],
    site: str,
    neurons: Mapping[int, Tensor],
    prefixes: Mapping[int, Tensor],
    shift: int,
    bits: int,
    dtype: str,
    *,
    tokens: str = "response",
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "digits",
    progress: Progress = silent,
) -> dict[int, Tensor]:
    """One digit of the chosen neurons' activations, counted over all counted tokens; see `traces.quantiles`.

    Args:
        neurons: layer -> int64 `[k]`, the chosen neurons, layers in forward order.
        prefixes: layer -> int64 `[k]`, the digits known so far.
        dtype: that of the activations; their bits mean nothing in another one.
        tokens: which tokens count, one of `TOKENS`.

    Returns:
        layer -> int64 `[k, 2**bits]`.

    Raises ResultError if the activations have another dtype.
    """
    batches = TeacherForcedBatches(responses, batch_tokens, subject.pad_id, tokens)
    sites = [subject.anatomy.sites(site)[layer] for layer in neurons]
    lengths = [max(response_length(responses[row]) for row in rows) * len(rows) for rows in batches.plan]

    def tables_of(bundle: Bundle, backend: Any) -> dict[str, Tensor]:
        tables, found = sum_digits(
            subject.model, sites, [batches[number][1:] for number in bundle], [*neurons.values()],
            [*prefixes.values()], shift, bits, backend,
        )  # fmt: skip
        if found != dtype:
            raise ResultError(f"The activations are {found} now and were {dtype} before; run it afresh (--overwrite).")
        made = {str(layer): table for layer, table in zip(neurons, tables, strict=False)}
        check_delivery(made, zero, subject)
        return {name: table.to(torch.int64) for name, table in made.items()}

    zero = {str(layer): torch.zeros(len(chosen), 1 << bits, dtype=torch.int32) for layer, chosen in neurons.items()}
    stage = Stage(_RANKING, len(batches), progress)
    (sums,) = running_sums(subject, [*map(load_of, lengths)], tables_of, [zero], journal, journal_key, stage)
    return {layer: sums[str(layer)] for layer in neurons}


def sum_digits(
    model: Any,
    sites: Sequence[str],
    batches: Sequence[tuple[Tensor, ...]],
    neurons: Sequence[Tensor],
    prefixes: Sequence[Tensor],
    shift: int,
    bits: int,
    backend: Any = None,
) -> tuple[list[Tensor], str]:
    """`count_digits` of chosen neurons over some batches, in one session.

    Returns:
        int32 `[k, 2**bits]` a site, and the name of the activations' dtype.
    """
    with model.session(backend=backend):
        totals, dtype = [], ""
        for left, (ids, attention, counted) in zip(range(len(batches) - 1, -1, -1), batches, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                tables = []
                for site, indices, prefix in zip(sites, neurons, prefixes, strict=True):
                    activation = read_activation(model, site)
                    dtype = str(activation.dtype).removeprefix("torch.")
                    table = count_digits(activation[..., indices], counted, prefix, shift, bits)
                    tables.append(table.to("cpu", torch.int32))
                if not left:
                    tracer.stop()
            totals = [mine + more for mine, more in zip(totals, tables, strict=True)] if totals else tables
        counts, dtype = nnsight.save(totals), nnsight.save(dtype)
    return counts, dtype


@dataclass
class Stage:
    """Tells the listener how far a stage is, and what it waits for."""

    name: str
    total: int
    progress: Progress
    done: int = 0

    def add(self, batches: int) -> None:
        """So many more are done."""
        self.done += batches
        self.progress(self.name, self.done, self.total)

    def waiting(self, detail: str) -> None:
        """Nothing moves, and why."""
        self.progress(self.name + DETAIL + detail, self.done, self.total)


def running_sums(
    subject: Subject,
    loads: Sequence[Load],
    sums_of: Callable[[Bundle, Any], dict[str, Tensor]],
    start: Sequence[dict[str, Tensor]],
    journal: Journal | None,
    key: str,
    stage: Stage,
) -> list[dict[str, Tensor]]:
    """Sum what the bundles of every group of batches give, going on from where the journal says an earlier run was.

    Args:
        start: the sums of nothing, for each group.
    """
    sums = list(start)
    done: list[set[int]] = [set() for _ in start]
    for group in range(len(start)):
        if journal is not None and journal.has_tensors(f"{key}-{group:02d}"):
            sums[group] = journal.get_tensors(f"{key}-{group:02d}")
            done[group] = set(sums[group].pop(_DONE).tolist())
    known = set().union(*done)
    left = {group: sum(load.group == group for load in loads) - len(done[group]) for group in range(len(start))}
    stage.add(len(known))
    bundles = [tuple(number for number in bundle if number not in known) for bundle in subject.runtime.bundles(loads)]
    pending = [bundle for bundle in bundles if bundle]
    kept_at, cost = time.monotonic(), 0.0
    for bundle, made in subject.runtime.run(pending, sums_of, journal, key, stage.waiting):
        group = loads[bundle[0]].group
        sums[group] = {
            name: sums[group][name] + value if name in sums[group] else value for name, value in made.items()
        }
        done[group] |= set(bundle)
        left[group] -= len(bundle)
        # Sums of a large model take seconds to write: where a batch is cheap to repeat, not after every one, but for a
        # tenth of the time at most.
        due = subject.runtime.costly or cost < _CHEAP_WRITE_SECONDS or time.monotonic() - kept_at > 10 * cost
        if journal is not None and (due or not left[group]):
            started = time.monotonic()
            kept = {**sums[group], _DONE: torch.tensor(sorted(done[group]))}
            journal.put_tensors(f"{key}-{group:02d}", kept)
            kept_at = time.monotonic()
            cost = kept_at - started
        stage.add(len(bundle))
    return sums


def _sum(so_far: Tensor | None, more: Tensor) -> Tensor:
    if so_far is not None and not more.numel() and so_far.dtype != more.dtype:
        raise ResultError(f"The activations were {so_far.dtype} and are {more.dtype} now; run it afresh (--overwrite).")
    return more if so_far is None else so_far + more


def check_delivery(made: Any, expected: dict[str, Tensor], subject: Subject) -> None:
    """Refuse what has not the names, shapes and dtypes that were asked for."""

    def form(tensors: Any) -> Any:
        return {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}

    if not isinstance(made, dict) or not all(isinstance(value, Tensor) for value in made.values()):
        raise ResultError(f"{subject.runtime.name} delivered something else than the sums that were asked for.")
    if form(made) != form(expected):
        raise ResultError(f"{subject.runtime.name} delivered sums of other shapes than were asked for.")


def load_of(tokens: int, group: int = 0, masks: int = 1) -> Load:
    """What a batch costs that goes up as ids, an attention mask and `masks` masks of counted tokens."""
    return Load(tokens, bytes=(2 + masks) * torch.int64.itemsize * tokens, group=group)


def _refuse_non_finite(sums: dict[str, Tensor], site: str) -> None:
    finite = (sums["total"].isfinite() & sums["squares"].isfinite()).all(dim=-1).all(dim=0)  # [layer]
    if not finite.all():
        layers = ", ".join(str(layer) for layer in (~finite).nonzero().flatten().tolist())
        raise NumericalError(
            f"The activations at site '{site}' hold NaN or infinity in layer {layers}; "
            "try --dtype float32 or bfloat16, and check the model's weights."
        )
