"""How an edition is made: how much of what, about what, in which language, and with which patience."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnvalue.dataset.edition import is_english
from nnvalue.errors import InvalidInputError

DOMAINS = (
    "work", "family", "friendship", "neighbours", "money", "travel", "health", "school", "hobbies", "public life",
)  # fmt: skip
"""Domains of life that situations come from, unless others are named."""


@dataclass(frozen=True)
class BuildConfig:
    """Settings of a build.

    descriptions: pairs of descriptions a value, one of each pole.
    situations: situations a value.
    sentences, portraits: pairs a value; 0 for none.
    domains: domains of life; situations are spread over them evenly.
    dilemmas: share of situations that set the value against another one of the framework.
    language: in English, as nnvalue would say it: "English", "Brazilian Portuguese". The rules about words (negations,
        praise, a/an) are for English and are left out for others.
    per_request: texts, or pairs, asked for at once.
    rounds: requests for the texts of one value and topic, at most; None for thrice as many as a faultless writer needs,
        and four more.
    temperature: of the writer.
    max_tokens: length limit of one answer.
    seed: of what is drawn: which value a dilemma is about, which texts are for testing.
    """

    descriptions: int = 20
    situations: int = 40
    sentences: int = 0
    portraits: int = 0
    domains: tuple[str, ...] = DOMAINS
    dilemmas: float = 0.3
    language: str = "English"
    per_request: int = 10
    rounds: int | None = None
    temperature: float = 1.0
    max_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", tuple(self.domains))
        for name, least in (("descriptions", 1), ("situations", 1), ("sentences", 0), ("portraits", 0),
                            ("per_request", 1), ("max_tokens", 1)):  # fmt: skip
            if getattr(self, name) < least:
                raise InvalidInputError(f"{name} must be at least {least}, {getattr(self, name)} given.")
        if self.rounds is not None and self.rounds < 1:
            raise InvalidInputError(f"rounds must be at least 1, {self.rounds} given.")
        if not 0 <= self.dilemmas <= 1:
            raise InvalidInputError(f"dilemmas is a share from 0 to 1, {self.dilemmas} given.")
        if not self.domains or len(set(self.domains)) < len(self.domains) or not all(map(str.strip, self.domains)):
            raise InvalidInputError(f"Domains are different names, at least one; {list(self.domains)} given.")
        if not self.language.strip():
            raise InvalidInputError("The language is empty; name it in English.")

    @property
    def english(self) -> bool:
        """Whether the rules about English words apply."""
        return is_english(self.language)

    def most_rounds(self, wanted: int) -> int:
        """How many requests may be spent on so many texts."""
        return self.rounds or 3 * math.ceil(wanted / self.per_request) + 4
