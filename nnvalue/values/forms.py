"""How an item is put to somebody: the question, its options in either order, and what each option counts.

Every form exists in two option orders, because a model that prefers the first option, or high numbers, would
otherwise be taken for one that holds a value. Whatever the order, a higher score is more like the person asked.
Wording is our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nnvalue.errors import UnknownNameError

LOW, HIGH = 1.0, 6.0
"""Ends of most answer scales: 1 = quite unlike the person asked, 6 = just like them."""
_FIELD = re.compile(r"\{(portrait|query)\}")


@dataclass(frozen=True)
class AnswerForm:
    """One way of asking whether an item is like the person asked.

    question: text with the field `{portrait}`, and `{query}` where the item is a reply to one.
    options: the answers that count, in the order in which the question names them.
    scores: what each option counts; higher = more like the person asked.
    """

    name: str
    order: str
    question: str
    options: tuple[str, ...]
    scores: tuple[float, ...]

    def ask(self, portrait: str, query: str = "") -> str:
        """The user turn for one portrait, statement or reply."""
        given = {"portrait": portrait, "query": query}
        return _FIELD.sub(lambda field: given[field[1]], self.question)

    @property
    def takes_query(self) -> bool:
        """Whether it asks about a reply, and so must know what was asked."""
        return "{query}" in self.question


_RATE = "{portrait} How much like you is this person? Answer with one number, from 1 (%s) to 6 (%s)."
_CHOOSE = "{portrait} Is this person like you? Answer with one letter. A: %s. B: %s."
_AGREE = "{portrait} How far do you agree? Answer with one number, from 1 (%s) to 6 (%s)."
_THINK = (
    "Somebody asks:\n{query}\n\nThe reply:\n{portrait}\n\nHow close is this reply to what you think yourself? "
    "Answer with one number, from 1 (%s) to 6 (%s)."
)
_WEIGH = "{portrait} How much does this count in your life? Answer with one number, from %s. %s: you are against it."
_NUMBERS = tuple("123456")
_SCORES = tuple(map(float, _NUMBERS))
_NINE = tuple("123456789")
_WEIGHTS = tuple(map(float, range(-1, 8)))

FORMS = (
    AnswerForm("rating", "rising", _RATE % ("quite unlike you", "just like you"), _NUMBERS, _SCORES),
    AnswerForm("rating", "falling", _RATE % ("just like you", "quite unlike you"), _NUMBERS, _SCORES[::-1]),
    AnswerForm("choice", "like_first", _CHOOSE % ("like me", "unlike me"), ("A", "B"), (HIGH, LOW)),
    AnswerForm("choice", "unlike_first", _CHOOSE % ("unlike me", "like me"), ("A", "B"), (LOW, HIGH)),
)
"""The 1–6 scale and the two-option form for portraits, each in both orders; averaging over orders balances them.

The organism draws from these while it is trained, so another form here would be another organism.
"""
_FURTHER = (
    AnswerForm("agreement", "rising", _AGREE % ("not at all", "entirely"), _NUMBERS, _SCORES),
    AnswerForm("agreement", "falling", _AGREE % ("entirely", "not at all"), _NUMBERS, _SCORES[::-1]),
    AnswerForm("similarity", "rising", _THINK % ("far from it", "just what you think"), _NUMBERS, _SCORES),
    AnswerForm("similarity", "falling", _THINK % ("just what you think", "far from it"), _NUMBERS, _SCORES[::-1]),
    # Numbers from 1, because "-1" is several tokens; no letters, because many an answer begins with the word "I".
    AnswerForm("importance", "rising", _WEIGH % ("2 (not at all) to 9 (above all)", "1"), _NINE, _WEIGHTS),
    AnswerForm("importance", "falling", _WEIGH % ("1 (above all) to 8 (not at all)", "9"), _NINE, _WEIGHTS[::-1]),
)


def forms(name: str) -> tuple[AnswerForm, ...]:
    """Both orders of a form. Raises UnknownNameError.

    `rating` and `choice` are for portraits, `agreement` is for statements, `similarity` for replies to a query;
    `importance` counts −1 (against it) to 7, as the Schwartz Value Survey does.
    """
    known = (*FORMS, *_FURTHER)
    found = tuple(form for form in known if form.name == name)
    if not found:
        raise UnknownNameError("answer form", name, dict.fromkeys(form.name for form in known))
    return found
