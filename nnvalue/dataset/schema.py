"""The columns of an edition's tables, and the check that a table has them."""

from __future__ import annotations

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


@dataclass(frozen=True)
class TableForm:
    """What a table of an edition looks like.

    columns: name -> type.
    nullable: columns that may be empty or missing.
    choices: column -> what may stand in it.
    unique: columns in which nothing may stand twice.
    """

    columns: Mapping[str, type]
    nullable: frozenset[str] = frozenset()
    choices: Mapping[str, Sequence[str]] | None = None
    unique: tuple[str, ...] = ("id", "text")


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
}  # fmt: skip
"""The tables of an edition; the first two are required."""
REQUIRED = ("descriptions", "situations")


@dataclass(frozen=True)
class Misfit:
    """A row that does not fit: its number (counted from 1, or a line of its file) and what is wrong with it."""

    number: int
    fault: str
    kind: str = "malformed row"


def fitting_rows(
    rows: Iterable[Mapping[str, Any]], kind: str, numbers: Iterable[int] | None = None
) -> tuple[list[dict[str, Any]], list[Misfit]]:
    """The rows of a table that fit its form, cut down to its columns, and those that do not.

    Of two rows with the same id or text the first one fits.

    Args:
        numbers: what to call the rows in messages; default: 1, 2, 3 …
    """
    form = TABLES[kind]
    fitting, misfits = [], []
    seen: dict[tuple[str, str], int] = {}
    for place, row in enumerate(rows, start=1) if numbers is None else zip(numbers, rows, strict=True):
        clean = {name: row.get(name) for name in form.columns}
        found = next(_faults(clean, row, form), None)
        if found is None:
            keys = [(name, clean[name]) for name in form.unique]
            twin = next((key for key in keys if key in seen), None)
            if twin is None:
                fitting.append(clean)
                seen.update(dict.fromkeys(keys, place))
                continue
            found = ("duplicate", f"the {twin[0]} {_short(twin[1])} stands in row {seen[twin]} too")
        misfits.append(Misfit(place, found[1], found[0]))
    return fitting, misfits


def check_rows(rows: Iterable[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """All rows of a table, cut down to its columns. Raises DatasetError that names table, row and fault."""
    fitting, misfits = fitting_rows(rows, kind)
    if misfits:
        raise DatasetError(f"{kind}, row {misfits[0].number}: {misfits[0].fault}.")
    if not fitting and kind in REQUIRED:
        raise DatasetError(f"{kind} is empty; at least one row is needed.")
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


def _fits(given: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**31
    return isinstance(given, str) and _encodable(given)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as JSON can smuggle in
        return False
    return True


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:77]}…"


_KINDS = {str: "a text that is not empty", int: "a whole number"}
