"""Batches by token budget, of texts of like length, so that little is padding; padded on the left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group texts into batches of at most `batch_tokens` tokens, padding included.

    The longest come first, so that a batch that does not fit into memory fails at once. A text that is longer than the
    budget is a batch of its own. The plan is a function of the arguments alone.

    >>> plan_batches([3, 9, 4, 4], batch_tokens=12)
    [[1], [2, 3, 0]]
    """
    if batch_tokens < 1:
        raise InvalidInputError(f"A batch needs a budget of at least one token, {batch_tokens} given.")
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    batches: list[list[int]] = []
    for number in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= batch_tokens:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches


def pad_left(texts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both int64 `[batch, token]`; every text ends in the last column."""
    width = max(map(len, texts))
    ids = torch.full((len(texts), width), pad_id)
    mask = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, width - len(text) :] = torch.tensor(list(text))
        mask[row, width - len(text) :] = 1
    return ids, mask
