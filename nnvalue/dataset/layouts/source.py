"""What a reader hands over: rows in the columns of an edition's tables, and all that did not become one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnvalue.dataset.schema import Misfit


@dataclass(frozen=True)
class Placed:
    """A row and where it is from.

    where: what a line alone does not say, such as the number of an entry on it.
    """

    file: str
    line: int
    row: dict[str, Any]
    where: str = ""

    def misfit(self, fault: str, kind: str) -> Misfit:
        """Why the row does not fit."""
        return Misfit(self.line, f"{self.where}: {fault}" if self.where else fault, kind, self.file)


@dataclass
class Source:
    """What lies in a file or folder of somebody else's.

    title: whose data it is.
    framework: the framework that its labels belong to; None where it has labels of its own.
    rows: table -> rows, whose `value` is still the source's own label.
    misfits: table -> what cannot become a row.
    aside: what a table has no column for -> how often the source has it.
    """

    title: str
    framework: str | None = None
    rows: dict[str, list[Placed]] = field(default_factory=dict)
    misfits: dict[str, list[Misfit]] = field(default_factory=dict)
    aside: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, found: Placed | Misfit) -> None:
        """Keep a row of a table, or what cannot become one."""
        if isinstance(found, Placed):
            self.rows.setdefault(kind, []).append(found)
        else:
            self.misfits.setdefault(kind, []).append(found)

    def set_aside(self, entry: Mapping[str, Any], kept: Iterable[str]) -> None:
        """Count the fields of an entry that are given and not kept."""
        self.aside.update(sorted(name for name in entry.keys() - set(kept) if entry[name] is not None))


def slug(label: str) -> str:
    """A label as a name of a framework, whatever its case and marks; empty where it has no Latin letter or digit."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain.replace("'", "")).strip("_")
    return f"value_{name}" if name[:1].isdigit() else name


def stripped(text: Any) -> Any:
    """A text without blanks around it; anything else as it is."""
    return text.strip() if isinstance(text, str) else text


def json_files(folder: Path) -> list[Path]:
    """The JSON files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl") and path.is_file())
