"""PersonalityBench's layout, of NPTI and those who follow it: descriptions of either pole, questions in two splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnvalue.dataset.layouts.source import Placed, Source, json_files, slug, stripped
from nnvalue.dataset.schema import NOT_GIVEN
from nnvalue.dataset.tables import drawn_split, read_rows
from nnvalue.errors import DatasetError

_SPLIT_OF = {"search": "locate", "test": "test", "testdata": "test"}
_REVERSED = "_reversed"
_FAMILY = ("tag", "facet", "topic")  # questions that share all three are variants of one
_KEPT = {"question", "BFI", "tag", "topic"}


def read(path: Path) -> Source:
    """The descriptions and questions of a folder, or of the folder `dataset` in it.

    Beside the folders `search` and `test` (or `testdata`), each with a file a trait and in it a question a line, lies
    a file of descriptions, which is known by its keys: a trait, and the trait with `_reversed` for its other pole. The
    n-th descriptions of either pole make a pair.

    Raises DatasetError where the folder or a part of it is missing, or a file is unreadable.
    """
    if not path.is_dir():
        given = "is a file" if path.exists() else "does not exist"
        raise DatasetError(f"{path} {given}; give the folder that has search, test and the descriptions in it.")
    home = next((one for one in (path, path / "dataset") if any((one / name).is_dir() for name in _SPLIT_OF)), None)
    if home is None:
        raise DatasetError(f"{path} has no folder search, test or testdata, nor has a folder dataset in it.")
    source = Source("PersonalityBench")
    _describe(source, _description_file(dict.fromkeys((home, path))))
    files = [(file, name) for name in _SPLIT_OF if (home / name).is_dir() for file in json_files(home / name)]
    for file, name in files:
        _ask(source, file, name)
    if not source.rows.get("situations"):
        raise DatasetError(f"There is no question in the folders {', '.join(_SPLIT_OF)} of {home}.")
    return source


def _description_file(folders: dict[Path, None]) -> Path:
    found = [file for folder in folders for file in json_files(folder) if _tells_poles(file)]
    places = " or ".join(map(str, folders))
    if not found:
        raise DatasetError(
            f"There is no file of descriptions in {places}: JSON lines with a trait, and the trait with {_REVERSED}, "
            "for keys."
        )
    if len(found) > 1:
        raise DatasetError(
            f"There are two files of descriptions in {places}, {found[0].name} and {found[1].name}; leave one there."
        )
    return found[0]


def _tells_poles(file: Path) -> bool:
    """Whether any line of a file has the other pole of a trait; what is broken in it is said when it is read."""
    for line in file.read_bytes().split(b"\n"):
        if _REVERSED.encode() in line:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and any(key.endswith(_REVERSED) for key in row):
                return True
    return False


def _describe(source: Source, file: Path) -> None:
    read = read_rows(file, "descriptions", ".jsonl")
    traits = {key.removesuffix(_REVERSED) for _, row in read for key in row if key.endswith(_REVERSED)}
    times: Counter[tuple[str, str]] = Counter()
    for line, row in read:
        for key, text in _texts(row):
            trait = key.removesuffix(_REVERSED)
            if trait not in traits:
                source.aside[key] += 1
                continue
            pole, name = ("positive", "negative")[key.endswith(_REVERSED)], slug(trait)
            times[name, pole] += 1
            pair = times[name, pole]
            made = {
                "id": f"{name}-{pair}-{pole[:3]}", "value": trait, "pole": pole, "pair": pair, "facet": NOT_GIVEN,
                "split": drawn_split(f"{name} {pair}"), "text": stripped(text),
            }  # fmt: skip
            source.add("descriptions", Placed(str(file), line, made))


def _texts(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The texts of one line, each with its key; a key may have a list of them."""
    for key, given in row.items():
        for text in given if isinstance(given, list) else [given]:
            yield key, text


def _ask(source: Source, file: Path, folder: str) -> None:
    for line, row in read_rows(file, "questions", ".jsonl"):
        trait = file.stem if row.get("BFI") is None else row["BFI"]
        mark = f"{folder}-{file.stem}-{line}"
        family: list[Any] = [row.get(name) for name in _FAMILY]
        if all(isinstance(name, str) and name for name in (trait, *family)):
            core = " / ".join((folder, slug(trait), *family))
        else:
            core = mark
        made = {
            "id": mark, "core": core, "value": trait, "second_value": None, "split": _SPLIT_OF[folder],
            "domain": row.get("topic") or NOT_GIVEN, "facet": row.get("tag") or NOT_GIVEN,
            "text": stripped(row.get("question")),
        }  # fmt: skip
        source.add("situations", Placed(str(file), line, made))
        source.set_aside(row, _KEPT)
