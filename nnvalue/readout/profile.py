"""`ValueProfile`: how much a model holds each value, as one readout saw it; what every readout gives."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnvalue.artifacts import canonical_json, parquet_bytes, read_folder, read_tensors, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from datasets import Dataset

KIND = "profile"
SCHEMA_VERSION = 1
OUTCOMES = ("answered", "refused", "failed")
"""What becomes of a question: an answer that counts, a refusal, or nothing that can be read."""
_FLOATS = ("scores", "low", "high")


@dataclass(frozen=True, eq=False)
class ValueProfile:
    """Value scores of everybody who was asked, by one readout. Arrays are `[voice, value]`.

    readout: what was asked and how, as JSON data: instrument or judge, forms, split, number of items, `steering`, which
        tells its scope, or None, model, dataset, seed, versions; `circle` names the values in order, if they have one.
    framework: name of the value theory.
    voices: who was asked: `neutral`, ids of roles, or names of the user's own.
    scores: float64; higher = holds the value more. Of scales, centred on the voice's own mean over all its answers; of
        judged text, mean stances as they are (`readout["centred"]` is False). NaN where no answer counts.
    low, high: float64, ends of the 95 % interval.
    n: int64, answers behind each score.
    outcomes: how many questions were `answered`, `refused` and `failed`; together, how many were asked.
    parts: name -> float64, the same scores from one part of the answers only, e.g. `order rising`, `keying negative`.
    answers: a row for each question: voice, item, value, score and whatever else the readout tells of it.
    """

    readout: Mapping[str, Any]
    framework: str
    voices: tuple[str, ...]
    values: tuple[str, ...]
    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    outcomes: Mapping[str, int]
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    answers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.voices), len(self.values))
        arrays = {name: getattr(self, name) for name in (*_FLOATS, "n")} | dict(self.parts)
        for name, array in arrays.items():
            kind = np.int64 if name == "n" else np.float64
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape != shape:
                raise InvalidInputError(f"'{name}' of a profile must be {np.dtype(kind).name} of shape {shape}.")
        if len(set(self.voices)) != len(self.voices) or len(set(self.values)) != len(self.values):
            raise InvalidInputError("A profile names every voice and every value once.")
        if set(self.outcomes) != set(OUTCOMES):
            raise InvalidInputError(f"The outcomes of a profile are counts of {', '.join(OUTCOMES)}.")

    @property
    def asked(self) -> int:
        """How many questions were put."""
        return sum(self.outcomes.values())

    def of(self, values: Iterable[str]) -> ValueProfile:
        """The same profile with these values only, in this order; answers are kept. Raises UnknownNameError."""
        values = tuple(values)
        for value in values:
            if value not in self.values:
                raise UnknownNameError("value", value, self.values, "(in this profile)")
        places = [self.values.index(value) for value in values]
        arrays = {name: getattr(self, name)[:, places] for name in (*_FLOATS, "n")}
        parts = {name: part[:, places] for name, part in self.parts.items()}
        return replace(self, values=values, parts=parts, **arrays)

    def to_pandas(self) -> Any:
        """A row for each voice and value as a pandas DataFrame: voice, value, score, low, high, n and the parts."""
        import pandas

        rows = [
            {
                "voice": voice, "value": value, "score": self.scores[place], "low": self.low[place],
                "high": self.high[place], "n": self.n[place],
                **{name: part[place] for name, part in self.parts.items()},
            }
            for voice, value, place in self._cells()
        ]  # fmt: skip
        return pandas.DataFrame(rows)

    def answers_table(self) -> Dataset:
        """The answers as a `datasets.Dataset`."""
        from datasets import Dataset

        return Dataset(_table(self.answers))

    def save(self, folder: str | Path) -> Path:
        """Write a folder of JSON, safetensors, parquet and a README; as a whole or not at all.

        An earlier profile at the same place is replaced; anything else is refused with an ArtifactError.
        """
        import torch

        arrays = {name: getattr(self, name) for name in (*_FLOATS, "n")}
        arrays |= {f"part.{name}": part for name, part in self.parts.items()}
        facts = {
            "schema_version": SCHEMA_VERSION, "readout": self.readout, "framework": self.framework,
            "voices": list(self.voices), "values": list(self.values), "outcomes": dict(self.outcomes),
            "parts": list(self.parts),
        }  # fmt: skip
        files = {
            "profile.json": canonical_json(facts),
            "scores.safetensors": tensor_bytes({name: torch.tensor(array) for name, array in arrays.items()}),
            "answers.parquet": parquet_bytes(_table(self.answers)),
            "README.md": self._card().encode(),
        }
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> ValueProfile:
        """Open a saved profile. Raises ArtifactError if it is missing, foreign, incomplete, damaged or inconsistent."""
        import pyarrow
        import pyarrow.parquet

        folder = Path(folder)
        files = read_folder(folder, KIND)
        if missing := {"profile.json", "scores.safetensors", "answers.parquet"} - set(files):
            raise ArtifactError(f"{folder} is incomplete: {min(missing)} is missing.")
        tensors, _ = read_tensors(folder / "scores.safetensors")
        try:
            facts = json.loads(files["profile.json"])
            if facts["schema_version"] != SCHEMA_VERSION:
                raise ArtifactError(
                    f"{folder} has schema version {facts['schema_version']}; this nnvalue reads {SCHEMA_VERSION}."
                )
            arrays = {name: tensors[name].numpy() for name in (*_FLOATS, "n")}
            return cls(
                facts["readout"], facts["framework"], tuple(facts["voices"]), tuple(facts["values"]), **arrays,
                outcomes=facts["outcomes"], parts={name: tensors[f"part.{name}"].numpy() for name in facts["parts"]},
                answers=pyarrow.parquet.read_table(io.BytesIO(files["answers.parquet"])).to_pylist(),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, pyarrow.ArrowException) as error:
            raise ArtifactError(
                f"{folder} holds no profile of nnvalue, or one that contradicts itself: {error}"
            ) from None

    def _cells(self) -> list[tuple[str, str, tuple[int, int]]]:
        return [
            (voice, value, (row, column))
            for row, voice in enumerate(self.voices)
            for column, value in enumerate(self.values)
        ]

    def _card(self) -> str:
        """The README of a saved profile."""
        rows = [
            f"| {voice} | {value} | {self.scores[at]:+.2f} | {self.low[at]:+.2f} to {self.high[at]:+.2f} "
            f"| {self.n[at]} |"
            for voice, value, at in self._cells()
        ]
        return _CARD.format(
            framework=self.framework,
            centred=_CENTRED[self.readout.get("centred") is not False],
            rows="\n".join(rows),
            asked=self.asked,
            outcomes=", ".join(f"{self.outcomes[name]:,} {name}" for name in OUTCOMES),
            readout=canonical_json(self.readout).decode().rstrip(),
        )


_CENTRED = {
    True: "each centred on the mean of all answers of who was asked: above 0 is held more than the rest",
    False: "as they are: 1 holds the value, −1 its opposing aspect, 0 is neither",
}
_CARD = """\
---
library_name: nnvalue
tags: [values, measurement]
---
# A value profile

Scores on the values of the framework `{framework}`, {centred}. Intervals are 95 %. {asked:,} questions: {outcomes}.

| who | value | score | interval | answers |
|---|---|---|---|---|
{rows}

## How it was measured
```json
{readout}
```

## How to open it
```python
from nnvalue import ValueProfile
profile = ValueProfile.load("this folder")
profile.to_pandas()
profile.answers_table()
```
"""


def _table(answers: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a pyarrow table with every column that any row has."""
    import pyarrow

    names = dict.fromkeys(name for row in answers for name in row)
    return pyarrow.table({name: pyarrow.array([row.get(name) for row in answers]) for name in names})
