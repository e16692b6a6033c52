"""Items of instruments: their table, what is checked in it, and an edition that has nothing else."""

import json

import pytest

from nnvalue.dataset import (
    build_contrasts,
    build_sentence_contrasts,
    check_edition,
    edition_folder,
    from_rows,
    import_edition,
    load_valueinsight,
    write_edition,
)
from nnvalue.errors import ArtifactError, DatasetError, InvalidInputError, UnknownNameError

ITEM = {"id": "i1", "item": "q1", "source": "OURS", "value": "power", "weight": 1, "text": "I lead."}
FREE = {"id": "i2", "item": "q2", "source": "OURS", "value": None, "weight": None, "text": "I walk."}
CORRELATED = {**ITEM, "id": "i3", "value": "conservation", "weight": -0.25, "query": "Who goes first?"}
DESCRIPTION = {
    "id": "d1", "value": "power", "pole": "positive", "pair": 1, "facet": "rank", "split": "locate", "text": "a",
}  # fmt: skip
PAIR = [DESCRIPTION, {**DESCRIPTION, "id": "d2", "pole": "negative", "text": "z"}]
SITUATION = {
    "id": "s1", "core": "c1", "value": "power", "domain": "work", "facet": "rank", "split": "locate", "text": "b?",
}  # fmt: skip


def test_an_edition_of_items_alone_comes_back_from_disk(tmp_path):
    """A whole number read back as a fraction would change the fingerprint."""
    edition = from_rows("mine", (), (), items=[ITEM, FREE, CORRELATED])
    write_edition(edition, tmp_path / "out")
    again = load_valueinsight(tmp_path / "out")
    assert again.fingerprint == edition.fingerprint
    assert list(again.items) == list(edition.items)
    assert [row["weight"] for row in again.items] == [1.0, None, -0.25]
    assert check_edition(tmp_path / "out").faults == ()


def test_items_count_in_the_fingerprint_only_where_there_are_any():
    """Editions that were written before there were items keep theirs."""
    written = json.loads((edition_folder("moral_foundations") / "edition.json").read_text())["sha256"]
    assert load_valueinsight("moral_foundations").fingerprint == written
    without = from_rows("mine", PAIR, [SITUATION])
    assert from_rows("mine", PAIR, [SITUATION], items=[ITEM]).fingerprint != without.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "row 1: value and weight are given together or not at all; weight is missing"),
        ({"value": None}, "value is missing"),
        ({"weight": float("nan")}, "column 'weight' must be a finite number, nan given"),
        ({"weight": float("inf")}, "must be a finite number"),
        ({"weight": 10**400}, "must be a finite number"),
        ({"weight": True}, "must be a finite number"),
        ({"weight": "1"}, "must be a finite number"),
        ({"text": ""}, "column 'text' must be a text that is not empty"),
        ({"id": "i2"}, "the id 'i2' stands in row 1 too"),
    ],
)
def test_a_malformed_item_is_refused_with_its_place(change, message):
    with pytest.raises(DatasetError, match=message):
        from_rows("mine", (), (), items=[{**ITEM, **change}, FREE])


def test_descriptions_alone_are_no_edition(tmp_path):
    with pytest.raises(DatasetError, match="situations is empty; an edition has descriptions and situations, or items"):
        from_rows("mine", PAIR, ())
    (tmp_path / "items.jsonl").write_text("")
    with pytest.raises(DatasetError, match="descriptions is empty"):
        load_valueinsight(tmp_path)


def test_items_cannot_be_asked():
    edition = from_rows("mine", (), (), items=[ITEM])
    for build in (build_contrasts, build_sentence_contrasts):
        with pytest.raises(DatasetError, match=r"holds items of instruments and no situations.*; give a dataset with"):
            build(edition, "power")
    both = from_rows("mine", PAIR, [SITUATION], items=[ITEM])
    assert len(build_contrasts(both, "power")) == 1
    with pytest.raises(UnknownNameError):
        build_contrasts(both, "security")


