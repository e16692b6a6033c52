"""A second way to judge: not how much, but which of two texts more, an answer or an anchor of known place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import expit

from nnvalue.dataset import ValueInsight
from nnvalue.errors import DatasetError, InvalidInputError
from nnvalue.llm import CompletionClient, Reply, Request
from nnvalue.progress import Progress, silent
from nnvalue.readout.judging import Judgement, Text, judged, not_judged, unreadable
from nnvalue.readout.rating import judge_name
from nnvalue.readout.rubrics import Rubrics, marker, quoted
from nnvalue.values import POLES, SIGN, load_framework

_LETTER = re.compile(r"\W*(?:(?:answer|text|choice)\W+)?([AB0])\W*", re.IGNORECASE)
SLOPE, PRIOR = 2.0, 1.0


@dataclass(frozen=True)
class Anchor:
    """A text whose place is known: its level is −1 … 1, the stance that it takes."""

    text: str
    level: float


def sentence_anchors(
    edition: ValueInsight, values: Sequence[str], pairs: int = 2, split: str = "locate"
) -> dict[str, tuple[Anchor, ...]]:
    """Anchors of values or groups from the dataset's pairs of sentences: at 1 and −1, `pairs` of each.

    Of a group they are its members', in turn. Raises DatasetError where there are too few.
    """
    framework = load_framework(edition.framework)
    rows = [row for row in edition.sentences if row["split"] == split]
    made = {}
    for name in map(framework.resolve, values):
        own = [[row for row in rows if row["value"] == member] for member in framework.members(name)]
        turns = [some[turn] for turn in range(max(map(len, own))) for some in own if turn < len(some)]
        if len(turns) < pairs or pairs < 1:
            raise DatasetError(
                f"{pairs} pairs of sentences asked for, but {edition.name} has {len(turns)} of '{name}' in its "
                f"'{split}' split; ask for 1 to that many."
            )
        made[name] = tuple(Anchor(row[pole], SIGN[pole]) for row in turns[:pairs] for pole in POLES)
    return made


class RankingJudge:
    """A language model that says which of two texts holds the value more: the answer, or an anchor.

    Every anchor is compared in both orders, so that a liking for the first text cancels out. The answer's place on the
    anchors' scale is a Bradley-Terry fit (see `position`), its stance that place, cut to −1 … 1. A comparison without
    one letter for an answer has failed; where half of them or more did, the text has. Where more than half of the
    comparisons say that there is no readable text, it is the answer that is not.

    Args:
        client, rubrics: as `LLMJudge` takes them.
        anchors: value or group -> its anchors, of two levels at least.
        slope, prior: see `position`.
        name: what the judge is called; None for what the client's backend says of itself.

    Raises InvalidInputError for anchors of one level, or a level outside −1 … 1.
    """

    def __init__(
        self,
        client: CompletionClient,
        rubrics: Rubrics,
        anchors: Mapping[str, Sequence[Anchor]],
        *,
        slope: float = SLOPE,
        prior: float = PRIOR,
        name: str | None = None,
    ) -> None:
        self._anchors = {rubrics.framework.resolve(value): tuple(given) for value, given in anchors.items()}
        for value, given in self._anchors.items():
            levels = {anchor.level for anchor in given}
            if len(levels) < 2 or any(not -1 <= level <= 1 for level in levels):
                raise InvalidInputError(f"Anchors of '{value}' need two levels at least, between -1 and 1.")
        self._client, self._rubrics, self._slope, self._prior = client, rubrics, slope, prior
        self.name = f"{name or judge_name(client)}, ranking"

    def describe(self) -> dict[str, Any]:
        """Who it is and how it judges."""
        return {
            "kind": "language model, ranking", "name": self.name, "asked": dict(self._client.backend.identity),
            "framework": self._rubrics.framework.name, "rubrics": self._rubrics.fingerprint(),
            "anchors": {value: [vars(one) for one in given] for value, given in self._anchors.items()},
            "slope": self._slope, "prior": self._prior,
        }  # fmt: skip

    def judge(self, texts: Sequence[Text], progress: Progress = silent) -> list[Judgement]:
        """A judgement for every text. Raises as `CompletionClient.complete`; InvalidInputError without anchors."""
        asked = [self._comparisons(text) for text in texts]
        replies = iter(self._client.complete([request for some in asked for request, _, _ in some], progress))
        return [
            self._placed(text, some, [next(replies) for _ in some]) for text, some in zip(texts, asked, strict=True)
        ]

    def _comparisons(self, text: Text) -> list[tuple[Request, Anchor, str]]:
        """Request, anchor, and the letter that the answer has in it."""
        anchors = self._anchors.get(self._rubrics.framework.resolve(text.value))
        if anchors is None:
            raise InvalidInputError(f"There are no anchors of '{text.value}'; give the judge some.")
        made = []
        for anchor in anchors:
            for own in "AB":
                a, b = (text.answer, anchor.text) if own == "A" else (anchor.text, text.answer)
                mark = marker(a, b)
                system = self._rubrics[text.value].choice(mark)
                prompt = ("system", system), ("user", f"{quoted(mark, a=a, b=b)}\n\nYour letter:")
                made.append((Request(prompt, 0.0, 4), anchor, own))
        return made

    def _placed(self, text: Text, asked: Sequence[tuple[Request, Anchor, str]], replies: Sequence[Reply]) -> Judgement:
        letters = [parse_letter(reply.text) if reply.status == "answered" else None for reply in replies]
        results = [
            (anchor.level, letter == own)
            for (_, anchor, own), letter in zip(asked, letters, strict=True)
            if letter in ("A", "B")
        ]
        zeros, refused = letters.count("0"), sum(reply.status == "refused" for reply in replies)
        counts = Counter(reply.reason for reply in replies if reply.reason)
        told = {
            "raw": tuple(reply.text for reply in replies),
            "keys": tuple(request.key(self._client.backend.identity) for request, _, _ in asked),
        }
        note = f"{sum(won for _, won in results)} of {len(results)} won, {zeros} unreadable, "
        note += "; ".join([f"{letters.count(None)} failed or refused", *counts])
        if 2 * letters.count(None) >= len(letters):
            status = "refused" if 2 * refused >= len(letters) else "failed"
            return not_judged(text, status, "ranking", self.name, parse=note, **told)
        if 2 * zeros > len(letters) - letters.count(None):
            return unreadable(text, "ranking", self.name, parse=note, **told)
        place = position(results, slope=self._slope, prior=self._prior)
        return judged(text, place, "ranking", self.name, parse=f"{note}; place {place:+.3f}", **told)


def position(results: Sequence[tuple[float, bool]], *, slope: float = SLOPE, prior: float = PRIOR) -> float:
    """The likeliest place of a text among anchors of known places.

    A text at θ is preferred to an anchor at level a with probability σ(slope · (θ − a)): the model of R. A. Bradley and
    M. E. Terry (1952), *Rank analysis of incomplete block designs*, Biometrika 39, 324–345, in logits. θ maximises the
    likelihood times a normal prior around 0, so that it is finite when the text wins always: it solves
    slope · Σ (won − σ(slope · (θ − a))) = θ / prior².

    Args:
        results: for each comparison the anchor's level and whether the text was preferred.
        slope: how surely a step of 1 is seen, in logits.
        prior: standard deviation of places.

    >>> position([(0.0, True), (0.0, False)])
    0.0
    """
    if slope <= 0 or prior <= 0:
        raise InvalidInputError(f"Slope and prior must be above 0; {slope} and {prior} given.")

    def pull(place: float) -> float:
        missing = (won - expit(slope * (place - level)) for level, won in results)
        return slope * sum(missing) - place / prior**2

    # The pull falls steadily; beyond these ends it points inwards, as no comparison pulls by more than the slope.
    high = slope * len(results) * prior**2
    low = -high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if pull(middle) > 0 else (low, middle)
    return round(float(low + high) / 2, 12) + 0.0


def parse_letter(text: str) -> str | None:
    """A, B, or 0 where an answer is that and nothing else; None otherwise.

    >>> [parse_letter(text) for text in ("A", "**b**.", "Text B", "A text", "both", "0")]
    ['A', 'B', 'B', None, None, '0']
    """
    match = _LETTER.fullmatch(text)
    return match[1].upper() if match else None
