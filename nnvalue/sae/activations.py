"""Activations of single tokens, to train an SAE on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.errors import ResultError
from nnvalue.locator.collect import LEAN
from nnvalue.locator.readings import response_length, teacher_forced
from nnvalue.models import Bundle, Load, Response, Subject, plan_batches
from nnvalue.progress import Progress, silent
from nnvalue.traces import read_activation

_STAGE = "reading activations"


def response_activations(
    subject: Subject,
    responses: Sequence[Response],
    site: str,
    *,
    prompts: bool = False,
    batch_tokens: int = 8192,
    progress: Progress = silent,
) -> Tensor:
    """What stands at a site on every response token that decoding feeds; float32 `[token, width]`.

    All of it is held in memory and, of a remote model, sent back.

    Args:
        prompts: take the prompts' tokens as well, but for the first of each, where models put activations that are many
            times as long as all others.
    """
    plan = plan_batches([response_length(response) for response in responses], batch_tokens)
    counts = [response_length(one) - 1 if prompts else len(one.fed_ids) for one in responses]
    fed = [sum(counts[row] for row in rows) for rows in plan]
    width = subject.anatomy.hidden or subject.anatomy.width
    sizes = [len(rows) * max(response_length(responses[row]) for row in rows) for rows in plan]
    loads = [Load(size, bytes=16 * size + 4 * width * back) for size, back in zip(sizes, fed, strict=True)]

    def read(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [teacher_forced([responses[row] for row in plan[number]], subject.pad_id) for number in bundle]
        if prompts:
            batches = [(ids, attention, _but_first(attention)) for ids, attention, _ in batches]
        made = tokens_of_batches(subject.model, site, batches, backend)
        if not isinstance(made, list) or [len(part) for part in made] != [fed[number] for number in bundle]:
            raise ResultError(f"{subject.runtime.name} delivered something else than the activations asked for.")
        return made

    found: dict[int, Tensor] = {}
    progress(_STAGE, 0, len(plan))
    for bundle, parts in subject.runtime.run(subject.runtime.bundles(loads), read):
        found |= dict(zip(bundle, parts, strict=True))
        progress(_STAGE, len(found), len(plan))
    return torch.cat([found[number] for number in range(len(plan))])


def _but_first(attention: Tensor) -> Tensor:
    """The mask of all tokens but the first of each row, which is padded on the left."""
    return attention * (attention.cumsum(1) > 1)


def tokens_of_batches(
    model: Any, site: str, batches: Sequence[tuple[Tensor, ...]], backend: Any = None
) -> list[Tensor]:
    """Activations at the counted tokens of every batch, in one session; float32 `[token, width]` each."""
    with model.session(backend=backend):
        made = []
        for ids, attention, counted in batches:
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                x = read_activation(model, site)
                part = x[counted.to(x.device) > 0].float().cpu()
                tracer.stop()
            made.append(part)
        found = nnsight.save(made)
    return found
