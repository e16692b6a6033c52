"""Variants of a hand-written core: `Your {boss|team lead} asks you to {stay|come back}.` stands for four sentences."""

from __future__ import annotations

import random
import re
from itertools import product
from math import prod

_SLOT = re.compile(r"\{([^{}]*)\}")


def parts_of(text: str) -> list[list[str]]:
    """The text cut into parts, each with its alternatives; a fixed part has one. Raises ValueError if malformed."""
    pieces = _SLOT.split(text)
    if any(brace in piece for piece in pieces for brace in "{}"):
        raise ValueError(f"braces do not match: {text}")
    parts = [piece.split("|") if number % 2 else [piece] for number, piece in enumerate(pieces)]
    for options in parts[1::2]:
        if len(options) < 2 or len(set(options)) < len(options):
            raise ValueError(f"a slot needs two or more different alternatives: {text}")
    return parts


def combinations(text: str) -> int:
    """How many sentences a core stands for."""
    return prod(map(len, parts_of(text)))


def every_variant(text: str) -> list[str]:
    """All sentences of a core."""
    return ["".join(choice) for choice in product(*parts_of(text))]


def variants(text: str, count: int, seed: str) -> list[str]:
    """`count` sentences of a core (or all there are) that differ from each other in as many slots as can be.

    The next one is always the candidate whose nearest chosen one is farthest, ties broken by how rarely its
    alternatives were used, then by a seeded shuffle; so every alternative comes up about equally often.
    """
    parts = parts_of(text)
    candidates = list(product(*(range(len(options)) for options in parts)))
    random.Random(seed).shuffle(candidates)
    chosen: list[tuple[int, ...]] = []
    used: dict[tuple[int, int], int] = {}
    while candidates and len(chosen) < count:

        def rank(candidate: tuple[int, ...]) -> tuple[int, int]:
            nearest = min((sum(a != b for a, b in zip(candidate, one, strict=True)) for one in chosen), default=0)
            return nearest, -sum(used.get(place, 0) for place in enumerate(candidate))

        best = max(candidates, key=rank)
        candidates.remove(best)
        chosen.append(best)
        for place in enumerate(best):
            used[place] = used.get(place, 0) + 1
    return ["".join(options[pick] for options, pick in zip(parts, one, strict=True)) for one in chosen]
