"""The teacher-forced pass: prompt and response go through the model once, and per-neuron sums come back.

A response token is counted when decoding would have fed it to the model: response tokens 1 … n−1 of n generated ones
(`Response.fed_ids`). So the numbers are those that watching the decoder step by step would give, at a fraction of the
cost, and they can be taken again from stored responses under any definition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.errors import DatasetError, NumericalError
from nnvalue.locator.moments import Moments
from nnvalue.models import Response, Subject, pad_left, plan_batches
from nnvalue.progress import Progress, silent
from nnvalue.traces import collect_moments, count_digits, read_activation

_CHEAP_WRITE_SECONDS = 0.5


class TeacherForcedBatches:
    """Batches of prompt + response, left-padded, with a mask of the tokens that count.

    Iterating gives `(rows, ids, attention, counted)`: the responses' places, token ids, attention mask and mask of
    counted tokens, the latter three `[batch, token]`.
    """

    def __init__(self, responses: Sequence[Response], batch_tokens: int, pad_id: int) -> None:
        self._responses, self._pad_id = responses, pad_id
        self._counted = [response.fed_ids for response in responses]
        if not any(self._counted):
            raise DatasetError("All responses are empty, so there is nothing to count; does the model answer prompts?")
        lengths = [len(r.prompt_ids) + len(ids) for r, ids in zip(responses, self._counted, strict=True)]
        self.plan = plan_batches(lengths, batch_tokens)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> tuple[list[int], Tensor, Tensor, Tensor]:
        rows = self.plan[number]
        texts = [(*self._responses[row].prompt_ids, *self._counted[row]) for row in rows]
        ids, attention = pad_left(texts, self._pad_id)
        counted = torch.zeros_like(attention)
        for place, row in enumerate(rows):
            counted[place, ids.shape[1] - len(self._counted[row]) :] = 1
        return rows, ids, attention, counted

    def __iter__(self) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
        return (self[number] for number in range(len(self)))


def gather_moments(
    subject: Subject,
    responses: Sequence[Response],
    folds: Sequence[int],
    site: str,
    *,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "moments",
    progress: Progress = silent,
) -> Moments:
    """Statistics of one pole's responses at a site, by fold. Memory does not depend on how many responses there are.

    With a journal, the running sums are kept after every batch (less often where writing them takes long), and a run
    that was killed goes on from there.

    Args:
        folds: the fold of each response, from 0.
        site: `gate` or `down_in`.

    Raises:
        NumericalError: NaN or infinity at the site; names the layers.
        DatasetError: no response has a token that counts.
    """
    batches = TeacherForcedBatches(responses, batch_tokens, subject.pad_id)
    sites = subject.anatomy.sites(site)
    n_folds = max(folds) + 1

    def batch_sums(number: int) -> dict[str, Tensor]:
        rows, ids, attention, counted = batches[number]
        members = torch.nn.functional.one_hot(torch.tensor([folds[row] for row in rows]), n_folds).T  # [fold, batch]
        first = int(counted.any(0).long().argmax())
        ids, attention = ids.to(subject.device), attention.to(subject.device)
        sums = _traced_moments(subject.model, sites, ids, attention, counted, members.float(), first)
        _refuse_non_finite(sums, site)
        return {
            "tokens": members @ counted.sum(1),
            "fired": sums[0].round().to(torch.int64),
            "total": sums[1].to(torch.float64),
            "squares": sums[2].to(torch.float64),
        }

    start = Moments.zero(n_folds, subject.anatomy.layers, subject.anatomy.width)
    report = partial(progress, "collecting activations")
    return Moments.from_tensors(_running_sums(start.tensors(), batch_sums, len(batches), journal, journal_key, report))


def gather_digit_counts(
    subject: Subject,
    responses: Sequence[Response],
    site: str,
    neurons: Mapping[int, Tensor],
    prefixes: Mapping[int, Tensor],
    shift: int,
    bits: int,
    *,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "digits",
    progress: Progress = silent,
) -> dict[int, Tensor]:
    """One digit of the chosen neurons' activations, counted over all counted tokens; see `traces.quantiles`.

    Args:
        neurons: layer -> int64 `[k]`, the chosen neurons, layers in forward order.
        prefixes: layer -> int64 `[k]`, the digits known so far.

    Returns:
        layer -> int64 `[k, 2**bits]`.
    """
    batches = TeacherForcedBatches(responses, batch_tokens, subject.pad_id)
    sites = [subject.anatomy.sites(site)[layer] for layer in neurons]

    def batch_counts(number: int) -> dict[str, Tensor]:
        _, ids, attention, counted = batches[number]
        ids, attention = ids.to(subject.device), attention.to(subject.device)
        tables = _traced_digits(
            subject.model, sites, ids, attention, counted, [*neurons.values()], [*prefixes.values()], shift, bits
        )
        return {str(layer): table.cpu() for layer, table in zip(neurons, tables, strict=True)}

    start = {str(layer): torch.zeros(len(chosen), 1 << bits, dtype=torch.int64) for layer, chosen in neurons.items()}
    report = partial(progress, "taking quantiles")
    sums = _running_sums(start, batch_counts, len(batches), journal, journal_key, report)
    return {layer: sums[str(layer)] for layer in neurons}


def _running_sums(
    start: dict[str, Tensor],
    batch_sums: Callable[[int], dict[str, Tensor]],
    batches: int,
    journal: Journal | None,
    journal_key: str,
    report: Callable[[int, int], None],
) -> dict[str, Tensor]:
    """Sum what every batch gives, in order, going on from where the journal says that an earlier run was."""
    sums, done = start, 0
    if journal is not None and journal.has_tensors(journal_key):
        sums = journal.get_tensors(journal_key)
        done = int(sums.pop("batches_done"))
    report(done, batches)
    kept_at, cost = time.monotonic(), 0.0
    for number in range(done, batches):
        for name, value in batch_sums(number).items():
            sums[name] += value
        # Sums of a large model take seconds to write: then not after every batch, but for a tenth of the time at most.
        due = cost < _CHEAP_WRITE_SECONDS or time.monotonic() - kept_at > 10 * cost or number + 1 == batches
        if journal is not None and due:
            started = time.monotonic()
            journal.put_tensors(journal_key, {**sums, "batches_done": torch.tensor(number + 1)})
            kept_at = time.monotonic()
            cost = kept_at - started
        report(number + 1, batches)
    return sums


def _traced_moments(
    model: Any, sites: Sequence[str], ids: Tensor, attention: Tensor, counted: Tensor, groups: Tensor, first: int
) -> Tensor:
    with torch.no_grad(), model.trace(ids, attention_mask=attention, use_cache=False) as tracer:
        sums = nnsight.save(collect_moments(model, sites, counted, groups, first))
        tracer.stop()
    return sums.cpu()


def _traced_digits(
    model: Any,
    sites: Sequence[str],
    ids: Tensor,
    attention: Tensor,
    counted: Tensor,
    neurons: Sequence[Tensor],
    prefixes: Sequence[Tensor],
    shift: int,
    bits: int,
) -> list[Tensor]:
    with torch.no_grad(), model.trace(ids, attention_mask=attention, use_cache=False) as tracer:
        tables = nnsight.save([])
        for site, indices, prefix in zip(sites, neurons, prefixes, strict=True):
            activation = read_activation(model, site)
            tables.append(count_digits(activation[..., indices], counted, prefix, shift, bits))
        tracer.stop()
    return tables


def _refuse_non_finite(sums: Tensor, site: str) -> None:
    finite = sums[1:].isfinite().all(dim=-1).all(dim=0).all(dim=0)  # [layer]
    if not finite.all():
        layers = ", ".join(str(layer) for layer in (~finite).nonzero().flatten().tolist())
        raise NumericalError(
            f"The activations at site '{site}' hold NaN or infinity in layer {layers}; "
            "try --dtype float32 or bfloat16, and check the model's weights."
        )
