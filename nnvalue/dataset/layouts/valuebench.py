"""ValueBench's layout: the items of many questionnaires, each with a value, its keying, and itself as a question."""

from __future__ import annotations

from pathlib import Path

from nnvalue.dataset.layouts.source import Placed, Source, stripped
from nnvalue.dataset.tables import read_rows
from nnvalue.errors import DatasetError

_COLUMNS = ("questionnaire", "item", "value", "agreement", "question")
_KEYING = {"1": 1.0, "+1": 1.0, "1.0": 1.0, "-1": -1.0, "-1.0": -1.0}
_NAME = "value_orientation.csv"


def read(path: Path) -> Source:
    """The items of `value_orientation.csv`, or of the repository that has it in its folder `data`.

    Raises DatasetError where the file is missing, unreadable, empty, or lacks a column.
    """
    file = path
    if path.is_dir():
        file = next((one for one in (path / _NAME, path / "data" / _NAME) if one.is_file()), path / _NAME)
    rows = read_rows(file, "items", ".csv")
    if not rows:
        raise DatasetError(f"{file} has no row of items.")
    if missing := [name for name in _COLUMNS if all(name not in row for _, row in rows)]:
        raise DatasetError(f"{file} has no column '{missing[0]}'; the layout's columns are {', '.join(_COLUMNS)}.")
    source = Source("ValueBench")
    number_of: dict[str | None, dict[str | None, int]] = {}
    for line, row in rows:
        questionnaire, text, agreement = (stripped(row.get(name)) for name in ("questionnaire", "item", "agreement"))
        numbers = number_of.setdefault(questionnaire, {})
        made = {
            "id": f"{file.stem}-{line}",
            "item": f"{questionnaire}-{numbers.setdefault(text, len(numbers) + 1)}",
            "source": questionnaire,
            "value": stripped(row.get("value")),
            "weight": _KEYING.get(agreement or ""),
            "text": text,
            "question": stripped(row.get("question")),
            "query": None,
        }
        placed = Placed(str(file), line, made)
        source.set_aside(row, _COLUMNS)
        if made["weight"] is None:
            source.add("items", placed.misfit(f"agreement must be 1 or -1, {agreement!r} given", "wrong label"))
        elif not made["value"]:
            source.add("items", placed.misfit("the value that the item goes with is missing", "empty text"))
        else:
            source.add("items", placed)
    return source
