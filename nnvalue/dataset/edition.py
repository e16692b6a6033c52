"""Opening an edition of ValueInsight: a shipped one, or a folder in the same form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnvalue.artifacts import MANIFEST, canonical_json, parquet_bytes, write_folder
from nnvalue.dataset.schema import REQUIRED, TABLES, check_rows
from nnvalue.dataset.tables import read_table
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from datasets import Dataset

_EMBEDDED = ("valueinsight", "moral_foundations")
_MANIFEST = "edition.json"
FRAMEWORK_FILE = "framework.yaml"
"""Where an edition's folder keeps a framework of its own."""
ENGLISH = "English"
_ENDINGS = ("parquet", "jsonl", "csv")
_Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ValueInsight:
    """An edition of the dataset.

    framework: name of the value theory that its labels belong to.
    version: as its makers count; empty where nobody did.
    descriptions, situations, sentences, portraits, roles, items: one row a text (of items: a text and a value);
        columns as in `schema`. The last four may be empty, and beside items all others.
    fingerprint: sha256 over all rows in order; two editions with the same one are the same data.
    language: of its texts, in English.
    """

    name: str
    framework: str
    version: str
    descriptions: Dataset
    situations: Dataset
    sentences: Dataset
    portraits: Dataset
    roles: Dataset
    items: Dataset
    fingerprint: str
    language: str = ENGLISH

    def values(self) -> tuple[str, ...]:
        """The values that have situations, in order of their first one."""
        return tuple(dict.fromkeys(self.situations["value"]))


def is_english(language: str) -> bool:
    """Whether the rules about English words apply to texts of a language."""
    return "english" in language.lower()


def embedded_editions() -> tuple[str, ...]:
    """Names of the editions that come with nnvalue."""
    return _EMBEDDED


def edition_folder(name: str | Path | None = None) -> Path:
    """Where an edition lies: an embedded one by name (None for the first), else a folder. Raises DatasetError."""
    if name is None or str(name) in _EMBEDDED:
        return Path(str(resources.files(__package__) / "editions" / str(name or _EMBEDDED[0])))
    folder = Path(name)
    if not folder.is_dir():
        known = UnknownNameError("dataset", str(name), _EMBEDDED)
        raise DatasetError(f"{known} Or give a folder with descriptions and situations.")
    return folder


def load_valueinsight(name: str | Path | None = None) -> ValueInsight:
    """Open an embedded edition by name (None: ValueInsight) or a folder with `descriptions` and `situations`.

    Each table is a `.parquet`, `.jsonl` or `.csv` file. `sentences`, `portraits`, `roles` and `items` may be there too
    (`items` also alone), and an `edition.json` that says what the edition is called and to which framework its labels
    belong (without one: schwartz). Nothing is downloaded and nothing is cached elsewhere.

    Raises DatasetError where the folder or a file is missing, unreadable, empty or malformed.
    """
    folder = edition_folder(name)
    facts = read_manifest(folder)
    tables = {kind: [row for _, row in read_edition_table(folder, kind)] for kind in TABLES}
    return from_rows(
        facts.get("name") or folder.resolve().name,
        **tables,
        framework=framework_of(folder, facts),
        version=facts.get("version", ""),
        language=facts.get("language", ENGLISH),
    )


def from_rows(
    name: str,
    descriptions: _Rows,
    situations: _Rows,
    sentences: _Rows = (),
    portraits: _Rows = (),
    roles: _Rows = (),
    items: _Rows = (),
    *,
    framework: str = "schwartz",
    version: str = "",
    language: str = ENGLISH,
) -> ValueInsight:
    """An edition from rows in memory; the same checks as for files. Raises DatasetError."""
    from datasets import Dataset

    given = (descriptions, situations, sentences, portraits, roles, items)
    rows = {kind: check_rows(table, kind) for kind, table in zip(TABLES, given, strict=True)}
    for kind in REQUIRED:
        if not rows[kind] and not rows["items"]:
            raise DatasetError(f"{kind} is empty; an edition has descriptions and situations, or items.")
    for leak in split_leaks(rows):
        raise DatasetError(f"{leak}; it must belong to one.")
    for sentence in unpaired(rows):
        raise DatasetError(f"{sentence}; it needs one of each.")
    tables = {kind: Dataset(as_table(table, kind)) for kind, table in rows.items()}
    return ValueInsight(name, framework, version, **tables, fingerprint=fingerprint_of(rows), language=language)


