"""What can be wrong with an edition, looked for in all of it: labels, balance, leaks, likeness, and form that tells."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnvalue.dataset.edition import (
    ENGLISH,
    edition_folder,
    fingerprint_of,
    framework_of,
    is_english,
    read_edition_table,
    read_manifest,
    split_leaks,
    unpaired,
)
from nnvalue.dataset.schema import NOT_GIVEN, REQUIRED, TABLES, fitting_rows
from nnvalue.values import POLES, Framework, load_framework

ALIKE = 0.6  # of the word 4-grams of the shorter of two texts: more is too much for two cores
MOST_VARIANTS = 10  # of one core
UNEVEN_SHARE = 0.1  # of the mean, by which the counts of two values may differ
UNEVEN_DOMAINS = 2.0  # times as many situations as the mean, or so many times fewer, a domain may have
UNEVEN_WORDS = 1.0  # by which the mean lengths of a value's two poles may differ
UNEVEN_NEGATIONS = 0.05  # by which the shares of a value's texts with a negation may differ

NEGATION = re.compile(
    r"\b(not|never|no|none|nothing|nobody|nowhere|without|cannot|neither|nor)\b|n['’]t\b", re.IGNORECASE
)
ONE_SIDED = re.compile(
    r"\b(rightly|wrongly|right thing|wrong thing|selfish\w*|selfless\w*|noble|nobly|wise|wisely|foolish\w*|stupid\w*|"
    r"brave\w*|cowardly|coward|admirabl\w*|shameful\w*|wonderful|terribl\w*|silly|pointless\w*|virtuous|wicked|"
    r"of course|obviously|unfair\w*|greedy|lazily|evil|heroic\w*|sadly|luckily|fortunately|unfortunately|at last|"
    r"needless\w*|deserv\w*)\b",
    re.IGNORECASE,
)
"""Words that praise or blame, so that one answer would be given away in advance (English)."""

Rows = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: its kind, by which faults are grouped, and a sentence that says where."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class Report:
    """What `check_edition` found: figures of the edition, by name, all faults, and the situations that fit."""

    name: str
    counts: Mapping[str, int]
    faults: tuple[Fault, ...]
    situations: Sequence[Mapping[str, Any]]


def check_edition(name: str | Path | None = None) -> Report:
    """Look for every kind of fault in an embedded edition or a folder.

    Raises DatasetError where the folder or a required table is missing or unreadable, UnknownNameError and
    InvalidInputError where its framework cannot be opened; anything else is a fault of the report.
    """
    folder = edition_folder(name)
    facts = read_manifest(folder)
    framework = load_framework(framework_of(folder, facts))
    rows: dict[str, list[dict[str, Any]]] = {}
    faults: list[Fault] = []
    for kind in TABLES:
        read = read_edition_table(folder, kind)
        rows[kind], misfits = fitting_rows([row for _, row in read], kind, [number for number, _ in read])
        faults += [Fault(misfit.kind, f"{kind}, row {misfit.number}: {misfit.fault}") for misfit in misfits]
    for check in CHECKS if is_english(facts.get("language", ENGLISH)) else LANGUAGE_FREE:
        faults += check(rows, framework)
    if "sha256" in facts and facts["sha256"] != fingerprint_of(rows):
        faults.append(Fault("content hash", "the tables are not those that edition.json was written for"))
    return Report(facts.get("name") or folder.name, counts_of(rows), tuple(faults), rows["situations"])


def counts_of(rows: Rows) -> dict[str, int]:
    """How much of what an edition holds."""
    situations, descriptions = rows["situations"], rows["descriptions"]
    per_pole = Counter((row["value"], row["pole"]) for row in descriptions)
    cores = Counter(row["core"] for row in situations)
    items = rows["items"]
    of_items = {
        "items": len({row["item"] for row in items}),
        "values of items": len({row["value"] for row in items} - {None}),
        "sources of items": len({row["source"] for row in items}),
        "rows of items": len(items),
        "rows of items against their value": sum((row["weight"] or 0) < 0 for row in items),
    }
    return {
        "descriptions": len(descriptions),
        "descriptions a value and pole, at least": min(per_pole.values(), default=0),
        "situations": len(situations),
        "distinct situations": len({plain_words(row["text"]) for row in situations}),
        "cores": len(cores),
        "variants a core, at most": max(cores.values(), default=0),
        "values": len({row["value"] for row in situations}),
        "domains": len({row["domain"] for row in situations}),
        "dilemmas": sum(row["second_value"] is not None for row in situations),
        "test situations": sum(row["split"] == "test" for row in situations),
        "sentence pairs": len(rows["sentences"]),
        "portraits": len(rows["portraits"]),
        "roles": len(rows["roles"]),
        "test roles": sum(row["split"] == "test" for row in rows["roles"]),
        **(of_items if items else {}),
    }


def _labels(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Names that the framework does not have, facets of another value, and cores that speak of two values."""
    for kind in ("descriptions", "situations", "sentences", "portraits"):
        for row in rows[kind]:
            for sentence in _wrong_labels(row, framework):
                yield Fault("wrong label", f"{kind}: {row['id']} {sentence}")
    for role in rows["roles"]:
        told = [name.strip() for pole in POLES for name in (role[pole] or "").split(",") if name.strip()]
        for name in told:
            if name not in framework.values or told.count(name) > 1:
                yield Fault("wrong label", f"roles: {role['id']} names '{name}', which is no value or stands twice")
    known = {None, *framework.values, *framework.groups}
    for row in rows["items"]:
        if row["value"] not in known:
            yield Fault("wrong label", f"items: {row['id']} is labelled '{row['value']}', no name of {framework.name}")
    values_of = defaultdict(set)
    for row in rows["situations"]:
        values_of[row["core"]].add(row["value"])
    for core, values in values_of.items():
        if len(values) > 1:
            yield Fault("wrong label", f"situations: the core {core} has variants of {' and '.join(sorted(values))}")


