"""Making a dataset of the files that people have: tables with named columns, and the layouts of published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nnvalue.dataset.edition import FRAMEWORK_FILE, ValueInsight, from_rows, write_edition
from nnvalue.dataset.layouts import LAYOUTS, Placed
from nnvalue.dataset.layouts.source import slug
from nnvalue.dataset.schema import REQUIRED, TABLES, Misfit, judge_rows
from nnvalue.dataset.tables import import_table
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.values import Framework, load_framework

_LABELS = ("value", "second_value")
_PAIRED = {"descriptions": "pole", "portraits": "keying"}
_Rows = dict[str, list[Placed]]
_Misfits = dict[str, list[Misfit]]


@dataclass(frozen=True)
class ImportedEdition:
    """What became of the files: the dataset, and for each table the lines that do not fit.

    edition: None where lines do not fit and nothing may be left out.
    aside: what the source has and an edition has no column for -> how often.
    """

    edition: ValueInsight | None
    misfits: Mapping[str, tuple[Misfit, ...]]
    aside: Mapping[str, int] = field(default_factory=dict)


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
    written, without the texts whose partner is missing or among the lines left out.

    Args:
        files: table -> file; `situations` and `descriptions` are needed, or `items`.
        columns, fill: table -> what `import_table` takes.
        framework: whose values the labels are: an embedded framework's name, or a YAML file, which is copied.

    Raises:
        UnknownNameError, InvalidInputError, DatasetError: as `import_table` does, and where a table is missing, a pair
            has too many texts, or something stands in both splits.
        ArtifactError: `out` holds something else.
    """
    for kind in files:
        if kind not in TABLES:
            raise UnknownNameError("table", kind, TABLES)
    if "items" not in files and (missing := [kind for kind in REQUIRED if kind not in files]):
        raise InvalidInputError(f"{missing[0]} are needed too; give {missing[0]}=FILE.")
    theory = load_framework(framework)
    rows: _Rows = {}
    misfits: _Misfits = {}
    for kind, path in files.items():
        table = import_table(path, kind, columns=(columns or {}).get(kind), fill=(fill or {}).get(kind))
        placed = [Placed(str(path), number, row) for number, row in zip(table.numbers, table.rows, strict=True)]
        misfits[kind] = list(table.misfits)
        rows[kind] = _settled(placed, kind, _resolver(theory, kind), misfits[kind])
    left = _listed(misfits)
    if any(left.values()) and not leave_out:
        return ImportedEdition(None, left)
    for kind, path in files.items():
        if not rows[kind] and kind in (*REQUIRED, "items"):
            raise DatasetError(f"No row of {path} fits; nothing was written.")
    edition = from_rows(name or Path(out).resolve().name, **_plain(rows), framework=framework)
    write_edition(edition, out)
    return ImportedEdition(edition, left)


def import_layout(
    path: str | Path,
    layout: str,
    out: str | Path,
    *,
    framework: str | None = None,
    name: str | None = None,
    leave_out: bool = False,
) -> ImportedEdition:
    """Read data in the layout of a published data set, and write it into a folder as a dataset.

    Rows that do not fit are listed as `import_edition` does; what an edition has no column for is counted.

    Args:
        layout: `personalitybench`, `valuebench` or `valueportrait`.
        framework: whose values the labels are: an embedded framework's name, or a YAML file, which is copied; None for
            the one that the data belongs to, or else one made of the labels and written with the data.

    Raises:
        UnknownNameError: there is no such layout or framework.
        DatasetError: nothing in this layout lies at `path`, a file is unreadable, or no row fits.
        ArtifactError: `out` holds something else.
    """
    if layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, LAYOUTS)
    theory = None if framework is None else load_framework(framework)
    source = LAYOUTS[layout](Path(path))
    framework = framework or source.framework
    theory = theory or (load_framework(framework) if framework else None)
    rows: _Rows = {}
    misfits = {kind: source.misfits.get(kind, []) for kind in (*source.rows, *source.misfits)}
    made: dict[str, str] = {}
    for kind, own in source.rows.items():
        fitting = _judged(own, kind, misfits[kind])
        rows[kind] = _settled(fitting, kind, _resolver(theory, kind) if theory else _namer(made), misfits[kind])
    left = _listed(misfits)
    if any(left.values()) and not leave_out:
        return ImportedEdition(None, left, dict(source.aside))
    for kind in misfits:
        if not rows.get(kind):
            raise DatasetError(f"None of the {kind} in {path} fits; nothing was written.")
    extra = {} if framework else {FRAMEWORK_FILE: _framework_of(made, layout, source.title, Path(path).resolve().name)}
    place = framework or str(Path(out) / FRAMEWORK_FILE)
    edition = from_rows(name or Path(out).resolve().name, **_plain(rows), framework=place)
    write_edition(edition, out, extra)
    return ImportedEdition(edition, left, dict(source.aside))


