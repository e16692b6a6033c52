"""The columns of an edition's tables, and the check that a table has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnvalue.errors import DatasetError
from nnvalue.values import POLES

SPLITS = ("locate", "test")
NOT_GIVEN = "unnamed"
"""Facet or domain of an imported row that names none."""

DESCRIPTION_COLUMNS = {
    "id": str,  # unique in the edition
    "value": str,  # value of the framework that the person stands to
    "pole": str,  # positive: holds the value; negative: its opposing aspect
    "pair": int,  # the positive and the negative description of one pair speak of the same thing
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
SENTENCE_COLUMNS = {
    "id": str,
    "value": str,
    "facet": str,
    "split": str,
    "positive": str,  # the same sentence but for the few words that turn the pole
    "negative": str,
}
PORTRAIT_COLUMNS = {
    "id": str,
    "value": str,  # null where the item belongs to a value of the finer framework only
    "refined": str,  # value of a finer framework, or null
    "keying": str,  # positive: agreeing means holding the value; negative: the reverse
    "pair": int,  # the two keyings of one pair speak of the same thing
    "facet": str,  # or null
    "split": str,
    "text": str,
}
ROLE_COLUMNS = {
    "id": str,
    "split": str,  # train | test
    "name": str,
    "age": int,
    "trade": str,
    "situation": str,
    "traits": str,  # separated by semicolons
    "positive": str,  # values, separated by commas, at whose positive pole an attribute stands, or null
    "negative": str,
    "text": str,  # the person in a few sentences
}
ITEM_COLUMNS = {
    "id": str,
    "item": str,  # rows about the same statement share it
    "source": str,  # questionnaire or data set
    "value": str,  # value or group of the framework; null where the item is tied to none
    "weight": float,  # how the item goes with the value: its keying, +1 or -1, or a correlation; null without a value
    "text": str,  # the statement
    "question": str,  # the same as a question, or null
    "query": str,  # what the statement replies to, or null
}


@dataclass(frozen=True)
class TableForm:
    """What a table of an edition looks like.

    columns: name -> type.
    nullable: columns that may be empty or missing.
    choices: column -> what may stand in it.
    unique: columns in which nothing may stand twice.
    together: columns of which all are given, or none.
    """

    columns: Mapping[str, type]
    nullable: frozenset[str] = frozenset()
    choices: Mapping[str, Sequence[str]] | None = None
    unique: tuple[str, ...] = ("id", "text")
    together: tuple[str, ...] = ()


_SPLIT = {"split": SPLITS}
TABLES = {
    "descriptions": TableForm(DESCRIPTION_COLUMNS, choices={**_SPLIT, "pole": POLES}),
    "situations": TableForm(SITUATION_COLUMNS, frozenset({"second_value"}), _SPLIT),
    "sentences": TableForm(SENTENCE_COLUMNS, choices=_SPLIT, unique=("id", "positive", "negative")),
    "portraits": TableForm(
        PORTRAIT_COLUMNS, frozenset({"value", "refined", "facet"}), {**_SPLIT, "keying": POLES}
    ),
    "roles": TableForm(
        ROLE_COLUMNS, frozenset({"positive", "negative"}), {"split": ("train", "test")}, ("id", "name", "text")
    ),
    "items": TableForm(
        ITEM_COLUMNS, frozenset({"value", "weight", "question", "query"}), unique=("id",), together=("value", "weight")
    ),
}  # fmt: skip
"""The tables of an edition."""
REQUIRED = ("descriptions", "situations")
"""What an edition must have, unless it has items."""


@dataclass(frozen=True)
class Misfit:
    """A row that does not fit: its number (counted from 1, or a line of its file) and what is wrong with it."""

    number: int
    fault: str
    kind: str = "malformed row"
    file: str = ""


def judge_rows(
    rows: Iterable[Mapping[str, Any]], kind: str, places: Iterable[tuple[str, int]]
) -> Iterator[dict[str, Any] | Misfit]:
    """For each row of a table: the row, cut down to the table's columns, or why it does not fit its form.

    Of two rows with the same id or text the first one fits.

    Args:
        places: file and line of each row.
    """
    form = TABLES[kind]
    seen: dict[tuple[str, Any], tuple[str, int]] = {}
    for (file, number), row in zip(places, rows, strict=True):
        clean = {name: _number(row.get(name), type_) for name, type_ in form.columns.items()}
        found = next(_faults(clean, row, form), None)
        if found is None:
            keys = [(name, clean[name]) for name in form.unique]
            twin = next((key for key in keys if key in seen), None)
            if twin is None:
                seen.update(dict.fromkeys(keys, (file, number)))
                yield clean
                continue
            other, line = seen[twin]
            where = f"row {line}" if other == file else f"row {line} of {other}"
            found = ("duplicate", f"the {twin[0]} {_short(twin[1])} stands in {where} too")
        yield Misfit(number, found[1], found[0], file)


def fitting_rows(
    rows: Iterable[Mapping[str, Any]], kind: str, numbers: Iterable[int] | None = None
) -> tuple[list[dict[str, Any]], list[Misfit]]:
    """The rows of a table that `judge_rows` finds to fit, and those that do not.

    Args:
        numbers: what to call the rows in messages; default: 1, 2, 3 …
    """
    rows = list(rows)
    places = [("", number) for number in (range(1, len(rows) + 1) if numbers is None else numbers)]
    judged = list(judge_rows(rows, kind, places))
    return [row for row in judged if isinstance(row, dict)], [row for row in judged if isinstance(row, Misfit)]


def check_rows(rows: Iterable[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """All rows of a table, cut down to its columns. Raises DatasetError that names table, row and fault."""
    fitting, misfits = fitting_rows(rows, kind)
    if misfits:
        raise DatasetError(f"{kind}, row {misfits[0].number}: {misfits[0].fault}.")
    return fitting


def _faults(clean: dict[str, Any], row: Mapping[str, Any], form: TableForm) -> Iterator[tuple[str, str]]:
    """(kind, sentence) for each fault of one row."""
    for name, kind in form.columns.items():
        given = clean[name]
        if given is None and name in form.nullable:
            continue
        if name not in row:
            yield "missing column", f"the column '{name}' is missing; needed are {', '.join(form.columns)}"
        elif kind is str and (given is None or (isinstance(given, str) and not given.strip())):
            yield "empty text", f"column '{name}' must be a text that is not empty"
        elif not _fits(given, kind):
            yield "wrong type", f"column '{name}' must be {_KINDS[kind]}, {_short(given)} given"
    for name, allowed in (form.choices or {}).items():
        if clean[name] not in allowed:
            yield "wrong label", f"{name} must be {' or '.join(map(repr, allowed))}, {_short(clean[name])} given"
    if len({clean[name] is None for name in form.together}) == 2:
        absent = next(name for name in form.together if clean[name] is None)
        yield "missing cell", f"{' and '.join(form.together)} are given together or not at all; {absent} is missing"


def _fits(given: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**31
    if kind is float:
        return isinstance(given, float) and math.isfinite(given)
    return isinstance(given, str) and _encodable(given)


def _number(given: Any, kind: type) -> Any:
    """Whole numbers of a column of fractions as fractions: the same data gives the same fingerprint."""
    if kind is float and isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**31:
        return float(given)
    return given


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as JSON can smuggle in
        return False
    return True


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:77]}…"


_KINDS = {str: "a text that is not empty", int: "a whole number", float: "a finite number"}
