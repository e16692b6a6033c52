"""`Survey`: what everybody answered to every item in every setting, and the value scores that follow from it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import canonical_json, parquet_bytes, read_folder, read_tensors, tensor_bytes, write_folder
from nnvalue.causal.scores import Context, ScoreTable
from nnvalue.causal.settings import Setting, packed, unpacked
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.values import SIGN

KIND = "survey"
_SCHEMA = 1
_POLE_OF = {sign: pole for pole, sign in SIGN.items()}


@dataclass(frozen=True)
class SurveyItem:
    """An item, for one value that it tells about.

    question: what was put; an item that tells about two values stands twice, with one question.
    keying: 1 where agreeing speaks for the value, −1 where against it.
    unit: shared by items that are one observation, such as both keyings of a pair.
    instrument: what it belongs to.
    """

    question: str
    value: str
    keying: int
    unit: str
    instrument: str = ""


@dataclass(frozen=True, eq=False)
class Survey:
    """Item scores of everybody in every setting.

    facts: JSON data: model, instrument, protocol, dataset, seed, versions, warnings; `scale` its ends.
    values: in the framework's order.
    settings: the unsteered one first.
    roles: names of those who were asked.
    items: see `SurveyItem`.
    orders: option orders; a single one where there are no options.
    scores: float32 `[setting, role, item, order]`, what was answered on the scale, higher = more like the person asked,
        as the item stands and not recoded; NaN where no answer counts.
    mass: float32, likewise: how likely the options are together; of yes and no, 1 where it is one of the two.
    """

    facts: Mapping[str, Any]
    values: tuple[str, ...]
    settings: tuple[Setting, ...]
    roles: tuple[str, ...]
    items: tuple[SurveyItem, ...]
    orders: tuple[str, ...]
    scores: np.ndarray
    mass: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.settings), len(self.roles), len(self.items), len(self.orders))
        for name in ("scores", "mass"):
            given = getattr(self, name)
            if given.shape != shape or given.dtype != np.float32:
                raise InvalidInputError(f"'{name}' of a survey must be float32 of shape {shape}; it is {given.shape}.")

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest answer."""
        low, high = self.facts["scale"]
        return float(low), float(high)

    @property
    def failed(self) -> int:
        """How many answers do not count."""
        return int(np.isnan(self.scores).sum())

    def units(self) -> dict[str, list[str]]:
        """Value -> units of its items."""
        found: dict[str, dict[str, None]] = {value: {} for value in self.values}
        for item in self.items:
            found[item.value].setdefault(item.unit)
        return {value: list(units) for value, units in found.items()}

    def value_scores(self, units: Sequence[str] | None = None) -> np.ndarray:
        """How much each value is held, uncentred; float64 `[setting, role, value]`.

        Half the distance between the mean answer to items for a value and that to items against it: saying yes to
        everything falls out, as it does not when scores are centred, which makes the matrix singular and plants
        negative correlations (facts in docs/causal.md). Of a value with items of one keying only, the distance of their
        mean from the middle of the scale, with yes-saying in it. An answer counts if it does so in every option order.

        Args:
            units: take these only; all by default. NaN for a value that has none of them.
        """
        sides = self._sides(units)
        made = np.stack([sides[:, 0], -sides[:, 1]])
        known = np.isfinite(made).sum(0)
        total = np.nansum(made, axis=0)
        return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0).transpose(1, 2, 0)

    def _sides(self, units: Sequence[str] | None = None) -> np.ndarray:
        """Mean answers above the middle of the scale, to items for and against; `[value, 2, setting, role]`."""
        answers = self.scores.mean(-1, dtype=np.float64) - sum(self.scale) / 2
        chosen = None if units is None else set(units)
        at: dict[tuple[str, int], list[int]] = {(value, keying): [] for value in self.values for keying in (1, -1)}
        for number, item in enumerate(self.items):
            if chosen is None or item.unit in chosen:
                at[item.value, item.keying].append(number)
        sides = [[_mean(answers[..., at[value, keying]]) for keying in (1, -1)] for value in self.values]
        return np.array(sides)

    def one_sided(self) -> list[str]:
        """Values whose items have one keying only, so that yes-saying stays in their scores."""
        keyings = {value: {item.keying for item in self.items if item.value == value} for value in self.values}
        return [value for value, found in keyings.items() if len(found) < 2]

    def yes_saying(self) -> np.ndarray:
        """Mean answer to items for and against a value, above the middle of the scale; float64 `[setting, role]`.

        The mean over values that were asked in both keyings; NaN where none was.
        """
        sides = self._sides()
        both = np.isfinite(sides).all(axis=(1, 2, 3))
        return sides[both].mean((0, 1)) if both.any() else np.full(sides.shape[2:], np.nan)

    def table(self, units: Sequence[str] | None = None) -> ScoreTable:
        """A row for every role and setting, as discovery takes them. Raises InvalidInputError for missing cells."""
        found = self.value_scores(units)
        contexts = tuple(
            Context(one.name, one.value if one.value in self.values else None, one.target, one.kind)
            for one in self.settings
        )
        settings, roles = np.indices(found.shape[:2])
        return ScoreTable(
            self.values, found.reshape(-1, len(self.values)), roles.ravel(), settings.ravel(), self.roles, contexts,
            one_sided=tuple(self.one_sided()),
        )  # fmt: skip

    def of(self, settings: Sequence[str] | None = None, roles: Sequence[str] | None = None) -> Survey:
        """The same survey with these settings and roles only. Raises InvalidInputError for a name that it lacks."""
        names = [setting.name for setting in self.settings]
        at = [_place(names, name, "setting") for name in (names if settings is None else settings)]
        who = [_place(self.roles, name, "role") for name in (self.roles if roles is None else roles)]
        cut = np.ix_(at, who)
        return Survey(
            self.facts, self.values, tuple(self.settings[place] for place in at),
            tuple(self.roles[place] for place in who), self.items, self.orders, self.scores[cut], self.mass[cut],
        )  # fmt: skip

    def long_table(self) -> Any:
        """A pyarrow table with a row for every setting, role, item and option order."""
        import pyarrow

        shape = self.scores.shape
        at = np.indices(shape).reshape(4, -1).astype(np.int32)

        def column(axis: int, names: Sequence[str]) -> Any:
            return pyarrow.DictionaryArray.from_arrays(at[axis], pyarrow.array(list(names), pyarrow.string()))

        columns = {
            "setting": column(0, [setting.name for setting in self.settings]), "role": column(1, self.roles),
            "value": column(2, [item.value for item in self.items]),
            "item": column(2, [item.question for item in self.items]),
            "keying": column(2, [_POLE_OF[item.keying] for item in self.items]),
            "instrument": column(2, [item.instrument for item in self.items]),
            "unit": column(2, [item.unit for item in self.items]), "order": column(3, self.orders),
            "score": pyarrow.array(self.scores.ravel(), from_pandas=True),
            "mass": pyarrow.array(self.mass.ravel(), from_pandas=True),
        }  # fmt: skip
        return pyarrow.table(columns)

    def save(self, folder: str | Path) -> Path:
        """Write a folder of JSON, parquet and a README, as a whole or not at all. Raises ArtifactError."""
        kept = [packed(setting, number) for number, setting in enumerate(self.settings)]
        head = {
            "schema": _SCHEMA, "facts": self.facts, "values": list(self.values), "roles": list(self.roles),
            "settings": [data for data, _ in kept], "orders": list(self.orders),
            "items": [asdict(item) for item in self.items],
        }  # fmt: skip
        files = {
            "survey.json": canonical_json(head),
            "steerings.safetensors": tensor_bytes({name: one for _, own in kept for name, one in own.items()}),
            "scores.parquet": parquet_bytes(self.long_table()),
            "README.md": self._card().encode(),
        }
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Survey:
        """Open a saved survey. Raises ArtifactError if it is missing, foreign, incomplete or damaged."""
        import pyarrow
        import pyarrow.parquet

        files = read_folder(Path(folder), KIND)
        try:
            head = json.loads(files["survey.json"])
            if head["schema"] != _SCHEMA:
                raise ArtifactError(f"{folder} was written by another version of nnvalue; survey again.")
            rows = pyarrow.parquet.read_table(io.BytesIO(files["scores.parquet"]), columns=["score", "mass"])
            tensors, _ = read_tensors(Path(folder) / "steerings.safetensors")
            settings = tuple(unpacked(one, number, tensors) for number, one in enumerate(head["settings"]))
            items = tuple(SurveyItem(**one) for one in head["items"])
            shape = (len(settings), len(head["roles"]), len(items), len(head["orders"]))
            arrays = [
                rows[name].to_numpy().astype(np.float32).reshape(shape) for name in ("score", "mass")
            ]  # fmt: skip
            return cls(
                head["facts"], tuple(head["values"]), settings, tuple(head["roles"]), items, tuple(head["orders"]),
                *arrays,
            )  # fmt: skip
        except (KeyError, ValueError, TypeError, AttributeError, pyarrow.ArrowException) as error:
            raise ArtifactError(f"{folder} is no whole survey ({' '.join(str(error).split())}).") from None

    def _card(self) -> str:
        asked = self.scores.size
        settings = "\n".join(
            f"| {one.name} | {one.kind} | {one.value or '—'} | {one.pole or '—'} | {one.dose:g} |"
            for one in self.settings
        )
        return _CARD.format(
            model=self.facts["model"]["name"], roles=len(self.roles), settings=len(self.settings), rows=settings,
            values=", ".join(self.values), items=len(self.items), asked=asked, failed=self.failed,
            facts=canonical_json({name: one for name, one in self.facts.items() if name != "roles"}).decode().rstrip(),
        )  # fmt: skip


def _mean(answers: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what counts; NaN where nothing does."""
    known = np.isfinite(answers)
    count = known.sum(-1)
    total = np.where(known, answers, 0).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _place(names: Sequence[str], name: str, kind: str) -> int:
    if name not in names:
        raise InvalidInputError(f"There is no {kind} '{name}' in this survey; there are {', '.join(names)}.")
    return list(names).index(name)


_CARD = """\
---
library_name: nnvalue
tags: [values, survey]
---
# A survey of {model}

{roles} roles in {settings} settings, {items} items on {values}. {asked:,} answers, {failed:,} of which do not count.
`scores.parquet` has a row for every setting, role, item and option order.

| setting | kind | value | pole | dose |
|---|---|---|---|---|
{rows}

## How it was made
```json
{facts}
```

## How to open it
```python
from nnvalue.causal import Survey, fit_graph
survey = Survey.load("this folder")
fit_graph(survey)
```
"""
