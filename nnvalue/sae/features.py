"""`ValueFeatures`: the ranked features of an SAE that go with some values; what `locate_features` finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnvalue.artifacts import canonical_json, read_folder, read_tensors, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, UnknownNameError
from nnvalue.findings import require_same_model
from nnvalue.values import POLES, SIGN

KIND = "value-features"
SCHEMA_VERSION = 1
COLUMNS = {
    "value": np.int32,  # index into `values`
    "pole": np.int8,  # +1 or -1
    "feature": np.int32,
    "score": np.float32,
    "difference": np.float32,
    "auroc": np.float32,
    "effect_size": np.float32,
    "density_positive": np.float32,
    "density_negative": np.float32,
    "q": np.float32,
    "called": np.uint8,  # 1 or 0
    "q95": np.float32,
    "causal": np.float32,
}
MAPS = ("difference", "auroc", "effect_size", "q", "density_positive", "density_negative")


class ValueFeature(NamedTuple):
    """One row of the table, over responses under either pole's descriptions.

    score: what features are ranked by; difference: mean activation over response tokens, positive − negative; auroc:
    how well a response's mean activation tells its pole, .5 by chance; effect_size: Cohen's d over responses;
    density_…: share of response tokens on which it is active; q: false discovery rate of the paired difference over
    folds; called: q < .05; q95: 95th percentile of a response's largest activation at its pole; causal: what turning it
    up does to its value's items, NaN where that was not measured.
    """

    value: str
    pole: str
    feature: int
    score: float
    difference: float
    auroc: float
    effect_size: float
    density_positive: float
    density_negative: float
    q: float
    called: bool
    q95: float
    causal: float


@dataclass(frozen=True, eq=False)
class ValueFeatures:
    """Value features of one SAE in one model.

    values: names; columns: the table, one array a column; rows are sorted by value, pole (positive first) and strength.
    maps: of all features, float32 `[value, feature]`: `difference`, `auroc`, `effect_size`, `q`, `density_…`.
    norm: root mean square length of what the SAE reads, over response tokens: the unit of strengths.
    config: how it was made: model, SAE, dataset, settings, versions.
    """

    values: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    maps: Mapping[str, np.ndarray]
    norm: float
    config: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["value"])

    def __iter__(self) -> Iterator[ValueFeature]:
        return (self._row(place) for place in range(len(self)))

    def top(self, value: str, pole: str | None = None, n: int = 10) -> list[ValueFeature]:
        """The n strongest features of a value, of one pole or of both by |score|. Raises UnknownNameError."""
        if value not in self.values:
            raise UnknownNameError("value", value, self.values, "(in these features)")
        if pole is not None and pole not in POLES:
            raise UnknownNameError("pole", pole, POLES)
        mine = self.columns["value"] == self.values.index(value)
        if pole is not None:
            mine &= self.columns["pole"] == SIGN[pole]
        places = np.flatnonzero(mine)
        strongest = places[np.argsort(-np.abs(self.columns["score"][places]), kind="stable")]
        return [self._row(place) for place in strongest[:n]]

    def require_model(self, identity: Mapping[str, Any]) -> None:
        """Refuse another model than the one they were found in. Raises ModelError."""
        require_same_model(self.config["model"], identity)

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame([row._asdict() for row in self])

    def save(self, folder: str | Path) -> Path:
        """Write a folder of JSON, safetensors and a README, as a whole or not at all."""
        import torch

        tensors = {f"column.{name}": torch.tensor(array) for name, array in self.columns.items()}
        tensors |= {f"map.{name}": torch.tensor(array) for name, array in self.maps.items()}
        config = {"schema_version": SCHEMA_VERSION, "values": list(self.values), "norm": self.norm, **self.config}
        files = {
            "config.json": canonical_json(config), "features.safetensors": tensor_bytes(tensors),
            "README.md": self._card().encode(),
        }  # fmt: skip
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> ValueFeatures:
        """Open a folder that `save` wrote. Raises ArtifactError if it is missing, foreign, damaged or inconsistent."""
        folder = Path(folder)
        files = read_folder(folder, KIND)
        try:
            config = json.loads(files["config.json"])
            values, norm, version = (config.pop(name) for name in ("values", "norm", "schema_version"))
            tensors, _ = read_tensors(folder / "features.safetensors")
            columns = {name: tensors[f"column.{name}"].numpy() for name in COLUMNS}
            maps = {name: tensors[f"map.{name}"].numpy() for name in MAPS}
            count, shape = len(columns["value"]), (len(values), maps["difference"].shape[1])
            sound = (
                version == SCHEMA_VERSION and all(columns[name].shape == (count,) for name in COLUMNS)
                and all(columns[name].dtype == kind for name, kind in COLUMNS.items())
                and all(one.shape == shape for one in maps.values()) and norm > 0
                and (not count or (columns["value"].max() < len(values) and columns["feature"].min() >= 0))
                and (not count or columns["feature"].max() < shape[1])
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{folder} holds no value features ({' '.join(str(error).split())}).") from None
        if not sound:
            raise ArtifactError(f"{folder} holds features that contradict themselves; nnvalue did not write it.")
        return cls(tuple(values), columns, maps, float(norm), config)

    def _row(self, place: int) -> ValueFeature:
        given = {name: self.columns[name][place].item() for name in COLUMNS}
        given["value"] = self.values[given["value"]]
        given["pole"] = POLES[0] if given["pole"] > 0 else POLES[1]
        given["called"] = bool(given["called"])
        return ValueFeature(**given)

    def _card(self) -> str:
        rows = "\n".join(
            f"| {one.value} | {one.pole} | {one.feature} | {one.score:+.2f} | {one.auroc:.2f} | {one.q:.0e} |"
            for value in self.values
            for pole in POLES
            for one in self.top(value, pole, 5)
        )
        config = canonical_json(dict(self.config)).decode().rstrip()
        return _CARD.format(model=self.config["model"]["name"], rows=rows, config=config)


_CARD = """\
---
library_name: nnvalue
tags: [values, interpretability, sae]
---
# Value features of {model}

| value | pole | feature | score | AUROC | q |
|---|---|---|---|---|---|
{rows}

## How they were found
```json
{config}
```

## How to open them
```python
from nnvalue.sae import ValueFeatures
ValueFeatures.load("this folder").to_pandas()
```
"""
