"""Making a dataset of the files that people have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnvalue.dataset.edition import ValueInsight, from_rows, write_edition
from nnvalue.dataset.schema import REQUIRED, TABLES, Misfit
from nnvalue.dataset.tables import Imported, import_table
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.values import Framework, load_framework

_LABELS = ("value", "second_value")
_PAIRED = {"descriptions": "pole", "portraits": "keying"}


@dataclass(frozen=True)
class ImportedEdition:
    """What became of the files: the dataset, and for each table the lines that do not fit.

    edition: None where lines do not fit and nothing may be left out.
    """

    edition: ValueInsight | None
    misfits: Mapping[str, tuple[Misfit, ...]]


def import_edition(
    files: Mapping[str, str | Path],
    out: str | Path,
    *,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    fill: Mapping[str, Mapping[str, str]] | None = None,
    framework: str = "schwartz",
    name: str | None = None,
    leave_out: bool = False,
) -> ImportedEdition:
    """Read files with named columns as the tables of a dataset, and write it into a folder.

    Values may be named by name, code or title. A line that does not fit is listed; with `leave_out` the others are
    written, without the texts whose partner is among the lines left out.

    Args:
        files: table -> file; `situations` and `descriptions` are needed.
        columns, fill: table -> what `import_table` takes.
        framework: whose values the labels are: an embedded framework's name, or a YAML file, which is copied.

    Raises:
        UnknownNameError, InvalidInputError, DatasetError: as `import_table` does, and where a table is missing, a pair
            lacks a text, or something stands in both splits.
        ArtifactError: `out` holds something else.
    """
    for kind in files:
        if kind not in TABLES:
            raise UnknownNameError("table", kind, TABLES)
    if missing := [kind for kind in REQUIRED if kind not in files]:
        raise InvalidInputError(f"{missing[0]} are needed too; give {missing[0]}=FILE.")
    theory = load_framework(framework)
    read = {
        kind: import_table(path, kind, columns=(columns or {}).get(kind), fill=(fill or {}).get(kind))
        for kind, path in files.items()
    }
    read = {kind: _with_partners(_labelled(table, theory)) for kind, table in read.items()}
    misfits = {kind: table.misfits for kind, table in read.items()}
    if any(misfits.values()) and not leave_out:
        return ImportedEdition(None, misfits)
    for kind in REQUIRED:
        if not read[kind].rows:
            raise DatasetError(f"No row of {files[kind]} fits; nothing was written.")
    rows = {kind: table.rows for kind, table in read.items()}
    edition = from_rows(name or Path(out).resolve().name, **rows, framework=framework)
    write_edition(edition, out)
    return ImportedEdition(edition, misfits)


def _labelled(table: Imported, framework: Framework) -> Imported:
    """Values by their names in the framework; rows with a label that it does not have become misfits."""
    rows, misfits, numbers = [], list(table.misfits), []
    for number, row in zip(table.numbers, table.rows, strict=True):
        try:
            named = {key: framework.resolve(row[key]) for key in _LABELS if row.get(key)}
            rows.append({**row, **named})
            numbers.append(number)
        except UnknownNameError as error:
            misfits.append(Misfit(number, str(error), "wrong label"))
    return replace(table, rows=rows, numbers=numbers, misfits=tuple(sorted(misfits, key=lambda one: one.number)))


def _with_partners(table: Imported) -> Imported:
    """Without the texts of a pair of which the other one does not fit."""
    column = _PAIRED.get(table.kind)
    if column is None or not table.misfits:
        return table
    poles: dict[Any, set[str]] = {}
    for row in table.rows:
        poles.setdefault((row["value"], row["pair"]), set()).add(row[column])
    kept = [len(poles[row["value"], row["pair"]]) == 2 for row in table.rows]
    alone = [
        Misfit(number, f"the other half of pair {row['pair']} of '{row['value']}' is missing or unfit", "unpaired")
        for number, row, whole in zip(table.numbers, table.rows, kept, strict=True)
        if not whole
    ]
    misfits = tuple(sorted((*table.misfits, *alone), key=lambda one: one.number))
    chosen = [place for place, whole in enumerate(kept) if whole]
    return replace(
        table, rows=[table.rows[at] for at in chosen], numbers=[table.numbers[at] for at in chosen], misfits=misfits
    )
