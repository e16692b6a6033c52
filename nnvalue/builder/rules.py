"""What every text of an edition obeys, whoever wrote it. The rules about words are for English."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from nnvalue.dataset.checks import ALIKE, NEGATION, ONE_SIDED, four_grams

WORDS = {"situations": (13, 46), "descriptions": (12, 30), "sentences": (5, 20), "portraits": (7, 24)}
"""Fewest and most words of a text."""
LONGEST_GAP = {"descriptions": 4, "sentences": 1, "portraits": 4}
"""Words by which the two texts of a pair may differ in length."""
MOST_CHANGED = 4  # words of a sentence that its partner does not have
LETTERS_A_WORD = 3  # in writing without blanks between words
ARTICLE = re.compile(
    r"\b[Aa] (?!one|once|eu|u[nst][ieu])[aeiou]\w*|\b[Aa]n (?!hour|heir|honest|honour)[bcdfghjklmnpqrstvwxyz]\w*"
)
_STRAY = re.compile(r"\s{2}|^\s|\s$|[{}|]")
_BLANK_BEFORE = re.compile(r"\s[.,?!]")  # French has one there
_QUESTION = ("?", "？", "؟", "፧")
_QUESTION_ELSEWHERE = (";", "\u037e")  # of Greek
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese, whose words have no blanks between them."""


def length(text: str) -> int:
    """How many words a text has; of writing without blanks between them, a third of its letters."""
    unspaced = len(_UNSPACED.findall(text))
    if not unspaced:
        return len(text.split())
    return len(re.findall(r"\w+", _UNSPACED.sub(" ", text))) + max(1, round(unspaced / LETTERS_A_WORD))


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[\w']+", text.lower())


def text_fault(text: str, kind: str, english: bool = True) -> str | None:
    """What is wrong with one text of a table, or None."""
    low, high = WORDS[kind]
    if not low <= length(text) <= high:
        return f"{length(text)} words, {low} to {high} allowed"
    # What a model says may hold a terminal's control codes.
    if _STRAY.search(text) or (english and _BLANK_BEFORE.search(text)) or not text.isprintable():
        return "stray blanks or marks"
    if kind == "situations" and not text.endswith(_QUESTION if english else _QUESTION + _QUESTION_ELSEWHERE):
        return "does not end with a question"
    if english and (found := ONE_SIDED.search(text)):
        return f"praises or blames ('{found.group()}')"
    if english and (found := ARTICLE.search(text)):
        return f"a/an ('{found.group()}')"
    return None


def pair_fault(positive: str, negative: str, kind: str, english: bool = True) -> str | None:
    """What is wrong with the two texts of a pair, or None."""
    for text in (positive, negative):
        if fault := text_fault(text, kind, english):
            return fault
        if english and (found := NEGATION.search(text)):
            return f"a negation ('{found.group()}')"
    if positive == negative:
        return "both texts are the same"
    if abs(length(positive) - length(negative)) > LONGEST_GAP[kind]:
        return f"lengths differ by more than {LONGEST_GAP[kind]} words"
    if kind == "sentences" and not _UNSPACED.search(positive):
        shared = sum((Counter(words(positive)) & Counter(words(negative))).values())
        longer = max(len(words(positive)), len(words(negative)))
        if shared < 0.5 * longer or longer - shared > MOST_CHANGED:
            return "the two share too few of their words"
    return None


class Likeness:
    """Finds texts that share too many of their word 4-grams with one that was taken before."""

    def __init__(self, share: float = ALIKE) -> None:
        self._share = share
        self._taken: list[frozenset[tuple[str, ...]]] = []
        self._held: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def is_like_another(self, text: str) -> bool:
        """Whether the text shares more than the allowed part of the shorter one's 4-grams with a taken one."""
        own = four_grams(text)
        met = Counter(number for gram in own for number in self._held.get(gram, ()))
        return any(count > self._share * min(len(own), len(self._taken[number])) for number, count in met.items())

    def take(self, text: str) -> None:
        """Count the text among those that later ones are held against."""
        own = four_grams(text)
        for gram in own:
            self._held[gram].append(len(self._taken))
        self._taken.append(own)