def test_the_check_finds_what_is_wrong_with_items(tmp_path):
    """A group is a label; a name of no framework, a weight beyond 1 and a row that says the same again are not."""
    rows = [
        ITEM, FREE, CORRELATED,
        {**ITEM, "id": "i4", "text": "i lead!", "weight": -1},
        {**ITEM, "id": "i5", "value": "kindness"},
        {**ITEM, "id": "i6", "value": "security", "weight": 2},
        {**ITEM, "id": "i7", "value": "security", "source": "THEIRS"},
        {**ITEM, "id": "i8", "weight": None},
    ]  # fmt: skip
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = check_edition(tmp_path)
    assert sorted((fault.kind, fault.sentence) for fault in report.faults) == [
        ("duplicate", "items: 2 rows of OURS with the value 'power' say: i lead"),
        ("missing cell", "items, row 8: value and weight are given together or not at all; weight is missing"),
        ("weight", "items: i6 has the weight 2; -1 to 1 is possible"),
        ("wrong label", "items: i5 is labelled 'kindness', no name of schwartz"),
    ]
    counts = {name: count for name, count in report.counts.items() if "items" in name}
    assert counts == {
        "items": 2, "values of items": 4, "sources of items": 2, "rows of items": 7,
        "rows of items against their value": 2,
    }  # fmt: skip
    assert not any("items" in name for name in check_edition("moral_foundations").counts)


def test_items_of_a_table_with_named_columns(tmp_path):
    """Weights in a CSV file are texts; what a file need not say is filled in; a row that says the same is listed."""
    path = tmp_path / "scale.csv"
    path.write_text(
        "statement,value,keying\nI lead.,PO,-1\nI rest.,Conservation,.5e-1\nI walk.,,\nI lead.,power,-1.0\n"
    )
    named = {"items": {"text": "statement", "weight": "keying"}}
    made = import_edition({"items": path}, tmp_path / "out", columns=named)
    assert [(one.file, one.number, one.fault) for one in made.misfits["items"]] == [
        (str(path), 5, "the same stands in row 2 too")
    ]
    made = import_edition({"items": path}, tmp_path / "out", columns=named, leave_out=True)
    assert [tuple(row.values()) for row in made.edition.items] == [
        ("scale-2", "scale-2", "scale", "power", -1.0, "I lead.", None, None),
        ("scale-3", "scale-3", "scale", "conservation", 0.05, "I rest.", None, None),
        ("scale-4", "scale-4", "scale", None, None, "I walk.", None, None),
    ]
    path.write_text("text,value,weight\nI lead.,power,nan\n")
    made = import_edition({"items": path}, tmp_path / "out2")
    assert made.misfits["items"][0].fault == "column 'weight' must be a finite number, 'nan' given"
    with pytest.raises(DatasetError, match=r"No row of .* fits"):
        import_edition({"items": path}, tmp_path / "out2", leave_out=True)


def test_further_files_go_with_an_edition(tmp_path):
    edition = from_rows("mine", PAIR, [SITUATION])
    write_edition(edition, tmp_path / "out", {"answers.jsonl": b"{}\n"})
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == b"{}\n"
    write_edition(edition, tmp_path / "out")  # written here before, so it may be replaced
    assert not (tmp_path / "out" / "answers.jsonl").exists()
    framework = b"name: mine\nvalues: [{name: power}]\n"
    write_edition(edition, tmp_path / "out", {"framework.yaml": framework})
    assert load_valueinsight(tmp_path / "out").framework == str(tmp_path / "out" / "framework.yaml")
    for name in ("edition.json", "manifest.json", "items.csv", "situations.parquet", "../a", "a/b", ""):
        with pytest.raises(InvalidInputError, match="cannot be called"):
            write_edition(edition, tmp_path / "other", {name: b""})
    assert not (tmp_path / "other").exists()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError):
        write_edition(edition, tmp_path / "out")
