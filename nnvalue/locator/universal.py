"""Neurons that are loud whatever is asked: among the loudest of their layer on nearly every neutral prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.locator.collect import LEAN, Stage, check_delivery, load_of, running_sums
from nnvalue.models import Bundle, Subject, pad_left, plan_batches
from nnvalue.progress import Progress, silent
from nnvalue.traces import count_loudest

LOUDEST, SHARE = 50, 0.8  # as published by CNA (2605.12290)


def universal_neurons(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    site: str,
    *,
    loudest: int = LOUDEST,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "universal",
    progress: Progress = silent,
) -> Tensor:
    """Neurons among the 50 loudest of their layer, by |activation| at the last token, on 80 % of the prompts and more.

    CNA's filter (2605.12290) with its numbers. Where a layer is narrow, 50 are a large part of it.

    Args:
        prompts: token ids of neutral prompts.
        loudest: how many of a layer.

    Returns:
        bool `[layer, neuron]`.
    """
    plan = plan_batches([len(ids) for ids in prompts], batch_tokens)
    shape = (subject.anatomy.layers, subject.anatomy.width)
    zero = {"counts": torch.zeros(shape, dtype=torch.int32)}

    def counts_of(bundle: Bundle, backend: Any) -> dict[str, Tensor]:
        batches = [pad_left([prompts[row] for row in plan[number]], subject.pad_id) for number in bundle]
        made = {"counts": sum_loudest(subject.model, subject.anatomy.sites(site), batches, loudest, backend)}
        check_delivery(made, zero, subject)
        return made

    loads = [load_of(len(rows) * max(len(prompts[row]) for row in rows), masks=0) for rows in plan]
    stage = Stage("looking for universal neurons", len(plan), progress)
    (sums,) = running_sums(subject, loads, counts_of, [zero], journal, f"{journal_key}-{site}", stage)
    return sums["counts"] >= SHARE * len(prompts)


def sum_loudest(
    model: Any, sites: Sequence[str], batches: Sequence[tuple[Tensor, Tensor]], k: int, backend: Any = None
) -> Tensor:
    """`count_loudest` over some batches of left-padded (ids, mask), in one session; int32 `[layer, neuron]`."""
    with model.session(backend=backend):
        total = None
        for left, (ids, attention) in zip(range(len(batches) - 1, -1, -1), batches, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                part = count_loudest(model, sites, attention, k)
                if not left:
                    tracer.stop()
            total = part if total is None else total + part
        total = nnsight.save(total)
    return total
