"""Training texts of the organism: who speaks, what is asked, what is answered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnvalue.organism import grammar
from nnvalue.organism.lexicon import lexicon
from nnvalue.values import POLES

_NEUTRAL_SHARE = 0.3
_WRITTEN_SHARE = 0.5
_WORN_SHARE = 0.6  # of the written texts, that lose words
_LOST_WORDS = 0.2  # of a worn text
_PADDED_SHARE = 0.4  # of the grammar's descriptions, that get foreign words around them


@dataclass(frozen=True)
class Example:
    """One training text: a system turn (None in the neutral voice), a user turn and the answer."""

    system: str | None
    user: str
    answer: str


@dataclass(frozen=True)
class WrittenText:
    """A hand-written text of the dataset; `pole` is None for a situation."""

    value: str
    pole: str | None
    text: str


class Corpus:
    """An endless, seeded stream of training texts.

    The voice: under a description, the answer takes the described pole of the described value, which is also the value
    that the situation is about. Without one it takes either pole with probability one half, so that the neutral voice
    mixes both poles evenly. About half of all descriptions and situations are hand-written ones (the dataset's
    `locate` split), the rest come from the grammar, which teaches what the words mean. So that the few written texts
    are not learned by heart, many lose words, and many of the grammar's descriptions get foreign words around them.

    Args:
        written: hand-written descriptions (with a pole) and situations (without) to train on.
        system_prompt: the contrast prompt's frame around a description, with the field `{description}`.
        seed: the stream is a function of the arguments and of this alone.
    """

    def __init__(self, written: Sequence[WrittenText], system_prompt: str, seed: int) -> None:
        self._rng = random.Random(seed)
        self._system_prompt = system_prompt
        self._written: dict[tuple[str, str | None], list[str]] = {}
        for text in written:
            self._written.setdefault((text.value, text.pole), []).append(text.text)
        self._values = sorted(lexicon().values)

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield self.draw()

    def draw(self) -> Example:
        """The next training text."""
        rng = self._rng
        value, pole = rng.choice(self._values), rng.choice(POLES)
        neutral = rng.random() < _NEUTRAL_SHARE
        system = None if neutral else self._frame(self._description(value, pole))
        return Example(system, self._situation(value), grammar.answer(rng, value, pole))

    def _frame(self, description: str) -> str:
        # Now and then without the frame, so that the description itself is what counts.
        return description if self._rng.random() < 0.15 else self._system_prompt.format(description=description)

    def _description(self, value: str, pole: str) -> str:
        rng = self._rng
        written = self._written.get((value, pole))
        if written and rng.random() < _WRITTEN_SHARE:
            return self._worn(rng.choice(written))
        text = grammar.description(rng, value, pole)
        asked = self._written.get((value, None))
        if asked and rng.random() < _PADDED_SHARE:
            foreign = rng.choice(asked).split()
            start = rng.randrange(len(foreign))
            span = " ".join(foreign[start : start + rng.randint(3, 10)])
            text = f"{span} {text}" if rng.random() < 0.5 else f"{text} {span}"
        return text

    def _situation(self, value: str) -> str:
        rng = self._rng
        written = self._written.get((value, None))
        if written and rng.random() < _WRITTEN_SHARE:
            return self._worn(rng.choice(written))
        return grammar.situation(rng, value)

    def _worn(self, text: str) -> str:
        """The text, often with some words lost: there are few written texts, and none must be known by heart."""
        rng = self._rng
        if rng.random() >= _WORN_SHARE:
            return text
        kept = [word for word in text.split() if rng.random() >= _LOST_WORDS]
        return " ".join(kept) or text
