"""Build the shipped edition of ValueInsight from its hand-written sources.

    python recipes/build_valueinsight.py

Reads `recipes/valueinsight/<value>.jsonl`, gives every text an id and a split, checks the whole and writes
`descriptions.parquet` and `situations.parquet` into the package.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

from nnvalue.dataset import from_rows, write_parquet
from nnvalue.values import load_framework

SOURCES = Path(__file__).parent / "valueinsight"
TARGET = Path(__file__).parents[1] / "nnvalue" / "dataset" / "edition_1"
TEST_SHARE = 0.3


def main() -> None:
    """Build, check and write the edition."""
    framework = load_framework("schwartz")
    descriptions, situations = [], []
    for value in framework.values.values():
        source = (SOURCES / f"{value.name}.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in source.splitlines() if line.strip()]
        code = value.code.lower()
        for row in (row for row in rows if row["kind"] == "description"):
            descriptions.append(
                {
                    "id": f"{code}-d{row['pair']:02d}-{row['pole'][:3]}",
                    "value": value.name,
                    **{name: row[name] for name in ("pole", "pair", "facet", "split", "text")},
                }
            )
        asked = [row for row in rows if row["kind"] == "situation"]
        test = set(random.Random(value.name).sample(range(len(asked)), round(TEST_SHARE * len(asked))))
        for number, row in enumerate(asked):
            if row["second_value"] is not None:
                framework.resolve(row["second_value"])
            situations.append(
                {
                    "id": f"{code}-s{number + 1:03d}",
                    "core": f"{code}-c{number + 1:03d}",
                    "value": value.name,
                    "split": "test" if number in test else "locate",
                    **{name: row[name] for name in ("second_value", "domain", "facet", "text")},
                }
            )
    edition = from_rows("ValueInsight edition 1", descriptions, situations)
    TARGET.mkdir(exist_ok=True)
    write_parquet(edition, TARGET)
    print(f"{len(descriptions)} descriptions, {len(situations)} situations, fingerprint {edition.fingerprint[:16]}")
    print("domains:", len(Counter(row["domain"] for row in situations)))
    print("splits:", dict(Counter(row["split"] for row in situations)))
    print("dilemmas:", sum(row["second_value"] is not None for row in situations))


if __name__ == "__main__":
    main()
