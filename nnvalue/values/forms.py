"""How a portrait is put to somebody: the question, its options in either order, and what each option counts.

Every form exists in two option orders, because a model that prefers the first option, or high numbers, would
otherwise be taken for one that holds a value. Wording is our own.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnvalue.errors import UnknownNameError

LOW, HIGH = 1.0, 6.0
"""Ends of the answer scale: 1 = quite unlike the person asked, 6 = just like them."""


@dataclass(frozen=True)
class AnswerForm:
    """One way of asking whether a portrait is like the person asked.

    question: text with the field `{portrait}`.
    options: the answers that count, in the order in which the question names them.
    scores: what each option counts, LOW to HIGH; higher = more like the person asked.
    """

    name: str
    order: str
    question: str
    options: tuple[str, ...]
    scores: tuple[float, ...]

    def ask(self, portrait: str) -> str:
        """The user turn for one portrait."""
        return self.question.replace("{portrait}", portrait)


_RATE = "{portrait} How much like you is this person? Answer with one number, from 1 (%s) to 6 (%s)."
_CHOOSE = "{portrait} Is this person like you? Answer with one letter. A: %s. B: %s."
_NUMBERS = tuple("123456")
_SCORES = tuple(map(float, _NUMBERS))

FORMS = (
    AnswerForm("rating", "rising", _RATE % ("quite unlike you", "just like you"), _NUMBERS, _SCORES),
    AnswerForm("rating", "falling", _RATE % ("just like you", "quite unlike you"), _NUMBERS, _SCORES[::-1]),
    AnswerForm("choice", "like_first", _CHOOSE % ("like me", "unlike me"), ("A", "B"), (HIGH, LOW)),
    AnswerForm("choice", "unlike_first", _CHOOSE % ("unlike me", "like me"), ("A", "B"), (LOW, HIGH)),
)
"""The 1–6 scale and the two-option form, each in both orders; averaging over orders balances them."""


def forms(name: str) -> tuple[AnswerForm, ...]:
    """Both orders of a form, `rating` or `choice`. Raises UnknownNameError."""
    found = tuple(form for form in FORMS if form.name == name)
    if not found:
        raise UnknownNameError("answer form", name, dict.fromkeys(form.name for form in FORMS))
    return found
