"""Value Portrait's layout: replies to people's queries, each with its correlations with values among its raters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnvalue.dataset.layouts.source import Placed, Source, slug
from nnvalue.dataset.schema import Misfit
from nnvalue.dataset.tables import unreadable
from nnvalue.errors import DatasetError

_NAME = "query-response-tagged.json"
_PLACES = (_NAME, f"query-response-tagged/{_NAME}", f"data/query-response-tagged/{_NAME}")
_VALUES, _GROUPS, _OTHERS = "correlations", "higher_pvq_correlations", "bfi_correlations"
_TWICE = f"{_GROUPS} that stand in {_VALUES} too"
_BLANK = re.compile(r"[ \t\r\n]*")


def read(path: Path) -> Source:
    """The replies of a tagged file, or of the repository or folder that has `query-response-tagged.json`.

    A reply gives a row for every value or group that it has a correlation with, or else one row without a value.

    Raises DatasetError where the file is missing or unreadable, or no array of entries.
    """
    file = path
    if path.is_dir():
        file = next((path / place for place in _PLACES if (path / place).is_file()), path / _NAME)
    if not file.is_file():
        raise DatasetError(f"There is no file {file}.")
    source = Source("Value Portrait", framework="schwartz")
    try:
        entries = list(_entries(file.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable("replies", file, error) from None
    if not entries:
        raise DatasetError(f"{file} has no entry.")
    for line, entry in entries:
        _portrait(source, entry, str(file), line)
    return source


def _entries(text: str) -> Iterator[tuple[int, Any]]:
    """(line on which it starts, entry) for each entry of a JSON array. Raises ValueError that names a line."""
    decoder = json.JSONDecoder()
    line, counted = 1, 0

    def after_blanks(place: int) -> int:
        found = _BLANK.match(text, place)
        return place if found is None else found.end()

    def expect(marks: str, place: int) -> int:
        """The first place behind one of `marks` and the blanks around it."""
        place = after_blanks(place)
        if text[place : place + 1] not in tuple(marks):
            raise json.JSONDecodeError(f"{' or '.join(marks)} expected", text, place)
        return after_blanks(place + 1)

    place = expect("[", 0)
    if text[place : place + 1] == "]":
        return
    while True:
        line, counted = line + text.count("\n", counted, place), place
        entry, end = decoder.raw_decode(text, place)
        yield line, entry
        place = expect(",]", end)
        if text[after_blanks(end)] == "]":
            break
    if place < len(text):
        raise json.JSONDecodeError("nothing expected behind the array", text, place)


def _portrait(source: Source, entry: Any, file: str, line: int) -> None:
    number = entry.get("portrait_id") if isinstance(entry, dict) else None
    content: Any
    outputs: Any
    content, outputs = (entry.get(name) if isinstance(entry, dict) else None for name in ("content", "outputs"))
    query = _query(content)
    if not _is_number(number) or query is None or not isinstance(outputs, list) or not outputs:
        where = f"portrait {number}: " if _is_number(number) else ""
        needed = "an object with portrait_id, content with a text, and outputs is expected"
        source.add("items", Misfit(line, f"{where}{needed}", "malformed row", file))
        return
    source.set_aside(entry, ("portrait_id", "content", "outputs"))
    source.set_aside(content, ("title", "text"))
    for output in outputs:
        name = output.get("id") if isinstance(output, dict) else None
        placed = Placed(file, line, {}, f"portrait {number}, output {name if _is_number(name) else '?'}")
        if not isinstance(output, dict) or not _is_number(name):
            source.add("items", placed.misfit("an object with a number for an id is expected", "malformed row"))
            continue
        shared = {
            "item": f"{number}-{name}", "source": source.title, "text": output.get("content"), "question": None,
            "query": query,
        }  # fmt: skip
        source.set_aside(output, ("content", "id", _VALUES, _GROUPS, _OTHERS))
        for found in _correlations(source, output, placed):
            if isinstance(found, Misfit):
                source.add("items", found)
            else:
                value, weight = found
                mark = shared["item"] if value is None else f"{shared['item']}-{slug(value)}"
                row = {"id": mark, "value": value, "weight": weight, **shared}
                source.add("items", Placed(file, line, row, placed.where))


def _query(content: Any) -> str | None:
    """What is replied to, its title first; None where the entry has none."""
    if not isinstance(content, dict) or not isinstance(content.get("text"), str) or not content["text"].strip():
        return None
    title = content.get("title")
    if title is not None and not isinstance(title, str):
        return None
    return f"{title}\n\n{content['text']}" if title else content["text"]


def _correlations(source: Source, output: dict[str, Any], placed: Placed) -> Iterator[tuple[Any, Any] | Misfit]:
    """The values of a reply with their correlations; (None, None) where it has none."""
    lists = {name: output.get(name) or [] for name in (_VALUES, _GROUPS, _OTHERS)}
    if wrong := [name for name, given in lists.items() if not isinstance(given, list)]:
        yield placed.misfit(f"{wrong[0]} must be a list of names with numbers", "malformed row")
        return
    if lists[_OTHERS]:
        source.aside[_OTHERS] += len(lists[_OTHERS])
    if not lists[_VALUES] and not lists[_GROUPS]:
        yield None, None
    for name in (_VALUES, _GROUPS):
        for pair in lists[name]:
            if name == _GROUPS and pair in lists[_VALUES]:
                source.aside[_TWICE] += 1
            elif _is_correlation(pair):
                yield pair[0], float(pair[1])
            else:
                said = f"a name and a number from -1 to 1 are expected in {name}, {pair!r} given"
                yield placed.misfit(said, "malformed row")


def _is_correlation(pair: Any) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        return False
    number = pair[1]
    return isinstance(number, int | float) and not isinstance(number, bool) and -1 <= number <= 1


def _is_number(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)
