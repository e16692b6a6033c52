"""What everything that steers has in common, so that generation and readouts need not know who made it."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol, runtime_checkable

import torch

from nnvalue.errors import InvalidInputError
from nnvalue.prompts import Prompt

Edits = list[tuple[str, list[dict[str, Any]]]]
"""Compiled edits as `nnvalue.traces.apply_edits` takes them: sites in forward order, each with its edits."""
_HUGE = 1e38  # float32 ends soon after
SCOPES = ("answer", "decode", "all")


@runtime_checkable
class Steering(Protocol):
    """A way to move a model: by its prompt, by edits inside the trace, or by both.

    dose: the strength; 0 is the identity, bit for bit.
    """

    @property
    def dose(self) -> float:
        """The strength."""

    def at(self, dose: float) -> Steering:
        """The same at another dose. Raises InvalidInputError where it has none of that kind."""

    def speak(self, prompt: Prompt) -> Prompt:
        """The prompt that is put to the model instead."""

    def edits(self, anatomy: Any) -> Edits:
        """What is done inside the trace of a model with this anatomy; nothing at dose 0."""

    def describe(self) -> dict[str, Any]:
        """What it is and does, as JSON data, for a record of results."""

    def require_model(self, identity: Mapping[str, Any]) -> None:
        """Refuse another model than the one it was made for. Raises ModelError."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: from the softmax of logits / temperature, by noise that belongs to the prompt.

    The noise is a function of the seed, the prompt's id and the step. So one prompt draws alike in every arm and dose,
    in any batch, here or on a server, and after a resume.

    temperature: above 0.
    top_k, top_p: draw among the likeliest tokens only, as in transformers; None for all.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, Real) and math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidInputError(
                f"The temperature must be a number above 0, {self.temperature} given; leave it out to take the "
                "likeliest token."
            )
        if self.top_k is not None and not (isinstance(self.top_k, Integral) and self.top_k >= 1):
            raise InvalidInputError(f"top_k must be a whole number of at least 1, {self.top_k} given.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidInputError(f"top_p must lie above 0 and at most at 1, {self.top_p} given.")


def checked_dose(dose: float) -> float:
    """The dose as a number; raises InvalidInputError if it is none, NaN or infinite."""
    finite = isinstance(dose, Real) and not isinstance(dose, bool) and abs(dose) < _HUGE  # NaN is not
    if not finite:
        raise InvalidInputError(f"A dose is a finite number, {str(dose)[:40]} given; 0 changes nothing.")
    return float(dose)


def checked_scope(scope: Any) -> Any:
    """A scope in its plain form: a name, spans as lists, or {"text": …}. Raises InvalidInputError for anything else.

    The last takes in the tokens of a text wherever it stands in the prompt, and nothing of the answer, as the paper of
    Kang et al. (2025) steers at " your values".
    """
    if isinstance(scope, Mapping):
        text = scope.get("text")
        if set(scope) != {"text"} or not isinstance(text, str) or not text.strip():
            raise InvalidInputError(f"A scope by words is {{'text': 'your values'}}; {dict(scope)!r} given.")
        return {"text": text}
    if isinstance(scope, str):
        if scope not in SCOPES:
            raise InvalidInputError(
                f"There is no scope '{scope}'; choose answer, decode or all, or give spans of tokens as pairs "
                "(start, end)."
            )
        return scope
    try:
        spans: list[list[Any]] = [
            [operator.index(start), None if end is None else operator.index(end)] for start, end in scope
        ]
    except (TypeError, ValueError, OverflowError):
        spans = []
    if not spans or any(start < 0 or (end is not None and end <= start) for start, end in spans):
        raise InvalidInputError(
            f"Spans are pairs (start, end) of token positions, 0 the prompt's first, the end above the start or None; "
            f"{scope!r} given."
        )
    return spans


def is_identity(given: Any) -> bool:
    """Whether it says of a model all that models are told apart by, as `Subject.identity()` does."""
    keys = ("name", "family", "layers", "width", "dtype", "config_sha256", "weights_sample_sha256")
    return isinstance(given, Mapping) and all(key in given for key in keys)


def combine_edits(parts: Sequence[Edits], order: Sequence[str]) -> Edits:
    """Several parts' edits as one list; at one site they are done in the order of the parts.

    Args:
        order: all sites in forward order.
    """
    at: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for site, here in part:
            at.setdefault(site, []).extend(here)
    return [(site, at[site]) for site in sorted(at, key=order.index)]


def require_single_pass(edits: Edits) -> Edits:
    """The edits, if they do something in one forward pass, where the last position is read.

    Raises InvalidInputError for the scope `decode`, which leaves that pass as it is.
    """
    if any(edit.get("scope") == "decode" for _, here in edits for edit in here):
        raise InvalidInputError(
            "The scope 'decode' edits generated tokens only, and a single pass has none; choose answer, all or spans."
        )
    return edits


def edit_bytes(edits: Edits) -> int:
    """What the edits of one row take, in bytes, at most."""
    return sum(
        given.numel() * given.element_size()
        for _, here in edits
        for edit in here
        for given in edit.values()
        if isinstance(given, torch.Tensor)
    )


def speaks(steering: Steering) -> bool:
    """Whether it puts words before a question."""
    empty = Prompt("", None, "")
    return steering.speak(empty) != empty


def batch_edits(rows: Sequence[Edits], order: Sequence[str]) -> Edits:
    """Edits of single rows as edits of the batch; rows that edit the same neurons in the same way share one edit.

    Args:
        rows: of each row of the batch, what is done to it; amounts `[1, k]`.
    """
    alike: dict[tuple[Any, ...], list[tuple[int, dict[str, Any]]]] = {}
    kinds: dict[int, tuple[Any, ...]] = {}  # rows of one arm share their edits
    for row, edits in enumerate(rows):
        for site, here in edits:
            for number, edit in enumerate(here):
                kind = kinds.get(id(edit)) or kinds.setdefault(id(edit), _kind(edit))
                alike.setdefault((site, number, *kind), []).append((row, edit))
    at: dict[str, list[dict[str, Any]]] = {}
    for (site, *_), members in sorted(alike.items(), key=lambda item: item[0][1]):
        at.setdefault(site, []).append(_stacked(members, len(rows)))
    return [(site, at[site]) for site in sorted(at, key=order.index)]


def _kind(edit: dict[str, Any]) -> tuple[Any, ...]:
    """What two edits must share to be one with different amounts."""
    numbers = edit.get("neurons", edit.get("features"))
    same = () if numbers is None else tuple(numbers.tolist())
    probe = edit.get("probe")
    return (
        tuple(sorted(edit)), str(edit.get("scope")), edit.get("keep"), edit.get("seed"), edit.get("dictionary"), same,
        () if probe is None else tuple(probe.flatten().tolist()),
    )  # fmt: skip


def _stacked(members: Sequence[tuple[int, dict[str, Any]]], batch: int) -> dict[str, Any]:
    numbers = [row for row, _ in members]
    first = members[0][1]
    made = dict(first)
    for name, given in first.items():
        amounts = isinstance(given, torch.Tensor) and given.dim() == 2 and name != "probe"
        if amounts and any(edit[name] is not given and not torch.equal(edit[name], given) for _, edit in members):
            made[name] = torch.cat([edit[name] for _, edit in members])
    if numbers != list(range(batch)):
        made["rows"] = torch.tensor(numbers)
    return made