def _wrong_labels(row: Mapping[str, Any], framework: Framework) -> Iterator[str]:
    value, second, facet = row["value"], row.get("second_value"), row["facet"]
    if value is not None and value not in framework.values:
        yield f"is labelled '{value}', which {framework.name} does not have"
    if second is not None and (second not in framework.values or second == value):
        yield f"is set against '{second}', which is the same value or none of {framework.name}"
    if facet not in (None, NOT_GIVEN) and framework.facets and value is not None:
        known = framework.facets.get(facet)
        if known is None or known.value != value:
            yield f"has the facet '{facet}', which is none of '{value}'"


def _missing(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Tables without a row that fits, and pairs that lack one of their two texts."""
    for kind in REQUIRED:
        if not rows[kind] and not rows["items"]:
            yield Fault("empty table", f"{kind} has no row that fits")
    for sentence in unpaired(rows):
        yield Fault("unpaired", sentence)


def _leaks(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Pairs, cores and texts that stand in more than one split."""
    for leak in split_leaks(rows):
        yield Fault("leak between splits", leak)


def _duplicates(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Texts that differ in case, blanks or marks only."""
    for kind, form in TABLES.items():
        for column in set(form.unique) - {"id"}:
            for text, count in Counter(plain_words(row[column]) for row in rows[kind]).items():
                if count > 1:
                    yield Fault("duplicate", f"{kind}: {count} rows say: {text}")
    # One statement may go with several values, stand in several instruments, and reply to several queries.
    keys = ((row["source"], row["query"], plain_words(row["text"]), row["value"]) for row in rows["items"])
    times: Counter[tuple[Any, ...]] = Counter(keys)
    for (source, _, text, value), count in times.items():
        if count > 1:
            tied = "without a value" if value is None else f"with the value '{value}'"
            yield Fault("duplicate", f"items: {count} rows of {source} {tied} say: {text}")


def _weights(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Weights that are neither a keying nor a correlation."""
    for row in rows["items"]:
        if row["weight"] is not None and abs(row["weight"]) > 1:
            yield Fault("weight", f"items: {row['id']} has the weight {row['weight']:g}; -1 to 1 is possible")


def _balance(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Values or domains of which there is more or less than of the others, and poles and test splits likewise."""
    counted = {
        "situations a value": Counter(row["value"] for row in rows["situations"]),
        "descriptions a value and pole": Counter((row["value"], row["pole"]) for row in rows["descriptions"]),
        "sentence pairs a value": Counter(row["value"] for row in rows["sentences"]),
        "test situations a value": Counter(row["value"] for row in rows["situations"] if row["split"] == "test"),
        "portraits a value and keying": Counter((r["value"], r["keying"]) for r in rows["portraits"] if r["value"]),
    }
    values = {row["value"] for row in rows["situations"]}
    for what, counts in counted.items():
        if not counts:
            continue
        keys = {(value, pole) for value in values for pole in POLES} if "and" in what else values
        full = {key: counts.get(key, 0) for key in keys | set(counts)}
        mean = sum(full.values()) / len(full)
        low, high = min(full, key=full.__getitem__), max(full, key=full.__getitem__)
        if full[high] - full[low] > UNEVEN_SHARE * mean:
            yield Fault("unbalanced", f"{what}: {full[low]} for {_named(low)}, {full[high]} for {_named(high)}")
    domains = Counter(row["domain"] for row in rows["situations"])
    mean = len(rows["situations"]) / max(1, len(domains))
    for domain, count in domains.items():
        if not mean / UNEVEN_DOMAINS <= count <= mean * UNEVEN_DOMAINS:
            yield Fault("unbalanced", f"situations a domain: {count} for {domain}, {mean:.0f} on average")


def _lengths(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Poles that could be told apart by the length of their texts."""
    for kind, value, positive, negative in _poles(rows):
        gap = _mean(positive, _length) - _mean(negative, _length)
        if abs(gap) > UNEVEN_WORDS + 1e-9:
            yield Fault(
                "poles of unequal length",
                f"{kind} of {value}: the {POLES[gap < 0]} ones are {abs(gap):.1f} words longer on average",
            )


def _english_words(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Poles that could be told apart by negations, and situations that praise or blame an answer."""
    for kind, value, positive, negative in _poles(rows):
        gap = _mean(positive, _negated) - _mean(negative, _negated)
        if abs(gap) > UNEVEN_NEGATIONS:
            yield Fault("unequal negations", f"{kind} of {value}: {abs(gap):.0%} more of the {POLES[gap < 0]} ones")
    for row in rows["situations"]:
        if found := ONE_SIDED.search(row["text"]):
            yield Fault("one-sided wording", f"situations: {row['id']} says '{found.group()}'")


def _poles(rows: Rows) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(kind, value, positive texts, negative texts) of descriptions and sentences."""
    texts: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows["descriptions"]:
        texts["descriptions", row["value"], row["pole"]].append(row["text"])
    for row in rows["sentences"]:
        for pole in POLES:
            texts["sentences", row["value"], pole].append(row[pole])
    for kind, value in dict.fromkeys(key[:2] for key in texts):
        positive, negative = (texts.get((kind, value, pole), []) for pole in POLES)
        if positive and negative:  # else the balance check says so
            yield kind, value, positive, negative


def _likeness(rows: Rows, framework: Framework) -> Iterator[Fault]:
    """Cores with too many variants, and cores that share more than `ALIKE` of their word 4-grams with another one."""
    for core, count in Counter(row["core"] for row in rows["situations"]).items():
        if count > MOST_VARIANTS:
            yield Fault("too many variants", f"situations: {count} of the core {core}, at most {MOST_VARIANTS} allowed")
    for one, other in alike_cores([(row["core"], row["text"]) for row in rows["situations"]]):
        yield Fault("alike", f"situations: the cores {one} and {other} share over {ALIKE:.0%} of their word 4-grams")


LANGUAGE_FREE: tuple[Callable[[Rows, Framework], Iterable[Fault]], ...] = (
    _missing, _labels, _weights, _leaks, _duplicates, _balance, _lengths, _likeness,
)  # fmt: skip
CHECKS = (*LANGUAGE_FREE, _english_words)


def alike_cores(texts: Iterable[tuple[str, str]], share: float = ALIKE) -> list[tuple[str, str]]:
    """Pairs of cores of which two texts share more than `share` of the shorter one's word 4-grams.

    Of a text that is alike to another one, at least one of its rarest 4-grams is in that other one too; so only those
    that have such a 4-gram are compared, and 15,000 texts take seconds.

    Args:
        texts: (core, text) for each text.
    """
    grams = [(core, four_grams(text)) for core, text in texts]
    held: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (_, own) in enumerate(grams):
        for gram in own:
            held[gram].append(number)
    found = set()
    for core, own in grams:
        rarest = sorted(own, key=lambda gram: (len(held[gram]), gram))[: len(own) - int(share * len(own))]
        for other in {other for gram in rarest for other in held[gram] if grams[other][0] != core}:
            theirs = grams[other][1]
            if len(own & theirs) > share * min(len(own), len(theirs)):
                found.add((min(core, grams[other][0]), max(core, grams[other][0])))
    return sorted(found)


def four_grams(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of four words, in lower case; of a shorter text, the whole of it."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[start : start + 4]) for start in range(max(1, len(words) - 3)))


def plain_words(text: str) -> str:
    """A text without case, marks and blanks, by which two are the same."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _length(text: str) -> int:
    return len(text.split())


def _negated(text: str) -> bool:
    return NEGATION.search(text) is not None


def _mean(texts: list[str], figure: Callable[[str], float]) -> float:
    return sum(map(figure, texts)) / len(texts) if texts else 0.0


def _named(key: Any) -> str:
    return key if isinstance(key, str) else " ".join(map(str, key))
