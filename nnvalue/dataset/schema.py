"""The columns of a ValueInsight edition, and the check that a table has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nnvalue.errors import DatasetError
from nnvalue.values import POLES

SPLITS = ("locate", "test")

DESCRIPTION_COLUMNS = {
    "id": str,  # unique in the edition
    "value": str,  # value of the framework that the person stands to
    "pole": str,  # positive: holds the value; negative: its opposing aspect
    "pair": int,  # the positive and the negative description of one pair speak of the same facet
    "facet": str,  # element of the value that the text is about
    "split": str,  # locate | test
    "text": str,
}
SITUATION_COLUMNS = {
    "id": str,
    "core": str,  # variants of one situation share a core; splits and folds go by core
    "value": str,  # value that the situation gives room to
    "second_value": str,  # value it is set against where it is a dilemma, else null
    "domain": str,  # domain of life
    "facet": str,
    "split": str,
    "text": str,
}
_OPTIONAL = {"second_value"}


def check_rows(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, type], where: str) -> list[dict[str, Any]]:
    """Rows cut down to the columns, each of its type, with ids and texts that are unique and not empty.

    Raises DatasetError that names the file, the row (counted from 1) and the column.
    """
    checked = []
    for number, row in enumerate(rows, start=1):
        place = f"{where}, row {number}"
        if missing := [name for name in columns if name not in row and name not in _OPTIONAL]:
            raise DatasetError(f"{place}: the column '{missing[0]}' is missing; needed are {', '.join(columns)}.")
        clean = {name: row.get(name) for name in columns}
        for name, kind in columns.items():
            given = clean[name]
            if given is None and name in _OPTIONAL:
                continue
            if not _fits(given, kind):
                raise DatasetError(f"{place}: column '{name}' must be {_KINDS[kind]}, {given!r} given.")
        if clean["split"] not in SPLITS:
            raise DatasetError(f"{place}: split must be 'locate' or 'test', {clean['split']!r} given.")
        if "pole" in columns and clean["pole"] not in POLES:
            raise DatasetError(f"{place}: pole must be 'positive' or 'negative', {clean['pole']!r} given.")
        checked.append(clean)
    if not checked:
        raise DatasetError(f"{where} is empty; at least one row is needed.")
    for name in ("id", "text"):
        given, times = Counter(row[name] for row in checked).most_common(1)[0]
        if times > 1:
            raise DatasetError(f"{where}: the {name} {given!r} stands in {times} rows; every {name} must be unique.")
    return checked


def _fits(given: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**31
    return isinstance(given, str) and bool(given.strip()) and _encodable(given)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as JSON can smuggle in
        return False
    return True


_KINDS = {str: "a text that is not empty", int: "a whole number"}
