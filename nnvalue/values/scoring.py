"""Scores of value items: the mean of a value's items, centred on the person's mean over all items (MRAT).

After the scoring sheets of Schwartz's instruments. People differ in how high they rate everything; what they value is
told by what they rate above their own mean. So that mean is subtracted, and nothing is divided by a person's spread.
Centring makes values correlate negatively whatever the answers are: noise alone looks like opposition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values.framework import Framework


@dataclass(frozen=True)
class Item:
    """One item of an instrument.

    value: the value it measures; None for one that only counts for the person's mean, as eleven of the SVS do.
    keying: +1 where agreeing speaks for the value, −1 where it speaks against it.
    """

    id: int | str
    value: str | None
    keying: int = 1

    def __post_init__(self) -> None:
        if self.keying not in (1, -1):
            raise InvalidInputError(f"The keying of item {self.id!r} must be 1 or -1, {self.keying!r} given.")


@dataclass(frozen=True, eq=False)
class Scores:
    """Value scores of people; `[...]` is whatever the answers had before their item axis. All are float64.

    values: names, in the order of the last axis of `raw` and `centred`.
    raw: `[..., value]`, mean of a value's answered items; NaN where none was answered.
    mrat: `[...]`, the person's mean over all answered items of the instrument, reverse-keyed ones recoded.
    centred: `[..., value]`, raw − mrat.
    yes_saying: `[...]`, mean of the answers as given, not recoded, minus the midpoint of the scale. Where every item
        has a partner of the other keying, values cancel in it; with one keying only it is mrat minus the midpoint.
    answered: `[...]`, share of items answered.
    left_out: how many people answered too little to be scored; their rows are NaN but for `answered`.
    """

    values: tuple[str, ...]
    raw: np.ndarray
    mrat: np.ndarray
    centred: np.ndarray
    yes_saying: np.ndarray
    answered: np.ndarray
    left_out: int

    def of(self, values: Iterable[str]) -> Scores:
        """The same scores of these values only, in this order. Raises UnknownNameError."""
        values = tuple(values)
        for value in values:
            if value not in self.values:
                raise UnknownNameError("value", value, self.values, "(in these scores)")
        places = [self.values.index(value) for value in values]
        raw, centred = self.raw[..., places], self.centred[..., places]
        return Scores(values, raw, self.mrat, centred, self.yes_saying, self.answered, self.left_out)


def score(answers: ArrayLike, items: Iterable[Item], low: float, high: float, at_least: float = 0.0) -> Scores:
    """Score answers to value items.

    Args:
        answers: numbers `[..., item]` from low to high, higher = more like me (see `recode_like_me`), NaN where
            missing. An expected answer may lie between two options.
        items: what stands along the last axis, in its order; `Instrument.items()` for a known instrument.
        low: the lowest option of the scale.
        high: the highest one; a reverse-keyed answer x counts as low + high − x.
        at_least: share of items that a person must have answered. Who did not, or answered nothing, is left out.

    Raises InvalidInputError if the items, the scale or the answers cannot be right.
    """
    items = tuple(items)
    values = _values_of(items)
    answers = _checked(answers, low, high)
    if answers.ndim == 0 or answers.shape[-1] != len(items):
        raise InvalidInputError(f"Answers must be [..., {len(items)}], one per item; their shape is {answers.shape}.")
    if not 0 <= at_least <= 1:
        raise InvalidInputError(f"at_least is a share of items from 0 to 1, {at_least!r} given.")
    answered = np.mean(~np.isnan(answers), axis=-1)
    kept = (answered >= at_least) & (answered > 0)
    answers = np.where(np.expand_dims(kept, -1), answers, np.nan)
    keying = np.array([item.keying for item in items])
    recoded = np.where(keying > 0, answers, low + high - answers)
    value_of = np.array([item.value for item in items], dtype=object)
    raw = np.stack([_mean(recoded[..., value_of == value]) for value in values], axis=-1)
    mrat = _mean(recoded)
    return Scores(
        values=values,
        raw=raw,
        mrat=mrat,
        centred=raw - np.expand_dims(mrat, -1),
        yes_saying=_mean(answers) - (low + high) / 2,
        answered=answered,
        left_out=int(np.sum(~kept)),
    )


def recode_like_me(answers: ArrayLike, low: float, high: float) -> np.ndarray:
    """Turn answers coded low = "very much like me" round, so that higher = more like me: low + high − x, `[...]`.

    The European Social Survey and many other files store 1 for "very much like me". Forgetting it turns the sign of
    every centred score and leaves every correlation as it was, so no check of structure finds it; the means do: people
    hold benevolence and universalism above their own mean, and power below it.

    Raises InvalidInputError as `score` does.
    """
    return low + high - _checked(answers, low, high)


def group_scores(scores: Scores, framework: Framework) -> dict[str, np.ndarray]:
    """Centred scores of a framework's groups: group name -> plain mean of its members' centred scores, `[...]`.

    NaN where a member is NaN. The framework says what a group consists of, and authors differ in it: openness to change
    without hedonism, say, has another correlation with conservation. So name the framework with the result.

    Raises InvalidInputError if a member was not scored.
    """
    for group in framework.groups.values():
        if missing := [member for member in group.members if member not in scores.values]:
            raise InvalidInputError(
                f"Group '{group.name}' of framework '{framework.name}' needs the value '{missing[0]}', which was not "
                f"scored; take the framework of these items."
            )
    return {name: scores.of(group.members).centred.mean(axis=-1) for name, group in framework.groups.items()}


def _values_of(items: tuple[Item, ...]) -> tuple[str, ...]:
    """The values that items measure, in order of first appearance."""
    values = tuple(dict.fromkeys(item.value for item in items if item.value is not None))
    if not values:
        raise InvalidInputError(f"There is nothing to score: {len(items)} items given, none of which measures a value.")
    ids = [item.id for item in items]
    if repeated := [one for one in dict.fromkeys(ids) if ids.count(one) > 1]:
        raise InvalidInputError(f"Item {repeated[0]!r} is given twice; an item has one value and one keying.")
    return values


def _checked(answers: ArrayLike, low: float, high: float) -> np.ndarray:
    """Answers as float64 `[...]`, NaN allowed, everything else from low to high."""
    if not (math.isfinite(low) and math.isfinite(high) and high - low >= 1):
        raise InvalidInputError(f"A scale from {low} to {high} has fewer than two options; give its ends, low first.")
    try:
        answers = np.asarray(answers, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError("Answers must be an array of numbers, with NaN where one is missing.") from None
    if np.any(outside := (answers < low) | (answers > high)):
        raise InvalidInputError(
            f"{int(outside.sum())} answers lie outside the scale from {low} to {high}, the first being "
            f"{answers[outside].flat[0]:g}; a code for 'no answer' must be NaN."
        )
    return answers


def _mean(numbers: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN, without a warning, where all is. `[..., n]` -> `[...]`."""
    count = np.sum(~np.isnan(numbers), axis=-1)
    return np.where(count > 0, np.nansum(numbers, axis=-1) / np.maximum(count, 1), np.nan)