def _framework_of(titles: Mapping[str, str], layout: str, data: str, where: str) -> bytes:
    """A framework's file for labels of the data's own."""
    framework = {
        "name": layout,
        "title": f"The labels of {data}",
        "source": f"Found in {where}, in the layout of {data}; no theory says how they relate.",
        "values": [{"name": name, "title": title} for name, title in titles.items()],
    }
    return yaml.safe_dump(framework, sort_keys=False, allow_unicode=True).encode()


def _namer(made: dict[str, str]) -> Callable[[str], str]:
    """Labels become names, and the first spelling of each a title in `made`."""

    def name_of(label: str) -> str:
        if not (name := slug(label)):
            raise InvalidInputError(
                f"'{label}' has no Latin letter to make a name of; give a framework with this title (--framework)."
            )
        made.setdefault(name, label.strip())
        return name

    return name_of


def _resolver(framework: Framework, kind: str) -> Callable[[str], str]:
    """Labels by their names in the framework; only items go with a group as a whole."""

    def name_of(label: str) -> str:
        name = framework.resolve(label)
        if name in framework.groups and kind != "items":
            raise UnknownNameError("value", label, framework.values, f"It is a group of '{framework.name}'.")
        return name

    return name_of


def _judged(rows: list[Placed], kind: str, misfits: list[Misfit]) -> list[Placed]:
    """The rows that fit their table; the others are added to the misfits."""
    found = judge_rows((one.row for one in rows), kind, ((one.file, one.line) for one in rows))
    fitting = []
    for one, judged in zip(rows, found, strict=True):
        if isinstance(judged, Misfit):
            misfits.append(one.misfit(judged.fault, judged.kind))
        else:
            fitting.append(Placed(one.file, one.line, judged, one.where))
    return fitting


def _settled(rows: list[Placed], kind: str, name_of: Callable[[str], str], misfits: list[Misfit]) -> list[Placed]:
    """Rows with the names of their values, without those that cannot stand alone or stand there already."""
    labelled = []
    for one in rows:
        try:
            named = {key: name_of(one.row[key]) for key in _LABELS if one.row.get(key)}
        except (UnknownNameError, InvalidInputError) as error:
            misfits.append(one.misfit(str(error), "wrong label"))
        else:
            labelled.append(Placed(one.file, one.line, {**one.row, **named}, one.where))
    if kind == "items":
        return _once(labelled, misfits)
    return _with_partners(labelled, _PAIRED[kind], misfits) if kind in _PAIRED else labelled


def _once(rows: list[Placed], misfits: list[Misfit]) -> list[Placed]:
    """Without rows that say the same as one before."""
    seen: dict[tuple[Any, ...], Placed] = {}
    for one in rows:
        key = tuple(given for name, given in one.row.items() if name not in ("id", "item"))
        first = seen.setdefault(key, one)
        if first is not one:
            where = f"row {first.line}" if first.file == one.file else f"row {first.line} of {first.file}"
            misfits.append(one.misfit(f"the same stands in {where} too", "duplicate"))
    return list(seen.values())


def _with_partners(rows: list[Placed], column: str, misfits: list[Misfit]) -> list[Placed]:
    """Without the texts of a pair of which the other one does not fit or is not there."""
    poles: dict[Any, set[str]] = {}
    for one in rows:
        poles.setdefault((one.row["value"], one.row["pair"]), set()).add(one.row[column])
    kept = []
    for one in rows:
        value, pair = one.row["value"], one.row["pair"]
        if len(poles[value, pair]) == 2:
            kept.append(one)
        else:
            misfits.append(one.misfit(f"the other half of pair {pair} of '{value}' is missing or unfit", "unpaired"))
    return kept


def _listed(misfits: Mapping[str, Iterable[Misfit]]) -> dict[str, tuple[Misfit, ...]]:
    return {kind: tuple(sorted(some, key=lambda one: (one.file, one.number))) for kind, some in misfits.items()}


def _plain(rows: _Rows) -> dict[str, Any]:
    return {kind: [one.row for one in some] for kind, some in rows.items()} | {
        kind: [] for kind in REQUIRED if kind not in rows
    }
