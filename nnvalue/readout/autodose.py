"""The largest dose that does no harm: as strong as can be while fluency lasts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError, NumericalError, UnknownNameError
from nnvalue.models import Response, Subject, generate_responses, negative_log_likelihoods
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout.fluency import repeated
from nnvalue.steering_protocol import Sampling, Steering, checked_dose

Loss = Callable[[Sequence[Response]], float]
"""Takes the responses to all prompts; the higher, the less fluent."""
_STAGE = "looking for the largest dose"


@dataclass(frozen=True)
class DoseSearch:
    """What a search for the largest dose found.

    dose: the largest dose tried whose loss is at most the limit; 0 always is one.
    loss: its loss, that is by how much the measure rose above that of dose 0.
    limit: that was given.
    most: the largest dose that was allowed.
    all_within: whether even `most` stays under the limit; then larger ones may too.
    resolution: the dose could be larger by less than this.
    monotone: whether of the tried doses none is over the limit that is weaker than one under it; the search assumes it.
    tried: a row for each dose in the order in which they were tried: dose, loss, within.
    prompts: how many were answered at each dose.
    measure: what was measured.
    steering: what it is, as it describes itself at that dose.
    """

    dose: float
    loss: float
    limit: float
    most: float
    all_within: bool
    resolution: float
    monotone: bool
    tried: tuple[Mapping[str, Any], ...]
    prompts: int
    measure: str
    steering: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {**asdict(self), "tried": [dict(row) for row in self.tried]}

    def in_words(self) -> str:
        """One sentence for a person."""
        if self.all_within:
            return f"Even dose {self.most:g} stays under the limit ({self.loss:+.3f} of {self.limit:g} {self.measure})."
        told = f"Dose {self.dose:g} is the largest under the limit ({self.loss:+.3f} of {self.limit:g} {self.measure})"
        warning = "" if self.monotone else "; the loss does not rise steadily, so look at all tried doses"
        return f"{told}, to within {self.resolution:g}{warning}."


def largest_dose(
    subject: Subject,
    steering: Steering,
    prompts: Sequence[Prompt],
    limit: float,
    *,
    most: float,
    measure: str | Loss = "log_perplexity",
    steps: int = 6,
    sampling: Sampling | None = None,
    max_new_tokens: int = 64,
    batch_tokens: int = 8192,
    progress: Progress = silent,
) -> DoseSearch:
    """The largest dose in [0, most] whose answers are no less fluent than unsteered ones by more than a limit.

    By bisection, which takes it that more dose does more harm; half of the dose found is tried at the end, so that a
    loss that is not of that kind shows. Every tried dose answers all prompts with the same noise. The prompts should be
    a development split's, such as situations of the split `locate`: on them the dose is chosen.

    Args:
        steering: at whatever dose.
        prompts: what is answered at every dose.
        limit: by how much the measure may rise above that of dose 0; at least 0.
        most: the strongest dose; below 0 it is looked for among the opposite ones.
        measure: `log_perplexity`: mean −log p of a token under the unsteered model, in nats (.7 doubles perplexity).
            Many models find their own loops likely, so look at repetition too; `repeated_4`: mean share of repeated
            runs of four words; or a function of the responses that is higher the less fluent they are, such as
            `malformed_share` makes.
        steps: halvings; the dose is found to within |most| / 2^steps.
        sampling, max_new_tokens, batch_tokens: as `generate_responses` takes them.

    Raises:
        InvalidInputError: no prompt, a limit below 0, a `most` of 0, or no step.
        UnknownNameError: a measure that there is not.
        NumericalError: a measure that is no finite number.
    """
    most = checked_dose(most)
    if not prompts or not limit >= 0 or not most or steps < 1:
        raise InvalidInputError("Give prompts, a limit of at least 0, a strongest dose other than 0, and a step.")
    name, loss = _measure(subject, measure, batch_tokens)
    settings: dict[str, Any] = {"sampling": sampling, "max_new_tokens": max_new_tokens, "batch_tokens": batch_tokens}
    measured: dict[float, float] = {}

    def risen(size: float) -> float:
        """By how much the measure rises at a dose of this size; each is measured once."""
        dose = math.copysign(size, most) if size else 0.0
        if dose not in measured:
            arm = steering.at(dose) if dose else None
            measured[dose] = float(loss(generate_responses(subject, prompts, steering=arm, **settings)))
            if not math.isfinite(measured[dose]):
                raise NumericalError(f"{name} is {measured[dose]} at dose {dose:g}; it must be finite.")
            progress(_STAGE, len(measured), steps + 3)
        return measured[dose] - measured[0.0]

    low, high = _halved(risen, abs(most), limit, steps)
    risen(low / 2)
    tried = [{"dose": dose, "loss": risen(abs(dose)), "within": risen(abs(dose)) <= limit} for dose in measured]
    within = [row["within"] for row in sorted(tried, key=lambda row: abs(row["dose"]))]
    dose = math.copysign(low, most) if low else 0.0
    return DoseSearch(
        dose, risen(low), limit, most, low == high, high - low, within == sorted(within, reverse=True), tuple(tried),
        len(prompts), name, steering.at(dose).describe(),
    )  # fmt: skip


def _halved(risen: Callable[[float], float], most: float, limit: float, steps: int) -> tuple[float, float]:
    """The largest size found within the limit and the smallest found beyond it; `most` twice if even that is within."""
    risen(0.0)
    low, high = 0.0, most
    if risen(most) <= limit:
        return most, most
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if risen(middle) <= limit else (low, middle)
    return low, high


def malformed_share(well_formed: Callable[[str], bool]) -> Loss:
    """The share of responses that a test does not pass, as a measure; for the organism with `organism_well_formed`."""

    def share_malformed(responses: Sequence[Response]) -> float:
        return float(np.mean([not well_formed(one.text) for one in responses]))

    return share_malformed


def _measure(subject: Subject, measure: str | Loss, batch_tokens: int) -> tuple[str, Loss]:
    if callable(measure):
        return getattr(measure, "__name__", type(measure).__name__), measure
    if measure not in ("log_perplexity", "repeated_4"):
        raise UnknownNameError("measure", measure, ("log_perplexity", "repeated_4"), "Or give a function of responses.")

    def log_perplexity(responses: Sequence[Response]) -> float:
        texts = [(one.prompt_ids, one.token_ids) for one in responses]
        lost = negative_log_likelihoods(subject, texts, batch_tokens=batch_tokens)[:, 0].numpy()
        return float(np.mean(lost / [len(text) for _, text in texts]))

    def repeated_4(responses: Sequence[Response]) -> float:
        return float(np.mean([repeated(one.text) for one in responses]))

    return measure, log_perplexity if measure == "log_perplexity" else repeated_4
