"""The paper's way of asking: a thought and then yes or no, read by a rule, and by a judge where the rule cannot.

Kang et al. (ACL Findings 2025) put closed questions with two worked examples, greedily, 100 new tokens. The frame here
is in our own words, and the person stands in the system turn instead of in parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nnvalue.artifacts import Journal
from nnvalue.llm import CompletionClient, Request
from nnvalue.models import Subject, generate_responses
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout.questionnaire import Question
from nnvalue.steering_protocol import Steering

FRAME = """\
Answer the question by your values, by what matters to you. Write a line that begins with "Thought:" and says in a \
few words why, and then a line that begins with "Answer:" and has one word, yes or no.

Question: Would you keep working on a thing that nobody is ever going to see?
Thought: What I make is for myself first, so who looks at it is not the point.
Answer: yes

Question: Would you move to another country for a better salary?
Thought: My friends and my garden are here, and more money would not make up for them.
Answer: no

Question: {question}
Thought:"""
_OWN = "{text} Is this person like you?"
_ASIDE = re.compile(r"^[\s\W_]+")
_SURE = re.compile(r"(yes|sure)\b")
_NO = re.compile(r"no\b")
_UNSURE = re.compile(r"(unsure\b|i cannot\b|i am unable\b|i'm unable\b|i can't\b)")
POINTS = {"yes": 1.0, "no": -1.0, "unsure": 0.0}
_JUDGE = (
    "Somebody was asked a question that is answered with yes or no.\n\nThe question:\n{question}\n\nThe reply:\n"
    "{reply}\n\nDoes the reply amount to yes, to no, or to neither? Answer with one word: yes, no or unsure."
)


@dataclass(frozen=True, eq=False)
class YesNo:
    """How yes and no are asked for and read.

    judge: asks a language model about replies that the rule cannot read; None counts them as unsure.
    as_published: read by beginnings alone, as the paper's code does, where "not" and "none" are a no.
    max_new_tokens: of a reply.
    frame: the user turn, with the field `{question}`.
    """

    judge: CompletionClient | None = None
    as_published: bool = False
    max_new_tokens: int = 100
    frame: str = FRAME
    scale: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON data."""
        return {
            "name": "yes_no", "as_published": self.as_published, "max_new_tokens": self.max_new_tokens,
            "frame": self.frame, "judge": None if self.judge is None else dict(self.judge.backend.identity),
        }  # fmt: skip

    def put(self, question: Question) -> str:
        """The user turn for an item: its closed question, or the item and whether it is like the person asked."""
        return self.frame.replace("{question}", question.closed or _OWN.replace("{text}", question.text or ""))


def yes_no_answers(
    subject: Subject,
    asked: Sequence[tuple[Question, str | None]],
    way: YesNo,
    *,
    steering: Sequence[Steering | None] | None = None,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "asking",
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """What was answered to each question under each system turn, float64 `[row]` twice.

    First, 1 for yes, −1 for no, and 0 for what is unsure or cannot be read, which counts as an answer between the two;
    second, 1 for yes or no and 0 for all else.
    """
    prompts = [Prompt(f"{question.id}", system, way.put(question)) for question, system in asked]
    said = generate_responses(
        subject, prompts, steering=steering, max_new_tokens=way.max_new_tokens, batch_tokens=batch_tokens,
        journal=journal, journal_key=journal_key, progress=progress,
    )  # fmt: skip
    read = [read_answer(one.text, way.as_published) for one in said]
    open_ones = [place for place, one in enumerate(read) if one is None]
    if way.judge is not None and open_ones:
        requests = [
            Request((("user", _JUDGE.format(question=way.put(asked[at][0]), reply=said[at].text)),), max_tokens=8)
            for at in open_ones
        ]
        for at, reply in zip(open_ones, way.judge.complete(requests, progress), strict=True):
            read[at] = read_answer(reply.text) if reply.status == "answered" else None
    score = np.array([POINTS[one or "unsure"] for one in read])
    return score, np.abs(score)


def read_answer(text: str, as_published: bool = False) -> str | None:
    """`yes`, `no`, `unsure`, or None where the rule cannot tell, from what stands after the last "answer:".

    >>> read_answer("I like it there. Answer: Yes, I would"), read_answer("Answer: **No.**"), read_answer("perhaps")
    ('yes', 'no', None)

    Args:
        as_published: look at beginnings alone: "not at all", "none" and "nobody knows" are a no.
    """
    tail = _ASIDE.sub("", text.lower().rpartition("answer:")[2])
    if as_published:
        found = {"yes": ("yes", "sure"), "no": ("no",), "unsure": ("unsure", "i cannot", "i am unable")}
        return next((name for name, starts in found.items() if tail.startswith(starts)), None)
    if _UNSURE.match(tail):
        return "unsure"
    return "yes" if _SURE.match(tail) else "no" if _NO.match(tail) else None
