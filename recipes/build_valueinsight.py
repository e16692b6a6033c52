"""Build the shipped edition of ValueInsight from its hand-written sources.

    python recipes/build_valueinsight.py

Reads `recipes/valueinsight/<value>.jsonl`, checks every text, gives it an id and a split and writes
`descriptions.parquet` and `situations.parquet` into the package. Stops at the first text that breaks a rule.
"""

from __future__ import annotations

import json
import random
import re
from itertools import combinations
from pathlib import Path
from typing import Any

from nnvalue.dataset import from_rows, write_parquet
from nnvalue.organism.lexicon import lexicon
from nnvalue.values import Value, load_framework

SOURCES = Path(__file__).parent / "valueinsight"
TARGET = Path(__file__).parents[1] / "nnvalue" / "dataset" / "edition_1"
TEST_SHARE = 0.3
NEGATION = re.compile(r"\b(not|never|no|none|nothing|nobody|without|cannot|neither|nor)\b|n't", re.IGNORECASE)
WORDS = {"description": range(12, 31), "situation": range(14, 41)}


def main() -> None:
    """Build, check and write the edition."""
    framework = load_framework("schwartz")
    descriptions, situations = [], []
    for value in framework.values.values():
        source = (SOURCES / f"{value.name}.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in source.splitlines() if line.strip()]
        check_texts(value.name, rows)
        descriptions += [description_row(value, row) for row in rows if row["kind"] == "description"]
        situations += situation_rows(value, [row for row in rows if row["kind"] == "situation"])
    for row in situations:
        if row["second_value"] is not None:
            framework.resolve(row["second_value"])
    edition = from_rows("ValueInsight edition 1", descriptions, situations)
    TARGET.mkdir(exist_ok=True)
    write_parquet(edition, TARGET)
    print(f"{len(descriptions)} descriptions, {len(situations)} situations, fingerprint {edition.fingerprint[:16]}")
    print(f"domains: {len({row['domain'] for row in situations})}")
    print(f"test situations: {sum(row['split'] == 'test' for row in situations)}")
    print(f"dilemmas: {sum(row['second_value'] is not None for row in situations)}")


def check_texts(value: str, rows: list[dict[str, Any]]) -> None:
    """The rules of the edition: length, a topic word, no negation in descriptions, no two texts alike."""
    topics = re.compile(r"\b(" + "|".join(map(re.escape, lexicon().values[value].topics)) + ")", re.IGNORECASE)
    for row in rows:
        text = row["text"]
        if len(text.split()) not in WORDS[row["kind"]]:
            raise SystemExit(f"{value}: too short or too long: {text}")
        if not topics.search(text):
            raise SystemExit(f"{value}: no topic word: {text}")
        if row["kind"] == "description" and NEGATION.search(text):
            raise SystemExit(f"{value}: a negation: {text}")
        if row["kind"] == "situation" and not text.endswith("?"):
            raise SystemExit(f"{value}: no question: {text}")
    for one, other in combinations([(row["text"], four_grams(row["text"])) for row in rows], 2):
        if len(one[1] & other[1]) > 0.3 * min(len(one[1]), len(other[1])):
            raise SystemExit(f"{value}: too much alike: {one[0]} | {other[0]}")


def four_grams(text: str) -> set[tuple[str, ...]]:
    """All runs of four words, in lower case."""
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[start:] for start in range(4)), strict=False))


def description_row(value: Value, row: dict[str, Any]) -> dict[str, Any]:
    """A source row in the edition's columns."""
    kept = {name: row[name] for name in ("pole", "pair", "facet", "split", "text")}
    return {"id": f"{value.code.lower()}-d{row['pair']:02d}-{row['pole'][:3]}", "value": value.name, **kept}


def situation_rows(value: Value, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Source rows in the edition's columns; the test split is drawn with the value's name as seed."""
    code = value.code.lower()
    test = set(random.Random(value.name).sample(range(len(asked)), round(TEST_SHARE * len(asked))))
    return [
        {
            "id": f"{code}-s{number + 1:03d}",
            "core": f"{code}-c{number + 1:03d}",
            "value": value.name,
            "split": "test" if number in test else "locate",
            **{name: row[name] for name in ("second_value", "domain", "facet", "text")},
        }
        for number, row in enumerate(asked)
    ]


if __name__ == "__main__":
    main()