def fingerprint_of(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """sha256 over the rows of all tables, in order."""
    # Editions were fingerprinted before there were items, so a table without any does not count.
    counted = {kind: table for kind, table in rows.items() if table or kind != "items"}
    canonical = json.dumps(counted, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(canonical).hexdigest()


def edition_files(edition: ValueInsight) -> dict[str, bytes]:
    """An edition as files: its tables as parquet, and what it is as `edition.json`."""
    files = {}
    for kind in TABLES:
        if len(table := getattr(edition, kind)):
            files[f"{kind}.parquet"] = parquet_bytes(table.data.table)
    facts = {name: getattr(edition, name) for name in ("name", "framework", "version")}
    if edition.language != ENGLISH:
        facts["language"] = edition.language
    return {**files, _MANIFEST: canonical_json({**facts, "sha256": edition.fingerprint})}


def write_edition(edition: ValueInsight, folder: str | Path, extra: Mapping[str, bytes] | None = None) -> None:
    """Write an edition into a folder of its own, as a whole or not at all.

    A framework of the user's own, a YAML file, goes with it. A dataset that was written there before is replaced; a
    folder with anything else in it is left alone.

    Args:
        extra: name -> content of further files of the folder; `framework.yaml` among them is the edition's framework.

    Raises:
        ArtifactError: the folder holds something else, or cannot be written.
        InvalidInputError: a further file has the name of one of the edition's own, or no plain name.
    """
    further, own = dict(extra or {}), Path(edition.framework)
    if FRAMEWORK_FILE not in further and own.is_file():
        further[FRAMEWORK_FILE] = own.read_bytes()
    if FRAMEWORK_FILE in further:
        edition = replace(edition, framework=FRAMEWORK_FILE)
    files = edition_files(edition)
    taken = {MANIFEST, *files, *(f"{kind}.{ending}" for kind in TABLES for ending in _ENDINGS)}
    for name in further:
        if name in taken or name in ("", ".", "..") or Path(name).name != name:
            raise InvalidInputError(f"A further file cannot be called '{name}'; give it a plain name of its own.")
    write_folder(Path(folder), "dataset", {**files, **further})


def read_manifest(folder: Path) -> dict[str, str]:
    """What `edition.json` says: name, framework, version, language, sha256; nothing where there is none.

    Raises DatasetError.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(facts, dict) or not all(isinstance(given, str) for given in facts.values()):
        raise DatasetError(f"{path} must be a JSON object of texts: name, framework, version, sha256.")
    return facts


def framework_of(folder: Path, facts: Mapping[str, str]) -> str:
    """What `load_framework` takes for an edition: a file that lies in its folder, or an embedded framework's name."""
    name = facts.get("framework", "schwartz")
    return str(folder / name) if (folder / name).is_file() else name


def read_edition_table(folder: Path, kind: str) -> list[tuple[int, dict[str, Any]]]:
    """(line, row) for the rows of one table as they stand in the folder, unchecked; none if it need not be there.

    Raises DatasetError where a required table is missing or a file is unreadable.
    """
    if path := _table_file(folder, kind):
        return list(read_table(path, kind))
    if kind not in REQUIRED or _table_file(folder, "items"):
        return []
    raise DatasetError(f"The dataset folder {folder} has no {kind}.parquet, {kind}.jsonl or {kind}.csv.")


def _table_file(folder: Path, kind: str) -> Path | None:
    return next((path for ending in _ENDINGS if (path := folder / f"{kind}.{ending}").is_file()), None)


def split_leaks(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What stands in both splits though it must stand in one: pairs of descriptions or portraits, cores."""
    found = []
    for kind, columns in (
        ("descriptions", ("value", "pair")),
        ("situations", ("core",)),
        ("portraits", ("value", "pair")),
    ):
        split_of: dict[tuple[Any, ...], str] = {}
        for row in rows.get(kind, ()):
            key = tuple(row[name] for name in columns)
            if split_of.setdefault(key, row["split"]) != row["split"]:
                found.append(f"{kind}: the {columns[-1]} '{' '.join(map(str, key))}' stands in both splits")
    return list(dict.fromkeys(found))


def as_table(rows: Sequence[Mapping[str, Any]], kind: str) -> Any:
    """Rows as a pyarrow table with the form's columns and types."""
    import pyarrow

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds[type_]) for name, type_ in TABLES[kind].columns.items()])
    return pyarrow.Table.from_pylist(list(rows), schema=schema)


def unpaired(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Pairs of descriptions or portraits that are not one text of either pole."""
    found = []
    for kind, column in (("descriptions", "pole"), ("portraits", "keying")):
        poles: dict[tuple[str, int], list[str]] = {}
        for row in rows[kind]:
            poles.setdefault((row["value"], row["pair"]), []).append(row[column])
        for (value, pair), own in poles.items():
            if sorted(own) != ["negative", "positive"]:
                found.append(f"{kind}: pair {pair} of '{value}' has the {column}s {', '.join(own)}")
    return found
