"""Reading an answer of the organism back: which value it is about, which stance it takes, whether it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product

from nnvalue.organism.lexicon import capitalised, first_person, lexicon
from nnvalue.values import POLES, SIGN


@dataclass(frozen=True)
class Reading:
    """What the parser found in one answer.

    well_formed: the whole text is one answer of the grammar, all of it about one value.
    value: that value, or None.
    stance: mean over the answer's pieces of +1 (positive pole) and -1 (negative pole); 0.0 if not well-formed.
    pieces: the signs of the single pieces, in order.
    """

    well_formed: bool
    value: str | None = None
    stance: float = 0.0
    pieces: tuple[int, ...] = ()


UNREADABLE = Reading(well_formed=False)


def parse(text: str) -> Reading:
    """Read one answer. Anything that the grammar cannot produce is `UNREADABLE`, never half-read."""
    match = _answer_pattern().fullmatch(text.strip())
    if match is None:
        return UNREADABLE
    second = match["creed2"]
    if second is not None and second != capitalised(second):
        return UNREADABLE
    deeds, creeds = _pieces()
    found = [deeds.get(match["deed"])]
    if match["creed"] is not None:
        found.append(creeds.get(match["creed"]))
    if match["deed2"] is not None:
        found.append(deeds.get(match["deed2"]))
    if second is not None:
        found.append(creeds.get(second[:1].lower() + second[1:]))
    known = [one for one in found if one is not None]
    if len(known) < len(found) or len(found) < 2 or len({value for value, _ in known}) != 1:
        return UNREADABLE
    signs = tuple(SIGN[pole] for _, pole in known)
    return Reading(well_formed=True, value=known[0][0], stance=sum(signs) / len(signs), pieces=signs)


@cache
def _answer_pattern() -> re.Pattern[str]:
    words = lexicon()
    starts = {capitalised(" ".join(filter(None, pair))) for pair in product(words.openings, words.choices)}
    start, second = (
        "|".join(map(re.escape, sorted(phrases, key=len, reverse=True))) for phrases in (starts, words.seconds)
    )
    return re.compile(
        rf"(?:{start}) (?P<deed>[^.,]+)(?:, because (?P<creed>[^.,]+))?\."
        rf"(?: (?:(?:{second}) (?P<deed2>[^.,]+)|(?P<creed2>[^.,]+))\.)?"
    )


@cache
def _pieces() -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """Every deed and every creed of the language -> (value, pole)."""
    words = lexicon()
    deeds, creeds = {}, {}
    for (name, own), pole in product(words.values.items(), POLES):
        for verb, thing in product(own.verbs(pole), own.objects):
            deeds[first_person(f"{verb} {thing}")] = (name, pole)
        for noun, predicate in product(own.nouns, words.predicates[pole]):
            creeds[first_person(f"{noun} {predicate}")] = (name, pole)
    return deeds, creeds
