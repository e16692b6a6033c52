"""`ValueNeurons`: the ranked, signed neurons of some values, what the locator writes and everything later reads."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnvalue.artifacts import canonical_json, read_folder, read_tensors, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, ModelError, UnknownNameError
from nnvalue.values import POLES

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

KIND = "value-neurons"
SCHEMA_VERSION = 4
_COLUMNS = {
    "value": np.int32,  # index into `values`
    "pole": np.int8,  # +1 or -1
    "layer": np.int32,
    "neuron": np.int32,
    "score": np.float32,
    "delta": np.float32,
    "firing_positive": np.float32,
    "firing_negative": np.float32,
    "effect_size": np.float32,
    "q": np.float32,
    "called": np.uint8,  # 1 or 0
    "q95": np.float32,
}
_MAPS = {
    "score": np.float32,
    "firing_positive": np.float32,
    "firing_negative": np.float32,
    "mean_positive": np.float32,
    "mean_negative": np.float32,
    "sd_positive": np.float32,
    "sd_negative": np.float32,
    "effect_size": np.float32,
    "q": np.float32,
    "called": np.uint8,
}
_MORE_MAPS = {"score_prompt": np.float32, "score_text": np.float32}  # of a crossed run


class ValueNeuron(NamedTuple):
    """One row of the table; tokens and site are those that the method reads.

    score is the method's, by which neurons are ranked; delta = firing_positive − firing_negative, the shares of counted
    tokens with activation > 0 under each pole; effect_size is Cohen's d over tokens; q the false discovery rate at
    which the neuron's paired difference passes, 1 where there is no test; called whether |score| is above the A/A bar
    as well; q95 the neuron's exact 95th percentile over its pole's own responses.
    """

    value: str
    pole: str
    layer: int
    neuron: int
    score: float
    delta: float
    firing_positive: float
    firing_negative: float
    effect_size: float
    q: float
    called: bool
    q95: float


@dataclass(frozen=True, eq=False)
class ValueNeurons:
    """Value neurons of one model.

    values: names of the values, in the order of the maps.
    columns: the table, one numpy array a column; rows are sorted by value, pole (positive first) and strength.
    maps: for all neurons and not only the selected ones, `[value, layer, neuron]`: float32 `score`; `firing_…`,
        `mean_…` and `sd_…` of either pole (`positive`, `negative`), over the tokens that the method reads;
        `effect_size` and `q`; and uint8 `called`; of a crossed run also float32 `score_prompt` and `score_text`, the
        score under one text with both prompts, and under one prompt with both texts.
    config: how it was made: model, dataset, settings, versions, counts.
    responses: the responses it was counted on, as the bytes of a parquet file; None if not kept.
    """

    values: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    maps: Mapping[str, np.ndarray]
    config: Mapping[str, Any]
    responses: bytes | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.columns["value"])

    def __iter__(self) -> Iterator[ValueNeuron]:
        return (self._row(place) for place in range(len(self)))

    @property
    def layers(self) -> int:
        """Number of layers of the model."""
        return self.maps["firing_positive"].shape[1]

    @property
    def width(self) -> int:
        """Neurons in each layer of the model."""
        return self.maps["firing_positive"].shape[2]

    @property
    def delta(self) -> np.ndarray:
        """δ = p(+) − p(−) of all neurons, float32 `[value, layer, neuron]`."""
        return self.maps["firing_positive"] - self.maps["firing_negative"]

    def top(self, value: str, pole: str | None = None, n: int = 10) -> list[ValueNeuron]:
        """The n strongest neurons of a value, of one pole or of both by |score|. Raises UnknownNameError."""
        places = self.places(value, pole)
        strongest = places[np.argsort(-np.abs(self.columns["score"][places]), kind="stable")]
        return [self._row(place) for place in strongest[:n]]

    def by_layer(self, value: str, pole: str | None = None) -> np.ndarray:
        """How many of a value's neurons lie in each layer, int64 `[layer]`."""
        return np.bincount(self.columns["layer"][self.places(value, pole)], minlength=self.layers)

    def indices(self, value: str, pole: str | None = None) -> np.ndarray:
        """(layer, neuron) of a value's neurons, strongest first within a pole, int32 `[k, 2]`."""
        places = self.places(value, pole)
        return np.stack((self.columns["layer"][places], self.columns["neuron"][places]), axis=1)

    def overlap(self, pole: str | None = None) -> np.ndarray:
        """Jaccard overlap of the values' neuron sets, float64 `[value, value]`; two empty sets overlap by 0.

        Args:
            pole: compare only this pole's neurons; None takes (layer, neuron, pole) together as the elements.
        """
        sets = [
            {(*map(int, pair), one) for one in ((pole,) if pole else POLES) for pair in self.indices(value, one)}
            for value in self.values
        ]
        shared = [[len(a & b) / max(1, len(a | b)) for b in sets] for a in sets]
        return np.array(shared)

    def of(self, values: Iterable[str]) -> ValueNeurons:
        """The same result with some of its values only, in its own order. Raises UnknownNameError."""
        places = np.unique(np.array([self._index(value) for value in values], np.int64))
        kept = np.isin(self.columns["value"], places)
        columns = {name: column[kept] for name, column in self.columns.items()}
        columns["value"] = np.searchsorted(places, columns["value"]).astype(np.int32)
        maps = {name: array[places] for name, array in self.maps.items()}
        names = tuple(self.values[place] for place in places)
        return ValueNeurons(names, columns, maps, self.config, self.responses)

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame, with names for value and pole."""
        import pandas

        return pandas.DataFrame(list(self), columns=ValueNeuron._fields)

    def require_model(self, identity: Mapping[str, Any]) -> None:
        """Refuse another model than the one these neurons were found in.

        Args:
            identity: `Subject.identity()` of the model at hand.

        Raises ModelError that names the first difference in what makes neurons comparable.
        """
        require_same_model(self.config["model"], identity)

    def save(self, folder: str | Path) -> Path:
        """Write a folder of safetensors, JSON, parquet and a README; as a whole or not at all.

        An earlier result at the same place is replaced; anything else is refused with an ArtifactError.
        """
        import torch

        from nnvalue.findings_card import findings_card

        tensors = {f"table.{name}": torch.from_numpy(np.ascontiguousarray(self.columns[name])) for name in _COLUMNS}
        tensors |= {f"map.{name}": torch.from_numpy(np.ascontiguousarray(kept)) for name, kept in self.maps.items()}
        config = {**self.config, "schema_version": SCHEMA_VERSION, "values": list(self.values)}
        files = {
            "config.json": canonical_json(config),
            "neurons.safetensors": tensor_bytes(tensors),
            "README.md": findings_card(self).encode(),
        }
        if self.responses is not None:
            files["responses.parquet"] = self.responses
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> ValueNeurons:
        """Open a result folder. Raises ArtifactError if it is missing, foreign, incomplete, damaged or inconsistent."""
        import json

        folder = Path(folder)
        files = read_folder(folder, KIND)
        if missing := {"config.json", "neurons.safetensors"} - set(files):
            raise ArtifactError(f"{folder} is incomplete: {min(missing)} is missing.")
        try:
            config = json.loads(files["config.json"])
            version, values = config.pop("schema_version"), tuple(config.pop("values"))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ArtifactError(f"{folder / 'config.json'} is not a configuration of nnvalue.") from None
        if version != SCHEMA_VERSION:
            raise ArtifactError(f"{folder} has schema version {version}; this nnvalue reads version {SCHEMA_VERSION}.")
        tensors, _ = read_tensors(folder / "neurons.safetensors")
        columns = {name: _array(tensors, f"table.{name}", folder, kind) for name, kind in _COLUMNS.items()}
        kinds = _MAPS | {name: kind for name, kind in _MORE_MAPS.items() if f"map.{name}" in tensors}
        maps = {name: _array(tensors, f"map.{name}", folder, kind) for name, kind in kinds.items()}
        _check(folder, values, columns, maps)
        _check_config(folder, values, config)
        return cls(values, columns, maps, config, files.get("responses.parquet"))

    def response_table(self) -> Any:
        """The responses as a `datasets.Dataset`: value, pole, situation, fold, prompt, text, token ids.

        Raises ArtifactError if they were not kept or are not readable.
        """
        import pyarrow.parquet
        from datasets import Dataset

        if self.responses is None:
            raise ArtifactError("This result was saved without its responses.")
        try:
            return Dataset(pyarrow.parquet.read_table(io.BytesIO(self.responses)))
        except pyarrow.ArrowException as error:
            raise ArtifactError(f"The responses of this result are no parquet file: {error}") from None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table

        table = Table(title=f"Value neurons of {self.config['model']['name']}")
        for name in ValueNeuron._fields:
            table.add_column(name)
        for row in (row for value in self.values for row in self.top(value, n=2)):
            table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
        yield table

    def _index(self, value: str) -> int:
        if value not in self.values:
            raise UnknownNameError("value", value, self.values, "(in this result)")
        return self.values.index(value)

    def places(self, value: str, pole: str | None = None) -> np.ndarray:
        """The table's rows of a value, strongest first within a pole, int64 `[k]`. Raises UnknownNameError."""
        if pole is not None and pole not in POLES:
            raise UnknownNameError("pole", pole, POLES)
        chosen = self.columns["value"] == self._index(value)
        if pole is not None:
            chosen &= self.columns["pole"] == (1 if pole == "positive" else -1)
        return np.flatnonzero(chosen)

    def _row(self, place: int) -> ValueNeuron:
        cells = {name: column[place].item() for name, column in self.columns.items()}
        value, pole = self.values[cells.pop("value")], POLES[0] if cells.pop("pole") > 0 else POLES[1]
        return ValueNeuron(value, pole, **{**cells, "called": bool(cells["called"])})


