"""From what the writer said to items: JSON where it is whole, and what is whole of it where it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

_LIST = re.compile(r'"items"\s*:\s*\[|\[(?=\s*[{"\]])')
"""Where a list of items begins: behind its name, or what looks like one."""
_BETWEEN = re.compile(r"[\s,]*")


def items_of(answer: str, fields: Sequence[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The items of an answer, and what is wrong with the rest of it, each in a few words.

    Taken is the first list in the answer, whatever stands around it; of a list that breaks off, the items before. An
    item is an object with a text in every field; where there is one field only, a text alone will do.
    """
    found: list[dict[str, str]] = []
    faults: list[str] = []
    for entry in _entries(answer, faults):
        entry = {fields[0]: entry} if len(fields) == 1 and isinstance(entry, str) else entry
        texts: list[Any] = [entry.get(name) for name in fields] if isinstance(entry, dict) else [None]
        if all(isinstance(text, str) and text.strip() for text in texts):
            found.append({name: _plain(text) for name, text in zip(fields, texts, strict=True)})
        else:
            faults.append(f"an item without {' and '.join(fields)}: {json.dumps(entry, ensure_ascii=False)[:80]}")
    return found, faults


def _entries(answer: str, faults: list[str]) -> Iterator[Any]:
    """The entries of the first list, one after the other."""
    start = _LIST.search(answer)
    if start is None:
        faults.append(f"no list of items: {_plain(answer)[:80]}")
        return
    place, decoder = start.end(), json.JSONDecoder()
    while True:
        between = _BETWEEN.match(answer, place)
        place = place if between is None else between.end()
        if answer[place : place + 1] == "]":
            return
        try:
            entry, place = decoder.raw_decode(answer, place)
        except (ValueError, RecursionError):
            rest = _plain(answer[place:])
            faults.append(f"broken off at: {rest[:80]}" if rest else "broken off")
            return
        yield entry


def _plain(text: str) -> str:
    # JSON can hold half of a surrogate pair, which no file can.
    return " ".join(text.encode("utf-8", "replace").decode().split())
