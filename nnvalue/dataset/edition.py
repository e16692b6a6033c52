"""Opening an edition of ValueInsight: the shipped one, or a folder in the same form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnvalue.dataset.schema import DESCRIPTION_COLUMNS, SITUATION_COLUMNS, check_rows
from nnvalue.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Dataset

_TABLES = {"descriptions": DESCRIPTION_COLUMNS, "situations": SITUATION_COLUMNS}


@dataclass(frozen=True)
class ValueInsight:
    """An edition of the dataset.

    descriptions: one row a description; columns as in `schema.DESCRIPTION_COLUMNS`.
    situations: one row a situation; columns as in `schema.SITUATION_COLUMNS`.
    fingerprint: sha256 over all rows in order; two editions with the same one are the same data.
    """

    name: str
    descriptions: Dataset
    situations: Dataset
    fingerprint: str

    def values(self) -> tuple[str, ...]:
        """The values that have situations, in order of their first one."""
        return tuple(dict.fromkeys(self.situations["value"]))


def load_valueinsight(folder: str | Path | None = None) -> ValueInsight:
    """Open the shipped edition (`folder=None`) or a folder with `descriptions` and `situations`.

    Each of the two is a `.parquet` or `.jsonl` file. Nothing is downloaded and nothing is cached elsewhere.

    Raises DatasetError where the folder or a file is missing, unreadable, empty or malformed.
    """
    where = Path(str(resources.files(__package__) / "edition_1")) if folder is None else Path(folder)
    if not where.is_dir():
        raise DatasetError(f"There is no dataset folder {where}; give a folder with descriptions and situations.")
    rows = {name: _read_rows(where, name) for name in _TABLES}
    return from_rows("ValueInsight edition 1" if folder is None else where.resolve().name, **rows)


def from_rows(name: str, descriptions: list[dict[str, Any]], situations: list[dict[str, Any]]) -> ValueInsight:
    """An edition from rows in memory; the same checks as for files. Raises DatasetError."""
    from datasets import Dataset

    rows = {
        "descriptions": check_rows(descriptions, DESCRIPTION_COLUMNS, "descriptions"),
        "situations": check_rows(situations, SITUATION_COLUMNS, "situations"),
    }
    _check_splits(rows["descriptions"], ("value", "pair"), "descriptions")
    _check_splits(rows["situations"], ("core",), "situations")
    _check_pairs(rows["descriptions"])
    canonical = json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()
    tables = {kind: Dataset(_table(rows[kind], columns)) for kind, columns in _TABLES.items()}
    return ValueInsight(name, **tables, fingerprint=hashlib.sha256(canonical).hexdigest())


def write_parquet(edition: ValueInsight, folder: Path) -> None:
    """Write an edition's two tables as parquet files into an existing folder."""
    import pyarrow.parquet

    for kind in _TABLES:
        table = getattr(edition, kind).data.table
        pyarrow.parquet.write_table(table, folder / f"{kind}.parquet", compression="zstd")


def _check_splits(rows: list[dict[str, Any]], columns: tuple[str, ...], kind: str) -> None:
    split_of: dict[tuple[Any, ...], str] = {}
    for row in rows:
        key = tuple(row[name] for name in columns)
        if split_of.setdefault(key, row["split"]) != row["split"]:
            named = " ".join(map(str, key))
            raise DatasetError(f"{kind}: the {columns[-1]} '{named}' stands in both splits; it must belong to one.")


def _check_pairs(rows: list[dict[str, Any]]) -> None:
    poles: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        poles.setdefault((row["value"], row["pair"]), []).append(row["pole"])
    for (value, pair), found in poles.items():
        if sorted(found) != ["negative", "positive"]:
            raise DatasetError(
                f"descriptions: pair {pair} of '{value}' has the poles {', '.join(found)}; it needs one of each."
            )


def _read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    parquet, jsonl = folder / f"{name}.parquet", folder / f"{name}.jsonl"
    try:
        if parquet.is_file():
            return pyarrow.parquet.read_table(parquet).to_pylist()
        if jsonl.is_file():
            rows = [json.loads(line) for line in jsonl.read_text(encoding="utf-8").split("\n") if line.strip()]
            if all(isinstance(row, dict) for row in rows):
                return rows
            raise ValueError("a line that is not a JSON object")
    except (OSError, ValueError, RecursionError, pyarrow.ArrowException) as error:
        raise DatasetError(f"The {name} in {folder} cannot be read: {' '.join(str(error).split())}") from None
    raise DatasetError(f"The dataset folder {folder} has no {name}.parquet and no {name}.jsonl.")


def _table(rows: list[dict[str, Any]], columns: Mapping[str, type]) -> Any:
    import pyarrow

    kinds = {str: pyarrow.string(), int: pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    return pyarrow.Table.from_pylist(rows, schema=schema)
