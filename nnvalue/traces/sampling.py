"""Sampling that can be compared: the noise belongs to the row and not to the batch, the arm or the machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def choose_tokens(
    logits: Tensor,
    seeds: Sequence[int],
    step: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> None:
    """Let greedy decoding take a token that is drawn from the softmax of logits / temperature.

    The token is the argmax of logits / temperature + Gumbel noise, which has just that distribution (Gumbel 1954). The
    noise is a function of the row's seed and the step alone: so a row draws the same in any batch, here or on a
    server, and rows of one seed share their noise whatever is done to them. Call it inside a trace of a greedy
    generation, once a step; it raises the chosen token's logit to infinity, in place.

    >>> with torch.no_grad(), model.generate(max_new_tokens=2, do_sample=False) as tracer:
    ...     with tracer.invoke(ids, attention_mask=mask):
    ...         for step in tracer.iter[:2]:
    ...             choose_tokens(model.output.logits, [7] * len(ids), step, temperature=0.7)
    ...     with tracer.invoke():
    ...         out = tracer.result.save()

    Args:
        logits: `[row, position, vocabulary]`; the last position counts.
        seeds: one a row; their low 32 bits count.
        step: of the generation.
        temperature: above 0.
        top_k: draw among so many of the likeliest tokens; None for all.
        top_p: … among the likeliest ones that hold this much probability together, at least one; None for all.
    """
    scores = logits[:, -1].float() / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        least = scores.topk(top_k).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ranked, order = scores.sort(dim=-1, descending=True)
        before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
        scores = scores.masked_fill((before >= top_p).scatter(-1, order, before >= top_p), -torch.inf)
    noise = torch.stack([gumbel_noise(seed, step, scores.shape[-1]) for seed in seeds])
    chosen = (scores + noise.to(scores.device)).argmax(-1)
    logits[torch.arange(len(chosen), device=logits.device), -1, chosen] = torch.inf


def gumbel_noise(seed: int, step: int, size: int) -> Tensor:
    """Standard Gumbel noise, float32 `[size]`; a function of its arguments alone.

    >>> torch.equal(gumbel_noise(7, 0, 5), gumbel_noise(7, 0, 5))
    True
    >>> torch.equal(gumbel_noise(7, 0, 5), gumbel_noise(7, 1, 5))
    False
    """
    generator = torch.Generator().manual_seed((seed + step * 0x9E3779B97F4A7C15) % 2**63)
    return -torch.empty(size).exponential_(generator=generator).log()
