"""A language model as a judge: it rates texts from 1 to 5, and the expected score counts where that can be told."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from nnvalue.errors import InvalidInputError
from nnvalue.llm import CompletionClient, Reply, Request
from nnvalue.progress import Progress, silent
from nnvalue.readout.judging import Judgement, Text, judged, not_judged, unreadable
from nnvalue.readout.rubrics import Rubrics, marker, quoted

ENOUGH_MASS = 0.5  # of the probability of an answer's first digit; below it the alternatives do not tell
TOP_LOGPROBS = 20  # as many as endpoints give
_DIGIT = re.compile(r"(?<![\w.,−-])[0-5](?![\w−-]|[.,]\d|/(?!5\b)\d)(?:\s*(?:/|out of)\s*5(?![\w.]))?")


class LLMJudge:
    """A language model that rates each text from 1 to 5 by a rubric, in the manner of G-Eval.

    The score is the expected one, Σ k p(k) / Σ p(k) over the probabilities of the digits 1 … 5 (Liu et al. 2023, arXiv
    2303.16634, "Scoring Function"), where the endpoint tells log-probabilities; else the mean of several drawn answers.
    The digit 0 stands for a text that cannot be read: it counts as one where 0 has more than half of the probability,
    or more than half of the draws. Whether log-probabilities are told is found out at the first text. Every request and
    raw answer is in the client's log; an answer without exactly one digit of 0 … 5 is a failure of that draw, and a
    text of which half of the draws or fewer can be read has failed.

    Args:
        client: asks an endpoint, a local model or a function, and asks nothing twice.
        rubrics: what is told of the values.
        samples: how many answers are drawn where there are no log-probabilities.
        temperature: at which they are drawn.
        max_tokens: room of a drawn answer; more than a digit needs, for models that must say something around it.
        name: what the judge is called; None for what the client's backend says of itself.
        log_probabilities: None to find out; False to draw in any case.

    Raises InvalidInputError for fewer than one sample, or several at temperature 0, which are all the same.
    """

    def __init__(
        self,
        client: CompletionClient,
        rubrics: Rubrics,
        *,
        samples: int = 8,
        temperature: float = 1.0,
        max_tokens: int = 16,
        name: str | None = None,
        log_probabilities: bool | None = None,
    ) -> None:
        if samples < 1 or (samples > 1 and not temperature):
            raise InvalidInputError(
                f"{samples} samples at temperature {temperature:g} make no sense; draw one, or several above 0."
            )
        self._client, self._rubrics = client, rubrics
        self._samples, self._temperature, self._max_tokens = samples, temperature, max_tokens
        self._wanted = self.log_probabilities = log_probabilities
        self.name = name or judge_name(client)

    def describe(self) -> dict[str, Any]:
        """Who it is and how it judges."""
        return {
            "kind": "language model", "name": self.name, "asked": dict(self._client.backend.identity),
            "framework": self._rubrics.framework.name, "rubrics": self._rubrics.fingerprint(),
            "samples": self._samples, "temperature": self._temperature, "log_probabilities": self._wanted,
        }  # fmt: skip

    def judge(self, texts: Sequence[Text], progress: Progress = silent) -> list[Judgement]:
        """A judgement for every text. Raises as `CompletionClient.complete`; what was answered until then is kept."""
        prompts = [self._prompt(text) for text in texts]
        made: list[Judgement | None] = [None] * len(texts)
        if texts and self.log_probabilities is not False:
            made = self._by_probability(texts, prompts, progress)
        left = [place for place, one in enumerate(made) if one is None]
        drawn = self._by_samples([texts[n] for n in left], [prompts[n] for n in left], progress)
        for place, one in zip(left, drawn, strict=True):
            made[place] = one
        return [one for one in made if one is not None]

    def _prompt(self, text: Text) -> tuple[tuple[str, str], ...]:
        mark = marker(text.question, text.answer)
        system = self._rubrics[text.value].rating(mark)
        asked = f"{quoted(mark, question=text.question, answer=text.answer)}\n\nYour digit:"
        return ("system", system), ("user", asked)

    def _by_probability(
        self, texts: Sequence[Text], prompts: Sequence[Any], progress: Progress
    ) -> list[Judgement | None]:
        """Judgements by expectation; None where the alternatives do not tell, and answers must be drawn."""
        requests = [Request(prompt, 0.0, 1, top_logprobs=TOP_LOGPROBS) for prompt in prompts]
        first: list[Reply] = []
        if self.log_probabilities is None:  # one is asked first: others would all be asked in vain
            first = self._client.complete(requests[:1])
            self._find_out(first)
            if self.log_probabilities is False:
                return [None] * len(texts)
        replies = first + self._client.complete(requests[len(first) :], progress)
        self._find_out(replies)
        return [
            self._expected(text, request.key(self._client.backend.identity), reply)
            for text, request, reply in zip(texts, requests, replies, strict=True)
        ]

    def _find_out(self, replies: Sequence[Reply]) -> None:
        """Whether log-probabilities are told; a passing trouble leaves it open."""
        for reply in replies:
            if reply.logprobs:
                self.log_probabilities = True
            elif self.log_probabilities is None and (reply.status == "answered" or _cannot_tell(reply)):
                self.log_probabilities = False

    def _expected(self, text: Text, key: str, reply: Reply) -> Judgement | None:
        if reply.status == "answered" or _cannot_tell(reply):
            found = expected_score(reply.logprobs)
            if found is None:
                return None
            score, zero, mass = found
            told = {
                "raw": (reply.text,), "keys": (key,),
                "parse": f"expected {score:.3f}, p(unreadable) {zero:.3f}, mass {mass:.3f}",
            }  # fmt: skip
            if zero > 0.5:
                return unreadable(text, "expected", self.name, **told)
            return judged(text, (score - 3) / 2, "expected", self.name, **told)
        return not_judged(text, reply.status, "expected", self.name, raw=(reply.text,), keys=(key,), parse=reply.reason)

    def _by_samples(self, texts: Sequence[Text], prompts: Sequence[Any], progress: Progress) -> list[Judgement]:
        requests = [
            Request(prompt, self._temperature, self._max_tokens, sample=sample)
            for prompt in prompts
            for sample in range(self._samples)
        ]
        replies = self._client.complete(requests, progress) if requests else []
        keys = [request.key(self._client.backend.identity) for request in requests]
        each = self._samples
        return [
            self._averaged(text, replies[at * each : (at + 1) * each], tuple(keys[at * each : (at + 1) * each]))
            for at, text in enumerate(texts)
        ]

    def _averaged(self, text: Text, replies: Sequence[Reply], keys: tuple[str, ...]) -> Judgement:
        """The mean of the draws that could be read, if these are more than half."""
        found = [parse_digit(reply.text) if reply.status == "answered" else None for reply in replies]
        digits = [digit for digit in found if digit is not None]
        statuses = Counter("unparsed" if r.status == "answered" else r.status for r in replies)
        statuses["unparsed"] -= len(digits)
        lost = [f"{count} {status}" for status, count in statuses.items() if count]
        reasons = dict.fromkeys(reply.reason for reply in replies if reply.reason)
        note = "; ".join([f"digits {' '.join(map(str, digits)) or 'none'} of {len(replies)}", *lost, *reasons])
        told = {"raw": tuple(reply.text for reply in replies), "keys": keys, "parse": note}
        if 2 * len(digits) <= len(replies):
            status = "refused" if 2 * statuses["refused"] > len(replies) else "failed"
            return not_judged(text, status, "samples", self.name, **told)
        scores = [digit for digit in digits if digit]
        if 2 * len(scores) < len(digits):
            return unreadable(text, "samples", self.name, **told)
        return judged(text, (sum(scores) / len(scores) - 3) / 2, "samples", self.name, **told)


def judge_name(client: CompletionClient) -> str:
    """What a client's backend says of itself: its model, its function, or the name of a local subject."""
    identity = client.backend.identity
    subject = identity.get("subject")
    given = identity.get("model") or identity.get("function") or (subject or {}).get("name")
    return str(given or "language model")