def require_same_model(mine: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse a model in which something was not found; both are what `Subject.identity()` says.

    Raises ModelError that names the first difference in what makes neurons comparable.
    """
    keys = ["family", "layers", "width", "config_sha256", "weights_sample_sha256"]
    if (mine["dtype"] == "float16") != (identity["dtype"] == "float16"):
        keys.remove("weights_sample_sha256")  # rounded twice, the same weights may differ in a last bit
    for key in keys:
        # What only the weights tell is not known of a model on a server.
        if None not in (mine[key], identity[key]) and mine[key] != identity[key]:
            raise ModelError(
                f"This was found in '{mine['name']}', not in '{identity['name']}': {key} differs "
                f"({mine[key]} and {identity[key]}). Locate it in the model at hand."
            )


def build_table(rows: list[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    """The columns of a table from its rows, in the order of `ValueNeuron` with value and pole as numbers.

    No rows is a finding too: no neuron fires differently enough.
    """
    cells = zip(*rows, strict=True) if rows else [()] * len(_COLUMNS)
    return {name: np.array(column, kind) for (name, kind), column in zip(_COLUMNS.items(), cells, strict=True)}


def _array(tensors: dict[str, Any], name: str, folder: Path, kind: type) -> np.ndarray:
    if name not in tensors or tensors[name].numpy().dtype != kind:
        raise ArtifactError(f"{folder / 'neurons.safetensors'} lacks '{name}' as {np.dtype(kind).name}.")
    return tensors[name].numpy()


def _check(folder: Path, values: tuple[str, ...], columns: Mapping[str, np.ndarray], maps: Mapping[str, Any]) -> None:
    """A table whose numbers cannot be used safely is refused, even if nothing on the disk is damaged."""
    shapes = {array.shape for array in maps.values()}
    shape = shapes.pop()
    lengths = {len(column) for column in columns.values()}
    sound = (
        not shapes
        and len(shape) == 3
        and len(lengths) == 1
        and shape[0] == len(values) == len(set(values))
        and all(column.ndim == 1 for column in columns.values())
        and all(
            ((columns[name] >= 0) & (columns[name] < limit)).all()
            for name, limit in zip(("value", "layer", "neuron"), shape, strict=True)
        )
        and np.isin(columns["pole"], (1, -1)).all()
        and all(np.isin(array, (0, 1)).all() for array in (columns["called"], maps["called"]))
        and all(np.isfinite(array).all() for array in (*columns.values(), *maps.values()))
    )
    if not sound:
        raise ArtifactError(f"{folder} holds a table that contradicts itself; it was not written by nnvalue.")


def _check_config(folder: Path, values: tuple[str, ...], config: Mapping[str, Any]) -> None:
    """What the tables and the card read must be there, and be what it should."""
    needed = {
        "model": ("name", "family", "layers", "width", "dtype", "config_sha256", "weights_sample_sha256"),
        "settings": ("method", "site", "tokens", "responses", "selection"),
        "counts": values,
    }
    for section, keys in needed.items():
        found = config.get(section)
        if not isinstance(found, dict) or any(key not in found for key in keys):
            raise ArtifactError(f"{folder / 'config.json'} lacks '{section}' or part of it; nnvalue did not write it.")
    if not _is_between(config.get("between_values")):
        raise ArtifactError(f"{folder / 'config.json'} lacks 'between_values' or part of it; nnvalue did not write it.")
    facts = [config["counts"][value] for value in values]
    if not all(isinstance(value, str) for value in values) or not all(
        isinstance(fact, dict)
        and isinstance(fact.get("split_half_r"), float | None)
        and _is_significance(fact.get("significance"))
        and _is_crossed(fact.get("crossed"))
        for fact in facts
    ):
        raise ArtifactError(f"{folder / 'config.json'} holds counts of another form; nnvalue did not write it.")


def _is_significance(found: Any) -> bool:
    """Whether it is what the locator says of a value's test, or that there was none."""
    counts = ("called", "delta_beyond")
    return found is None or (
        isinstance(found, dict)
        and all(isinstance(found.get(name), int | float) for name in ("bar", "delta_bar", "q_alone"))
        and all(
            isinstance(found.get(name), dict) and all(isinstance(n, int) for n in found[name].values())
            for name in counts
        )
        and set(POLES) <= set(found["called"])
    )


def _is_crossed(found: Any) -> bool:
    """Whether it is what the locator says of prompt and text, or that they were not told apart."""
    names = ("prompt_share", "prompt_r", "text_share", "text_r")
    return found is None or (
        isinstance(found, dict) and all(isinstance(found.get(name), float | None) for name in names)
    )


def _is_between(found: Any) -> bool:
    """Whether it is what the locator says of the values together."""
    if not isinstance(found, dict) or not isinstance(found.get("values"), list):
        return False
    circle = found.get("circle")
    return isinstance(found.get("shared_share"), float | None) and (
        circle is None
        or (
            isinstance(circle, dict)
            and all(isinstance(circle.get(name), int | float) for name in ("r", "p", "permutations", "low", "high"))
        )
    )
