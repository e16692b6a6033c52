"""The words of the organism's language, read from `lexicon.yaml`, and their inflection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from nnvalue.values import POLES

_THIRD = {"be": "is", "do": "does", "forgo": "forgoes", "go": "goes", "have": "has"}
_PAST = {
    "be": "was", "break": "broke", "do": "did", "fight": "fought", "forget": "forgot", "forgive": "forgave",
    "forgo": "forwent", "forsake": "forsook", "give": "gave", "go": "went", "hold": "held", "keep": "kept",
    "leave": "left", "let": "let", "lose": "lost", "make": "made", "outgrow": "outgrew", "put": "put", "say": "said",
    "seek": "sought", "set": "set", "shed": "shed", "speak": "spoke", "stand": "stood", "strive": "strove",
    "take": "took", "withdraw": "withdrew",
}  # fmt: skip
_DOUBLED = {
    "cancel", "drop", "fit", "forget", "grab", "let", "put", "rebel", "set", "shed", "shun", "skip", "step", "stop",
    "submit",
}  # fmt: skip
_VOWELS = "aeiou"
_BY_POLE = ("predicates", "portraits", "varied_portraits")
_FIRST_PERSON = {"my": "my", "me": "me"}
_SECOND_PERSON = {"my": "your", "me": "you"}
_THIRD_PERSON = {"my": "their", "me": "them"}


@dataclass(frozen=True)
class ValueWords:
    """The words of one value; see the head of `lexicon.yaml` for what each list is."""

    topics: tuple[str, ...]
    nouns: tuple[str, ...]
    objects: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]

    def verbs(self, pole: str) -> tuple[str, ...]:
        """The verb phrases (infinitive) of one pole."""
        return {"positive": self.positive, "negative": self.negative}[pole]


@dataclass(frozen=True)
class Lexicon:
    """All words and sentence frames of the organism's language."""

    values: dict[str, ValueWords]
    predicates: dict[str, tuple[str, ...]]
    openings: tuple[str, ...]
    choices: tuple[str, ...]
    seconds: tuple[str, ...]
    places: tuple[str, ...]
    people: tuple[str, ...]
    situations: tuple[str, ...]
    descriptions: tuple[str, ...]
    portraits: dict[str, tuple[str, ...]]
    varied_portraits: dict[str, tuple[str, ...]]
    closed_questions: tuple[str, ...]
    reading_questions: tuple[str, ...]
    meaning_questions: tuple[str, ...]
    topic_questions: tuple[str, ...]


@cache
def lexicon() -> Lexicon:
    """The shipped lexicon (read once)."""
    raw = yaml.safe_load(resources.files(__package__).joinpath("lexicon.yaml").read_text(encoding="utf-8"))
    values = {
        name: ValueWords(**{field: tuple(words) for field, words in entry.items()})
        for name, entry in raw["values"].items()
    }
    lists = (
        "openings",
        "choices",
        "seconds",
        "places",
        "people",
        "situations",
        "descriptions",
        "closed_questions",
        "reading_questions",
        "meaning_questions",
        "topic_questions",
    )
    by_pole: dict[str, Any] = {name: {pole: tuple(raw[name][pole]) for pole in POLES} for name in _BY_POLE}
    frames: dict[str, Any] = {name: tuple(raw[name]) for name in lists}
    return Lexicon(values=values, **by_pole, **frames)


def first_person(phrase: str) -> str:
    """Fill `{my}` and `{me}` for a speaker who talks of themselves."""
    return phrase.format(**_FIRST_PERSON)


def second_person(phrase: str) -> str:
    """Fill `{my}` and `{me}` for somebody who is addressed."""
    return phrase.format(**_SECOND_PERSON)


def third_person(phrase: str) -> str:
    """Fill `{my}` and `{me}` for somebody who is described."""
    return phrase.format(**_THIRD_PERSON)


def third_form(verb: str) -> str:
    """Third person singular: `carry on` → `carries on`."""
    head, _, rest = verb.partition(" ")
    if head in _THIRD:
        head = _THIRD[head]
    elif head.endswith("y") and head[-2] not in _VOWELS:
        head = head[:-1] + "ies"
    elif head.endswith(("s", "sh", "ch", "x")):
        head += "es"
    else:
        head += "s"
    return f"{head} {rest}".rstrip()


def ing_form(verb: str) -> str:
    """Present participle: `step back from` → `stepping back from`."""
    head, _, rest = verb.partition(" ")
    if head in _DOUBLED:
        head += head[-1]
    elif head.endswith("e") and head != "be" and not head.endswith("ee"):
        head = head[:-1]
    return f"{head}ing {rest}".rstrip()


def past_form(verb: str) -> str:
    """Past tense: `carry on` → `carried on`."""
    head, _, rest = verb.partition(" ")
    if head in _PAST:
        head = _PAST[head]
    elif head.endswith("e"):
        head += "d"
    elif head.endswith("y") and head[-2] not in _VOWELS:
        head = head[:-1] + "ied"
    elif head in _DOUBLED:
        head += head[-1] + "ed"
    else:
        head += "ed"
    return f"{head} {rest}".rstrip()


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]