def expected_score(
    logprobs: Sequence[Sequence[tuple[str, float]]],
) -> tuple[float, float, float] | None:
    """The expected digit of 1 … 5, the share of 0, and the probability of all six digits, at the first digit's place.

    That place is the first whose likeliest token is a digit of 0 … 5; spellings of one digit ("4", " 4") are added up.
    None where there is no such place, or the digits among the alternatives have less than half of the probability.

    >>> expected_score([[("4", math.log(0.6)), (" 5", math.log(0.2)), ("0", math.log(0.1)), ("x", math.log(0.1))]])
    (4.25, 0.111..., 0.9...)
    """
    for place in logprobs:
        if not place or _digit_of(max(place, key=lambda top: top[1])[0]) is None:
            continue
        mass = [0.0] * 6
        for token, value in place:
            digit = _digit_of(token)
            if digit is not None and math.isfinite(value):
                mass[digit] += math.exp(min(value, 0.0))
        total, scored = sum(mass), sum(mass[1:])
        if total < ENOUGH_MASS:
            return None
        expected = sum(digit * share for digit, share in enumerate(mass)) / scored if scored else 3.0
        return expected, mass[0] / total, total
    return None


def parse_digit(text: str) -> int | None:
    """The digit of 0 … 5 that an answer gives, standing alone; None where there is none, or where there are several.

    >>> [parse_digit(text) for text in ("4", "Score: 4/5", "**2**", "10", "4.5", "from 1 to 5", "-1", "five")]
    [4, 4, 2, None, None, None, None, None]
    """
    found = {match.group()[0] for match in _DIGIT.finditer(text)}
    return int(found.pop()) if len(found) == 1 else None


def _digit_of(token: str) -> int | None:
    bare = token.strip("▁Ġ \t\n")  # as some tokenizers write a blank
    return int(bare) if len(bare) == 1 and bare in "012345" else None


def _cannot_tell(reply: Reply) -> bool:
    """Whether a request failed because log-probabilities were asked for."""
    return reply.status == "failed" and "logprob" in reply.reason.lower()
