"""Every kind of fault is found in a copy of the shipped edition that has just that one."""

import json

import pytest

from nnvalue.dataset import TABLES, check_edition, edition_folder, embedded_editions
from nnvalue.dataset.checks import alike_cores
from nnvalue.dataset.edition import as_table, read_edition_table

VALUES = ("self_direction", "hedonism", "power")


@pytest.fixture(scope="module")
def shipped():
    """Three values of the shipped edition and three variants a core: enough for every kind of fault."""
    rows = {kind: [row for _, row in read_edition_table(edition_folder(), kind)] for kind in TABLES}
    return {
        kind: [
            row
            for row in table
            if row.get("value", "power") in VALUES and (kind != "situations" or row["id"][-2:] <= "03")
        ]
        for kind, table in rows.items()
    }


def faults_of_copy(shipped, folder, kind, change):
    """Kinds of fault that the check names in a copy in which `change` was done to the rows of one table."""
    import pyarrow.parquet

    for name, rows in shipped.items():
        copy = [dict(row) for row in rows]
        if name == kind:
            copy = change(copy) or copy
        pyarrow.parquet.write_table(as_table(copy, name), folder / f"{name}.parquet")
    return {fault.kind: fault.sentence for fault in check_edition(folder).faults}


@pytest.mark.parametrize("name", embedded_editions())
def test_the_shipped_editions_have_no_fault(name):
    report = check_edition(name)
    assert report.faults == ()
    assert report.counts["situations"] == report.counts["distinct situations"]


def duplicate(rows):
    rows[10]["text"] = f"  {rows[0]['text'].upper()}"


def leak(rows):
    core = rows[0]["core"]
    twin = next(row for row in rows if row["core"] == core and row["id"] != rows[0]["id"])
    twin["split"] = "test" if twin["split"] == "locate" else "locate"


def unbalanced(rows):
    return [row for row in rows if row["value"] != "hedonism" or row["core"] < "he-c120"]


def empty(rows):
    rows[3]["text"] = " "


def wrong_label(rows):
    rows[5]["value"] = "hedonism"


def unknown_label(rows):
    rows[5]["value"] = "kindness"


def unpaired(rows):
    return [row for row in rows if row["id"] != "po-d07-neg"]


def emptied(rows):
    for row in rows:
        row["text"] = ""


def longer(rows):
    for row in rows:
        if row["value"] == "power" and row["pole"] == "positive":
            row["text"] = f"{row['text']} So friends say."


def negated(rows):
    for row in rows:
        if row["value"] == "power" and row["pole"] == "negative":
            words = row["text"].split()
            row["text"] = " ".join([*words[:2], "not", *words[3:]])


def one_sided(rows):
    rows[7]["text"] = f"Wisely, {rows[7]['text']}"


def alike(rows):
    other = next(row for row in rows if row["core"] != rows[0]["core"])
    other["text"] = rows[0]["text"].replace("?", ", then?")


def crowded(rows):
    rows += [{**rows[0], "id": f"x{number}", "text": f"{rows[0]['text']} ({number})"} for number in range(8)]


@pytest.mark.parametrize(
    ("table", "change", "kind", "says"),
    [
        ("situations", duplicate, "duplicate", "2 rows say"),
        ("situations", leak, "leak between splits", "sd-c001"),
        ("situations", unbalanced, "unbalanced", "hedonism"),
        ("situations", empty, "empty text", "row 4"),
        ("situations", wrong_label, "wrong label", "sd-c002"),
        ("descriptions", unknown_label, "wrong label", "kindness"),
        ("descriptions", unpaired, "unpaired", "pair 7 of 'power'"),
        ("descriptions", emptied, "empty table", "descriptions has no row that fits"),
        ("descriptions", longer, "poles of unequal length", "power: the positive ones"),
        ("descriptions", negated, "unequal negations", "power"),
        ("situations", one_sided, "one-sided wording", "Wisely"),
        ("situations", alike, "alike", "sd-c001"),
        ("situations", crowded, "too many variants", "sd-c001"),
    ],
)
def test_a_planted_fault_is_named(shipped, tmp_path, table, change, kind, says):
    faults = faults_of_copy(shipped, tmp_path, table, change)
    assert says in faults[kind]
    consequences = {
        "duplicate": {"alike"}, "wrong label": {"unbalanced", "unpaired"}, "empty table": {"empty text", "unbalanced"},
    }  # fmt: skip
    assert set(faults) <= {kind} | consequences.get(kind, set())


def test_a_changed_table_no_longer_fits_its_content_hash(shipped, tmp_path):
    (tmp_path / "edition.json").write_text(json.dumps({"name": "mine", "framework": "schwartz", "sha256": "0" * 64}))
    assert set(faults_of_copy(shipped, tmp_path, None, None)) == {"content hash"}


def test_likeness_is_found_as_by_comparing_every_pair(shipped):
    """A shortcut that skipped pairs would miss some; here every pair is compared."""
    from itertools import combinations

    from nnvalue.dataset.checks import four_grams

    rows = shipped["situations"][:60:4] + shipped["situations"][:60:5]
    texts = [(f"c{number}", row["text"]) for number, row in enumerate(rows)]
    for share in (0.2, 0.6):
        expected = set()
        for (one, first), (other, second) in combinations(texts, 2):
            a, b = four_grams(first), four_grams(second)
            if len(a & b) > share * min(len(a), len(b)):
                expected.add(tuple(sorted((one, other))))
        assert expected
        assert set(alike_cores(texts, share)) == expected
