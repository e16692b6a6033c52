"""Judging free text: how far an answer holds a value; by the organism's parser, or a function. See also `rating`.

All judges speak of a *stance* in [−1, 1]: 1 plainly holds the value, −1 plainly its opposing aspect, 0 neither. A text
that cannot be read has the stance 0 and is counted; it is never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Protocol

from nnvalue.organism import parse
from nnvalue.progress import Progress, silent
from nnvalue.values import Framework

OUTCOMES = ("answered", "unreadable", "refused", "failed")
"""What comes of judging a text; `unreadable` is an answer too, of the stance 0."""


@dataclass(frozen=True)
class Text:
    """An answer that is to be judged: what was asked, what was answered, and for which value or group of values."""

    id: str
    question: str
    answer: str
    value: str


@dataclass(frozen=True)
class Judgement:
    """What a judge found in one text about one value.

    prompt_id: id of the text.
    status: `answered`; `refused`, if the judge declined; `failed`, if there was no judgement to be had.
    stance: −1 … 1; None where there is no judgement.
    score: 1 … 5, that is 3 + 2 · stance; None also where the text is not readable.
    readable: whether it is readable text at all; None where nobody judged that.
    how: `expected` over the judge's probabilities, the mean of `samples`, by comparisons (`ranking`), by the `parser`
        or a `function`.
    raw: what the judge said, word for word.
    parse: what was read in it: scores, probabilities, or why nothing could be.
    judge: the judge's name.
    keys: of the logged requests, under which prompt and raw answer stand in the client's log.
    """

    prompt_id: str
    value: str
    status: str
    stance: float | None
    score: float | None
    readable: bool | None
    how: str
    raw: tuple[str, ...] = ()
    parse: str = ""
    judge: str = ""
    keys: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        return "unreadable" if self.status == "answered" and self.readable is False else self.status

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {**asdict(self), "raw": list(self.raw), "keys": list(self.keys)}


class Judge(Protocol):
    """Who judges texts.

    name: what the judge is called in results.
    """

    name: str

    def describe(self) -> dict[str, Any]:
        """Who it is and how it judges, as JSON data, for a record of results."""

    def judge(self, texts: Sequence[Text], progress: Progress = silent) -> list[Judgement]:
        """A judgement for every text, in their order; what fails is told and not left out."""


def judged(text: Text, stance: float, how: str, judge: str, **told: Any) -> Judgement:
    """A judgement of a readable text."""
    stance = min(1.0, max(-1.0, float(stance)))
    return Judgement(text.id, text.value, "answered", stance, 3 + 2 * stance, True, how, judge=judge, **told)


def unreadable(text: Text, how: str, judge: str, **told: Any) -> Judgement:
    """The judgement that a text cannot be read."""
    return Judgement(text.id, text.value, "answered", 0.0, None, False, how, judge=judge, **told)


def not_judged(text: Text, status: str, how: str, judge: str, **told: Any) -> Judgement:
    """No judgement: `refused` or `failed`."""
    return Judgement(text.id, text.value, status, None, None, None, how, judge=judge, **told)


class ParserJudge:
    """The organism's own parser: knows the stance of every text of its language, and whether it is whole.

    A text about a value other than those asked for has the stance 0.

    Args:
        framework: tells which values belong to a group.
    """

    name = "parser"

    def __init__(self, framework: Framework) -> None:
        self._framework = framework

    def describe(self) -> dict[str, Any]:
        """Who it is."""
        return {"kind": "parser", "name": self.name, "framework": self._framework.name}

    def judge(self, texts: Sequence[Text], progress: Progress = silent) -> list[Judgement]:
        """A judgement for every text."""
        return [self._one(text) for text in texts]

    def _one(self, text: Text) -> Judgement:
        reading = parse(text.answer)
        if not reading.well_formed:
            return unreadable(text, "parser", self.name, parse="no answer of the grammar")
        mine = reading.value in self._framework.members(text.value)
        told = f"about {reading.value}, pieces {' '.join(f'{sign:+d}' for sign in reading.pieces)}"
        return judged(text, reading.stance if mine else 0.0, "parser", self.name, parse=told)


class FunctionJudge:
    """A function of yours: takes a `Text`, returns a stance in [−1, 1], or None where the text cannot be read.

    An exception that it raises, and a return that is no such number, are failures of that text.
    """

    def __init__(self, function: Callable[[Text], float | None], name: str) -> None:
        self._function, self.name = function, name

    def describe(self) -> dict[str, Any]:
        """Who it is."""
        return {"kind": "function", "name": self.name}

    def judge(self, texts: Sequence[Text], progress: Progress = silent) -> list[Judgement]:
        """A judgement for every text, one after the other."""
        return [self._one(text) for text in texts]

    def _one(self, text: Text) -> Judgement:
        try:
            found = self._function(text)
        except Exception as error:  # whatever a user's own function raises is its judgement's failure, not ours
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            return not_judged(text, "failed", "function", self.name, parse=reason)
        if found is None:
            return unreadable(text, "function", self.name)
        if not isinstance(found, Real) or not -1 <= found <= 1:
            return not_judged(text, "failed", "function", self.name, parse=f"{found!r:.80} is no stance in [-1, 1]")
        return judged(text, float(found), "function", self.name, raw=(repr(found),))
