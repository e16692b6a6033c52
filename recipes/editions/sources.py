"""The hand-written sources of an edition, and the rules that every text of them obeys.

    python -m recipes.editions.sources valueinsight power      # all faults of one value's sources

One JSON object a line in `<edition>/<kind>/<value>.jsonl`.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnvalue.builder.rules import pair_fault, text_fault
from nnvalue.organism.lexicon import lexicon
from recipes.editions.slots import combinations, every_variant

HERE = Path(__file__).parent
KINDS = ("situations", "descriptions", "sentences", "portraits")
FIELDS = {
    "situations": {"domain", "facet", "second_value", "text"},
    "descriptions": {"pair", "facet", "positive", "negative"},
    "sentences": {"facet", "positive", "negative"},
    "portraits": {"refined", "facet", "positive", "negative"},
}
FEWEST_COMBINATIONS = 12


def rows_of(edition: str, kind: str, value: str) -> list[dict[str, Any]]:
    """The rows of one source file, in its order."""
    path = HERE / edition / kind / f"{value}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def faults_of(edition: str, kind: str, value: str) -> Iterator[str]:
    """Every broken rule in one source file, as `line: what`."""
    rows = rows_of(edition, kind, value)
    topics = topic_pattern(value) if edition == "valueinsight" else None
    for number, row in enumerate(rows, start=1):
        place = f"{kind}/{value}.jsonl line {number}"
        if set(row) != FIELDS[kind]:
            yield f"{place}: fields are {sorted(row)}, expected {sorted(FIELDS[kind])}"
            continue
        check = situation_faults if kind == "situations" else pair_faults
        yield from (f"{place}: {fault}" for fault in check(row, kind, topics))
    columns = ("text", "positive", "negative")
    texts = Counter(row[name] for row in rows for name in columns if row.get(name))
    yield from (f"{kind}/{value}: twice: {text}" for text, times in texts.items() if times > 1)


def topic_pattern(value: str) -> re.Pattern[str]:
    """Matches a topic word of the value, by which the organism knows what a text is about."""
    return re.compile(r"\b(" + "|".join(map(re.escape, lexicon().values[value].topics)) + ")", re.IGNORECASE)


def situation_faults(row: dict[str, Any], kind: str, topics: re.Pattern[str] | None) -> Iterator[str]:
    """Slots, lengths, topic words and even-handedness of one core."""
    text = row["text"]
    try:
        count = combinations(text)
    except ValueError as error:
        yield str(error)
        return
    if count < FEWEST_COMBINATIONS:
        yield f"only {count} combinations: {text}"
    if count > 5000:
        yield f"{count} combinations are more than can be read: {text}"
        return
    for variant in every_variant(text):
        if fault := text_fault(variant, kind) or topic_fault(variant, topics):
            yield f"{fault}: {variant}"
            return


def pair_faults(row: dict[str, Any], kind: str, topics: re.Pattern[str] | None) -> Iterator[str]:
    """Lengths, negations, likeness and topic words of a positive and a negative text."""
    positive, negative = row["positive"], row["negative"]
    if fault := pair_fault(positive, negative, kind):
        yield f"{fault}: {positive} | {negative}"
    for text in (positive, negative) if kind != "sentences" else ():
        if fault := topic_fault(text, topics):
            yield f"{fault}: {text}"


def topic_fault(text: str, topics: re.Pattern[str] | None) -> str | None:
    """Whether a text lacks a topic word of its value."""
    return "no topic word" if topics is not None and not topics.search(text) else None


def counts(edition: str, value: str) -> str:
    """How many rows each file has, and how the situations spread over domains and facets."""
    lines = []
    for kind in KINDS:
        if (HERE / edition / kind / f"{value}.jsonl").is_file():
            rows = rows_of(edition, kind, value)
            lines.append(f"{kind}: {len(rows)}; facets {dict(Counter(row.get('facet') for row in rows))}")
            if kind == "situations":
                lines.append(f"  domains {dict(Counter(row['domain'] for row in rows))}")
                lines.append(f"  dilemmas {sum(row['second_value'] is not None for row in rows)}")
    return "\n".join(lines)


if __name__ == "__main__":
    chosen, names = sys.argv[1], sys.argv[2:]
    for name in names:
        faults = [
            fault
            for kind in KINDS
            if (HERE / chosen / kind / f"{name}.jsonl").is_file()
            for fault in faults_of(chosen, kind, name)
        ]
        print(counts(chosen, name), *faults, f"{name}: {len(faults)} faults", sep="\n")
