"""From answers to scores: a sheet of everybody's answers, its scores and parts, and intervals over items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nnvalue.errors import InvalidInputError
from nnvalue.readout.profile import ValueProfile
from nnvalue.values import POLES, SIGN, Item, Scores, score

RESAMPLES = 1000
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class Sheet:
    """Everybody's answers to all items, higher = more like them. An item that tells about two values stands twice.

    values: in the order of every `[..., value]`.
    items: one a value that an item tells about.
    units: int64 `[item]`; items of one number are one observation, such as both keyings of a pair.
    by_order: option order -> answers, float64 `[voice, item]`, NaN where none counts.
    low, high: the ends of the scale.
    """

    voices: tuple[str, ...]
    values: tuple[str, ...]
    items: tuple[Item, ...]
    units: np.ndarray
    by_order: Mapping[str, np.ndarray]
    low: float
    high: float

    @classmethod
    def of_answers(
        cls,
        answers: Sequence[Mapping[str, Any]],
        voices: Sequence[str],
        values: Sequence[str],
        scale: Sequence[float],
    ) -> Sheet:
        """The sheet of rows as `measure` makes them: voice, item, pair, order, value, keying, score."""
        items: dict[str, Item] = {}
        units: dict[str, int] = {}
        unit_of: list[int] = []
        places: dict[str, list[int]] = {}
        for row in answers:
            if row["item"] not in places:
                places[row["item"]] = []
                for value, keying in _uses(row):
                    name = f"{row['item']}/{value}"
                    places[row["item"]].append(len(items))
                    items[name] = Item(name, value, keying)
                    unit_of.append(units.setdefault(row["pair"], len(units)))
        orders = dict.fromkeys(row["order"] for row in answers)
        by_order = {order: np.full((len(voices), len(items)), np.nan) for order in orders}
        row_of = {voice: number for number, voice in enumerate(voices)}
        for row in answers:
            if row["score"] is not None:
                by_order[row["order"]][row_of[row["voice"]], places[row["item"]]] = row["score"]
        return cls(tuple(voices), tuple(values), tuple(items.values()), np.array(unit_of), by_order, *scale)

    @property
    def answers(self) -> np.ndarray:
        """The mean over the option orders, float64 `[voice, item]`; NaN unless every order was answered."""
        return np.mean(list(self.by_order.values()), axis=0)

    def score(self, answers: np.ndarray | None = None) -> Scores:
        """Scores of all answers, or of answers `[voice, item]`: centred on each voice's mean over all its items."""
        return score(self.answers if answers is None else answers, self.items, self.low, self.high).of(self.values)

    def parts(self) -> dict[str, np.ndarray]:
        """Centred scores `[voice, value]` of either option order, and of either keying where there are two."""
        found = {f"order {name}": self.score(part).centred for name, part in self.by_order.items()}
        keying = np.array([item.keying for item in self.items])
        if len(set(keying)) == 2:
            for pole in POLES:
                found[f"keying {pole}"] = self.score(np.where(keying == SIGN[pole], self.answers, np.nan)).centred
        return found

    def counts(self) -> np.ndarray:
        """Answers behind each score, int64 `[voice, value]`."""
        answered = ~np.isnan(self.answers) * len(self.by_order)
        of_value = self._of_value()
        return np.stack([answered[:, of_value == value].sum(1) for value in self.values], axis=1).astype(np.int64)

    def unit_counts(self) -> dict[str, int]:
        """Value -> how many units its items make."""
        of_value = self._of_value()
        return {value: len(np.unique(self.units[of_value == value])) for value in self.values}

    def resampled(self, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
        """Centred scores with the units of each value drawn anew, float64 `[resample, voice, value]`.

        Both keyings of a pair are drawn together, and each voice's own mean is taken anew. The draws are a function of
        the seed and of the items alone, so that two sheets of the same items are resampled alike. NaN for a value with
        a single unit: one observation has no interval.
        """
        rng = np.random.default_rng(seed)
        of_value, keying = self._of_value(), np.array([item.keying for item in self.items])
        drawn = np.zeros((resamples, len(self.items)))
        alone = []
        for value in (*self.values, None):
            places = np.flatnonzero(of_value == value)
            _, unit = np.unique(self.units[places], return_inverse=True)
            if not len(places):
                continue
            count = int(unit.max()) + 1
            drawn[:, places] = rng.multinomial(count, np.full(count, 1 / count), resamples)[:, unit]
            alone += [value] * (count == 1 and value is not None)
        answers = self.answers
        known = ~np.isnan(answers)
        recoded = np.where(known, np.where(keying > 0, answers, self.low + self.high - answers), 0.0)

        def mean(places: np.ndarray) -> np.ndarray:
            """`[resample, voice]`; NaN where nothing was drawn that is answered."""
            total, count = (drawn[:, places] @ array[:, places].T for array in (recoded, known.astype(float)))
            return np.where(count > 0, total / np.maximum(count, 1), np.nan)

        raw = np.stack([mean(of_value == value) for value in self.values], axis=-1)
        centred = raw - mean(np.ones(len(self.items), dtype=bool))[..., None]
        centred[..., [self.values.index(value) for value in alone]] = np.nan
        return centred

    def _of_value(self) -> np.ndarray:
        return np.array([item.value for item in self.items], dtype=object)


class Difference(NamedTuple):
    """What one profile has more than another; float64 `[voice, value]`, with the ends of the 95 % interval."""

    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray


def difference(profile: ValueProfile, base: ValueProfile) -> Difference:
    """How far scores of a scale moved from `base` to `profile`, with intervals over items, paired.

    Only what was answered in both counts, and both are resampled alike.

    Raises InvalidInputError for profiles of different items, voices or values, or that were not made by a scale.
    """
    sheets = [_sheet_of(one) for one in (base, profile)]
    if any(getattr(sheets[0], name) != getattr(sheets[1], name) for name in ("voices", "values", "items")):
        raise InvalidInputError("Two profiles are compared on the same voices, values and items; these differ in them.")
    both = ~np.isnan(sheets[0].answers) & ~np.isnan(sheets[1].answers)
    kept = [
        Sheet(
            each.voices, each.values, each.items, each.units,
            {name: np.where(both, part, np.nan) for name, part in each.by_order.items()}, each.low, each.high,
        )
        for each in sheets
    ]  # fmt: skip
    moved = kept[1].score().centred - kept[0].score().centred
    seed = int(base.readout["seed"])
    low, high = interval(kept[1].resampled(seed) - kept[0].resampled(seed))
    return Difference(moved, low, high)


def resampled(profile: ValueProfile) -> np.ndarray | None:
    """The profile's scores with its items drawn anew, as for its intervals; None for one that is not of a scale."""
    if profile.readout.get("kind") != "scale" or not profile.answers:
        return None
    return _sheet_of(profile).resampled(int(profile.readout["seed"]), int(profile.readout["resamples"]))


def interval(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval over the first axis; NaN, without a warning, where nothing but NaN is."""
    known = ~np.isnan(resampled).all(axis=0)
    low, high = (np.full(resampled.shape[1:], np.nan) for _ in _ENDS)
    if known.any():
        low[known], high[known] = np.nanquantile(resampled[:, known], _ENDS, axis=0)
    return low, high


def _sheet_of(profile: ValueProfile) -> Sheet:
    if profile.readout.get("kind") != "scale":
        raise InvalidInputError("A difference with an interval over items is taken between profiles of a scale.")
    return Sheet.of_answers(
        profile.answers, profile.voices, profile.values, profile.readout["instrument"]["scale"]
    )  # fmt: skip


def _uses(row: Mapping[str, Any]) -> list[tuple[str | None, int]]:
    """(value, keying) for each value that an answer's item tells about; (None, 1) for the mean's only."""
    if row["value"] is None:
        return [(None, 1)]
    return list(zip(row["value"].split(", "), (SIGN[pole] for pole in row["keying"].split(", ")), strict=True))
