"""Reading tables that people bring: parquet, JSON lines and CSV, with their own column names."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnvalue.dataset.schema import NOT_GIVEN, TABLES, Misfit, judge_rows
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError

_TEST_SHARE = 0.3
_WHOLE = re.compile(r"\s*-?\d{1,9}\s*", re.ASCII)
_DECIMAL = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Imported:
    """What became of a file: rows that fit, in the form of a table, with their lines, and the lines that do not."""

    kind: str
    rows: list[dict[str, Any]]
    numbers: list[int]
    misfits: tuple[Misfit, ...]


def import_table(
    path: str | Path,
    kind: str,
    *,
    columns: Mapping[str, str] | None = None,
    fill: Mapping[str, str] | None = None,
) -> Imported:
    """Read a CSV, JSON-lines or parquet file with named columns as a table of an edition.

    What a file need not say is filled in: `id` (the file's name and the line), `core` (every situation its own),
    `facet` and `domain` ("unnamed"), `item` (every row its own), `source` (the file's name), `split` (30 % to `test`
    or, of roles, likewise, by a hash of what must stay together, so that it does not change when rows are added).

    Args:
        kind: `descriptions`, `situations`, `sentences`, `portraits`, `roles` or `items`.
        columns: column of the table -> what the file calls it; columns of the same name need not be named.
        fill: column of the table -> what stands in every row of it.

    Raises:
        UnknownNameError: `kind`, or a column of it in `columns` or `fill`, does not exist.
        InvalidInputError: the file lacks a column that `columns` names.
        DatasetError: the file is missing or unreadable.
    """
    if kind not in TABLES:
        raise UnknownNameError("table", kind, TABLES)
    columns, fill = dict(columns or {}), dict(fill or {})
    form = TABLES[kind]
    for name in (*columns, *fill):
        if name not in form.columns:
            raise UnknownNameError("column", name, form.columns, f"(table '{kind}')")
    path = Path(path)
    read = list(read_table(path, kind))
    if read and (missing := [own for own in columns.values() if all(own not in row for _, row in read)]):
        raise InvalidInputError(f"{path} has no column '{missing[0]}'; it has {', '.join(sorted(read[0][1]))}.")
    numbers = [number for number, _ in read]
    rows = [_filled(row, number, path, kind, columns, fill) for number, row in read]
    judged = list(judge_rows(rows, kind, [(str(path), number) for number in numbers]))
    fitting = [(number, row) for number, row in zip(numbers, judged, strict=True) if isinstance(row, dict)]
    misfits = tuple(row for row in judged if isinstance(row, Misfit))
    return Imported(kind, [row for _, row in fitting], [number for number, _ in fitting], misfits)


def read_table(path: Path, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) for each row of a `.parquet`, `.jsonl` or `.csv` file; of parquet, (row number, row).

    Whole numbers of CSV files are read as such where the table's column holds numbers; empty cells and NaN are null.

    Raises DatasetError: no such file, another ending, or not readable as what its ending says.
    """
    if path.suffix not in _READERS:
        raise DatasetError(f"{path} must end in {', '.join(_READERS)}.")
    return ((number, _numbers(row, kind)) for number, row in read_rows(path, kind))


def read_rows(path: Path, what: str, form: str | None = None) -> list[tuple[int, dict[str, Any]]]:
    """(line, row) for each row of a file as it stands there.

    Args:
        what: what the rows are, for messages.
        form: `.parquet`, `.jsonl` or `.csv`, where the file's ending does not say which.

    Raises DatasetError: no such file, or not readable as what it ought to be.
    """
    if not path.is_file():
        raise DatasetError(f"There is no file {path}.")
    try:
        return list(_READERS[form or path.suffix](path))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise unreadable(what, path, error) from None


def unreadable(what: str, path: Path, error: Exception) -> DatasetError:
    """What is said of a file that cannot be read."""
    return DatasetError(f"The {what} in {path} cannot be read: {' '.join(str(error).split())}")


def drawn_split(together: str, rest: str = "locate") -> str:
    """`test` for 30 % of all texts and `rest` for the others, by a hash of what must stay together."""
    drawn = int(hashlib.sha256(together.encode("utf-8", "replace")).hexdigest(), 16) % 1000
    return "test" if drawn < 1000 * _TEST_SHARE else rest


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None
    nothing = (
        {name: None if cell != cell else cell for name, cell in row.items()} for row in rows
    )  # NaN is not itself
    return enumerate(nothing, start=1)


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not a JSON object")
        yield number, row


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        names = next(reader, [])
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two columns are called '{twice[0]}'")
        for cells in reader:
            if len(cells) > len(names):
                raise ValueError(
                    f"line {reader.line_num} has {len(cells)} cells and the first line {len(names)}; "
                    "a text with commas needs quotes around it"
                )
            if cells:  # A row's number is the line that it ends on, as an editor shows it.
                yield reader.line_num, dict(zip(names, [cell or None for cell in cells], strict=False))


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".csv": _read_csv}


def _numbers(row: dict[str, Any], kind: str) -> dict[str, Any]:
    for name, form in TABLES[kind].columns.items():
        given: Any = row.get(name)
        whole = isinstance(given, float) and given.is_integer()  # as pandas writes them beside missing ones
        if form is int and (whole or (isinstance(given, str) and _WHOLE.fullmatch(given))):
            row[name] = int(given)
        elif form is float and isinstance(given, str) and _DECIMAL.fullmatch(given):
            row[name] = float(given)
    return row


def _filled(
    row: Mapping[str, Any], number: int, path: Path, kind: str, columns: Mapping[str, str], fill: Mapping[str, str]
) -> dict[str, Any]:
    """A row in the table's own column names, with what it need not say."""
    form = TABLES[kind].columns
    made = {name: row[columns.get(name, name)] for name in form if columns.get(name, name) in row}
    made |= {name: given for name, given in fill.items() if made.get(name) is None}
    made = _numbers(made, kind)
    marks = {"id": f"{path.stem}-{number}", "facet": NOT_GIVEN, "domain": NOT_GIVEN}
    marks["core"] = marks["item"] = made.get("id") or marks["id"]
    marks["source"] = path.stem
    for name, given in marks.items():
        if name in form and made.get(name) is None:
            made[name] = given
    if "split" in form and made.get("split") is None:
        pair = made["id"] if made.get("pair") is None else made["pair"]
        together = str(made.get("core") or f"{made.get('value')} {pair}")
        made["split"] = drawn_split(together, "train" if kind == "roles" else "locate")
    return made
