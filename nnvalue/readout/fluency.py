"""Is it still language: perplexity under the unsteered model, repetition, and whether a text is whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.models import Response, Subject, negative_log_likelihoods
from nnvalue.organism import parse
from nnvalue.readout.bootstrap import mean_interval


@dataclass(frozen=True)
class TextFluency:
    """The fluency of one text.

    tokens: generated ones, with the stop token if one ended it.
    log_perplexity: mean −log p of them under the unsteered model after the text's own prompt, in nats; None where there
        is no token.
    distinct_2: share of its pairs of neighbouring words that are different ones; None with fewer than two words.
    repeated_4: share of its runs of four words that came before in it; 0 with fewer than four.
    finished: whether a stop token ended it.
    well_formed: whether the language's own test passes it; None where there is none.
    """

    prompt_id: str
    tokens: int
    log_perplexity: float | None
    distinct_2: float | None
    repeated_4: float
    finished: bool
    well_formed: bool | None = None

    @property
    def failed(self) -> bool:
        """Whether it is no text at all (fewer than two words), or fails the language's own test."""
        return self.distinct_2 is None or self.well_formed is False


@dataclass(frozen=True)
class Fluency:
    """The fluency of several texts; intervals are 95 % bootstraps over texts, NaN of a single one.

    n, failures: texts, and how many of them failed (see `TextFluency.failed`); these stay in every figure.
    perplexity: e to the mean of log-perplexities, with low and high. Over the texts that have a token.
    log_perplexity: that mean.
    distinct_2: mean; a text with fewer than two words counts as 0.
    repeated_4: mean.
    finished, well_formed: shares; the latter None without a test.
    texts: one each.
    """

    n: int
    failures: int
    perplexity: tuple[float, float, float]
    log_perplexity: float
    distinct_2: tuple[float, float, float]
    repeated_4: tuple[float, float, float]
    finished: float
    well_formed: tuple[float, float, float] | None
    resamples: int
    seed: int
    texts: tuple[TextFluency, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All figures but those of single texts, as JSON data."""
        return {name: figure for name, figure in asdict(self).items() if name != "texts"}


def measure_fluency(
    subject: Subject,
    responses: Sequence[Response],
    *,
    well_formed: Callable[[str], bool] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    batch_tokens: int = 8192,
) -> Fluency:
    """How fluent responses are, however they were come by: those of a steered model are read by the unsteered one.

    Args:
        subject: the model as it is.
        responses: with the prompts as the model saw them, the words of a steering by prompts among them.
        well_formed: a test of a text; for the embedded organism `organism_well_formed`.

    Raises InvalidInputError where there are none.
    """
    if not responses:
        raise InvalidInputError("Fluency is measured on one response at least; none given.")
    some = [one for one in responses if len(one.token_ids)]
    lost = iter(
        negative_log_likelihoods(subject, [(one.prompt_ids, one.token_ids) for one in some], batch_tokens=batch_tokens)[
            :, 0
        ].tolist()
    )
    texts = [
        TextFluency(
            one.prompt_id, len(one.token_ids), next(lost) / len(one.token_ids) if len(one.token_ids) else None,
            distinct([one.text]), repeated(one.text), one.finished, well_formed(one.text) if well_formed else None,
        )
        for one in responses
    ]  # fmt: skip
    return summarise(texts, resamples, seed)


def summarise(texts: Sequence[TextFluency], resamples: int = 2000, seed: int = 0) -> Fluency:
    """Figures of several texts."""

    def mean(values: Sequence[float]) -> tuple[float, float, float]:
        if not values:
            return math.nan, math.nan, math.nan
        return float(np.mean(values)), *mean_interval(values, range(len(values)), resamples, seed)

    lost = mean([text.log_perplexity for text in texts if text.log_perplexity is not None])
    whole = [text.well_formed for text in texts if text.well_formed is not None]
    perplexity = math.exp(lost[0]), math.exp(lost[1]), math.exp(lost[2])
    return Fluency(
        len(texts), sum(text.failed for text in texts), perplexity, lost[0],
        mean([text.distinct_2 or 0.0 for text in texts]), mean([text.repeated_4 for text in texts]),
        float(np.mean([text.finished for text in texts])), mean(whole) if whole else None, resamples, seed,
        tuple(texts),
    )  # fmt: skip


def distinct(texts: Sequence[str], n: int = 2) -> float | None:
    """Share of the texts' runs of n words that are different ones, all texts together; None where there is no run.

    distinct-n of J. Li et al. 2016, arXiv 1510.03055, over runs instead of words. Words are what blanks part, in small
    letters.

    >>> distinct(["to be or not to be"])
    0.8
    """
    runs = [run for text in texts for run in _runs(text, n)]
    return len(set(runs)) / len(runs) if runs else None


def repeated(text: str, n: int = 4) -> float:
    """Share of a text's runs of n words that came before in it: 1 − different ones / all; 0 where there is no run.

    >>> repeated("so it goes on so it goes on and on"), repeated("a short one")
    (0.125, 0.0)
    """
    found = distinct([text], n)
    return 0.0 if found is None else 1 - found


def organism_well_formed(text: str) -> bool:
    """Whether the grammar of the embedded organism can produce the text."""
    return parse(text).well_formed


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
