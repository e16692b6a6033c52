"""Do the shipped editions follow from their hand-written sources? Builds them.

    python -m recipes.build_valueinsight                      # both editions
    python -m recipes.build_valueinsight moral_foundations    # one

Reads `recipes/editions/<edition>/<kind>/<value>.jsonl`, checks every text, draws the variants of every core, gives
each row an id and a split and writes the tables into the package. Stops where a text breaks a rule, and says which.
The smaller edition takes seconds. Expect the counts of every table, and tables that are byte for byte those shipped.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import click

from nnvalue.artifacts import write_bytes
from nnvalue.dataset import check_edition, edition_files, from_rows, generate_roles, role_row
from nnvalue.values import POLES, Value, load_framework
from recipes.command import Recipe
from recipes.editions.slots import variants
from recipes.editions.sources import KINDS, faults_of, rows_of

TARGET = Path(__file__).parents[1] / "nnvalue" / "dataset" / "editions"
VERSION = "1.1.0"
TEST_SHARE = 0.3
ROLES = {"train": 220, "test": 60}
EDITIONS = {  # name -> title, framework, variants a core, whether roles belong to it
    "valueinsight": ("ValueInsight edition 1", "schwartz", 10, True),
    "moral_foundations": ("ValueInsight for moral foundations", "moral_foundations", 5, False),
}


@click.command(cls=Recipe)
@click.argument("names", nargs=-1, type=click.Choice(list(EDITIONS)))
def main(names: tuple[str, ...]) -> None:
    """Build, check and write the editions (all, or those named)."""
    for name in names or EDITIONS:
        build(name)
        report = check_edition(name)
        for what, count in report.counts.items():
            print(f"{what:<42} {count:>7,}")
        for fault in report.faults:
            print(f"{fault.kind}: {fault.sentence}")
        if report.faults:
            raise SystemExit(f"{len(report.faults)} faults in {name}.")


def build(name: str) -> None:
    """Write one edition's files into the package."""
    title, framework_name, per_core, with_roles = EDITIONS[name]
    framework = load_framework(framework_name)
    if faults := [fault for kind in KINDS for value in framework.values for fault in faults_of(name, kind, value)]:
        raise SystemExit("\n".join([*faults, f"{len(faults)} faults in the sources of {name}; nothing was written."]))
    refined = {value.code: value.name for value in load_framework("schwartz19").values.values()}
    tables: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for value in framework.values.values():
        rows = {kind: rows_of(name, kind, value.name) for kind in KINDS}
        tables["descriptions"] += description_rows(value, rows["descriptions"])
        tables["situations"] += situation_rows(value, rows["situations"], per_core)
        tables["sentences"] += sentence_rows(value, rows["sentences"])
        tables["portraits"] += portrait_rows(value, rows["portraits"], refined, first=len(tables["portraits"]) // 2 + 1)
    roles = [role_row(role) for role in shipped_roles()] if with_roles else []
    edition = from_rows(title, **tables, roles=roles, framework=framework_name, version=VERSION)
    (TARGET / name).mkdir(parents=True, exist_ok=True)
    for file, content in edition_files(edition).items():
        write_bytes(TARGET / name / file, content)


def split_of(value: Value, kind: str, count: int) -> list[str]:
    """The split of each of `count` things that stay together, drawn with the value's and the kind's name as seed."""
    test = set(random.Random(f"{value.name}/{kind}").sample(range(count), round(TEST_SHARE * count)))
    return ["test" if number in test else "locate" for number in range(count)]


def description_rows(value: Value, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two rows a pair."""
    splits = split_of(value, "descriptions", len(sources))
    return [
        {
            "id": f"{value.code.lower()}-d{number:02d}-{pole[:3]}", "value": value.name, "pole": pole, "pair": number,
            "facet": row["facet"], "split": splits[number - 1], "text": row[pole],
        }
        for number, row in enumerate(sources, start=1)
        for pole in POLES
    ]  # fmt: skip


def situation_rows(value: Value, cores: list[dict[str, Any]], per_core: int) -> list[dict[str, Any]]:
    """Up to `per_core` variants of every core."""
    splits = split_of(value, "situations", len(cores))
    rows = []
    for number, core in enumerate(cores, start=1):
        name = f"{value.code.lower()}-c{number:03d}"
        kept = {column: core[column] for column in ("second_value", "domain", "facet")}
        for variant, text in enumerate(variants(core["text"], per_core, seed=name), start=1):
            identity = {"id": f"{name}-{variant:02d}", "core": name, "value": value.name}
            rows.append({**identity, **kept, "split": splits[number - 1], "text": text})
    return rows


def sentence_rows(value: Value, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a pair."""
    splits = split_of(value, "sentences", len(sources))
    return [
        {"id": f"{value.code.lower()}-p{number:03d}", "value": value.name, "split": splits[number - 1], **row}
        for number, row in enumerate(sources, start=1)
    ]


def portrait_rows(
    value: Value, sources: list[dict[str, Any]], refined: dict[str, str], first: int
) -> list[dict[str, Any]]:
    """Two rows a pair; an item of a refined value that belongs to none of the ten (face) has no value."""
    splits = split_of(value, "portraits", len(sources))
    rows = []
    for number, row in enumerate(sources, start=1):
        finer = refined.get(row["refined"])
        rows += [
            {
                "id": f"{value.code.lower()}-q{number:02d}-{pole[:3]}",
                "value": None if finer == "face" else value.name, "refined": finer, "keying": pole,
                "pair": first + number - 1, "facet": row["facet"], "split": splits[number - 1], "text": row[pole],
            }
            for pole in POLES
        ]  # fmt: skip
    return rows


def shipped_roles() -> list[Any]:
    """The named roles: those that organisms are trained on, and those held out."""
    train = generate_roles(ROLES["train"], seed=0, split="train")
    return train + generate_roles(ROLES["test"], seed=1, avoid=[role.name for role in train], split="test")


if __name__ == "__main__":
    main()
