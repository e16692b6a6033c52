"""Prompts that begin alike: what they share is computed once, level by level, and the rest behind it.

A questionnaire puts many items to one person, and an item in two option orders: the system turn is the same for all,
and of an item most is. Such prompts form a tree. Here it is cut into at most three levels (what a whole group shares,
what the nearest neighbour shares, the rest), each of them a padded batch that goes on from the keys and values of the
level before.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nnvalue.models.batching import pad_left, plan_batches

Level = tuple[Tensor, Tensor, Tensor, Tensor | None, list[int]]
"""Token ids and their own mask, int64 `[row, token]`, padded on the left; the mask of all tokens from the prompt's
first on, int64 `[row, token before + token]`; for each row, which row of the level before it goes on from, int64
`[row]`, None at the first level; and one of the prompts that each row is the beginning of."""

WORTHWHILE = 0.8
"""Levels are used where they leave at most so large a share of the tokens to be computed."""
_LEVELS = 3


def plan_shared(
    encoded: Sequence[Sequence[int]], owners: Sequence[Hashable], batch_tokens: int, widest: int | None = None
) -> tuple[list[list[int]], list[list[int]]]:
    """Batches within a budget of `batch_tokens`: those with levels, and those of prompts that share too little.

    Shared tokens are counted for every prompt, as their keys are kept for each. Prompts of one owner stand together in
    the order of their tokens; of the others, those of like length. A function of the arguments alone.

    Args:
        encoded: token ids of each prompt.
        owners: of each prompt; only prompts of equal owners share, and None with nobody.
        widest: columns up to which a model may go on from keys with padding among them, as its window of attention
            is that wide; None for any.

    >>> plan_shared([[1, 2, 3, 4, 5], [9, 9], [1, 2, 3, 4, 6]], ["a", None, "a"], 100)
    ([[0, 2]], [[1]])
    """
    groups: dict[Hashable, list[int]] = {}
    for number, owner in enumerate(owners):
        groups.setdefault(owner, []).append(number)
    alone = groups.pop(None, [])
    together: list[list[int]] = []
    for rows in sorted(groups.values(), key=lambda rows: (-max(len(encoded[row]) for row in rows), rows[0])):
        longest = max(len(encoded[row]) for row in rows)
        # No level is wider than the longest prompt.
        if (widest is not None and _LEVELS * longest > widest) or not _saves(encoded, rows):
            alone += rows
            continue
        if not together or not _fits(encoded, together[-1] + rows, batch_tokens):
            together.append([])
        for row in sorted(rows, key=lambda row: (list(encoded[row]), row)):
            if together[-1] and not _fits(encoded, [*together[-1], row], batch_tokens):
                together.append([])
            together[-1].append(row)
    alone.sort()
    by_length = plan_batches([len(encoded[row]) for row in alone], batch_tokens)
    return together, [[alone[place] for place in places] for places in by_length]


def levels_of(
    encoded: Sequence[Sequence[int]], owners: Sequence[Hashable], rows: Sequence[int], pad_id: int
) -> list[Level]:
    """The levels of a batch; the rows of the last one are the prompts, in their order.

    Args:
        encoded, owners: as for `plan_shared`.
        rows: the prompts of the batch.
    """
    cuts = _cuts(encoded, owners, rows)
    levels: list[Level] = []
    place: dict[Any, int] = {}  # (owner, tokens up to a cut) -> row of the level before
    start = dict.fromkeys(rows, 0)
    for number in range(_LEVELS):
        last = number == _LEVELS - 1
        end = {row: len(encoded[row]) if last else cuts[row][number] for row in rows}
        if end == start:
            continue
        here: dict[Any, int] = {}
        members: list[Any] = []
        for row in rows:
            node = row if last else (owners[row], tuple(encoded[row][: end[row]]))
            if here.setdefault(node, len(members)) == len(members):
                members.append(row)
        ids, mask = pad_left([encoded[row][start[row] : end[row]] for row in members], pad_id)
        parents, whole = None, mask
        if levels:
            parents = torch.tensor([place[owners[row], tuple(encoded[row][: start[row]])] for row in members])
            whole = torch.cat([levels[-1][2][parents], mask], 1)
        levels.append((ids, mask, whole, parents, members))
        place, start = here, end
    return levels


def positions_of(mask: Tensor, tokens: int) -> Tensor:
    """Positions of the last `tokens` columns, counted from each row's first token; int64 `[row, token]`.

    >>> positions_of(torch.tensor([[0, 1, 1, 0, 1]]), 2).tolist()
    [[1, 2]]
    """
    return (mask.cumsum(1) - 1).clamp(min=0)[:, mask.shape[1] - tokens :]


def _cuts(
    encoded: Sequence[Sequence[int]], owners: Sequence[Hashable] | Mapping[int, Hashable], rows: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Where each prompt is cut: behind what all of its owner share, and behind what its nearest neighbour shares."""
    cuts = dict.fromkeys(rows, (0, 0))
    groups: dict[Hashable, list[int]] = {}
    for row in rows:
        groups.setdefault(owners[row], []).append(row)
    groups.pop(None, None)
    for members in groups.values():
        members = sorted(members, key=lambda row: list(encoded[row]))
        near = [_common(encoded[one], encoded[other]) for one, other in itertools.pairwise(members)]
        least = min(near, default=0)
        for place, row in enumerate(members):
            most = max(near[max(place - 1, 0) : place + 1], default=0)
            # The last token stays, as what is read stands there and edits act there.
            cuts[row] = (min(least, len(encoded[row]) - 1), min(most, len(encoded[row]) - 1))
    return cuts


def _saves(encoded: Sequence[Sequence[int]], rows: Sequence[int]) -> bool:
    """Whether levels leave few enough tokens to be computed, padding aside."""
    cuts = _cuts(encoded, dict.fromkeys(rows, 0), rows)
    nodes = {tuple(encoded[row][: cuts[row][0]]): cuts[row][0] for row in rows}
    deeper = {tuple(encoded[row][: cuts[row][1]]): cuts[row][1] - cuts[row][0] for row in rows}
    rest = sum(len(encoded[row]) - cuts[row][1] for row in rows)
    whole = sum(len(encoded[row]) for row in rows)
    return sum(nodes.values()) + sum(deeper.values()) + rest <= WORTHWHILE * whole


def _fits(encoded: Sequence[Sequence[int]], rows: Sequence[int], batch_tokens: int) -> bool:
    return len(rows) * max(len(encoded[row]) for row in rows) <= batch_tokens


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two prompts share."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
