"""Other people's tables: named columns, filled-in columns, and every row that does not fit."""

import json

import pytest

from nnvalue.dataset import import_table
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError

CSV = 'question,trait\n"Who leads, and why?",power\n,power\n"One\nand two?",power\nWho leads?,\n'


def test_a_csv_file_with_its_own_column_names(tmp_path):
    """Line numbers are those of the file, also after a cell with a line break; nothing is dropped in silence."""
    path = tmp_path / "asked.csv"
    path.write_text(CSV)
    found = import_table(path, "situations", columns={"text": "question", "value": "trait"}, fill={"domain": "work"})
    assert [row["text"] for row in found.rows] == ["Who leads, and why?", "One\nand two?"]
    assert [(misfit.number, misfit.kind) for misfit in found.misfits] == [(3, "empty text"), (6, "empty text")]
    assert "'value'" in found.misfits[1].fault
    first = found.rows[0]
    assert first["id"] == first["core"] == "asked-2"
    assert first["domain"] == "work"
    assert first["facet"] == "unnamed"
    assert first["split"] in ("locate", "test")


def test_jsonl_and_numbers(tmp_path):
    path = tmp_path / "people.jsonl"
    rows = [
        {"value": "power", "pole": pole, "pair": 1, "text": f"{pole} one"} for pole in ("positive", "negative", "up")
    ]
    path.write_text("\n" + "\n".join(map(json.dumps, rows)))
    found = import_table(path, "descriptions")
    assert [row["pole"] for row in found.rows] == ["positive", "negative"]
    assert len({row["split"] for row in found.rows}) == 1
    assert [(misfit.number, misfit.kind) for misfit in found.misfits] == [(4, "wrong label")]
    table = tmp_path / "people.csv"
    table.write_text("value,pole,pair,text\npower,positive,7,one\npower,negative,7x,two\n")
    found = import_table(table, "descriptions")
    assert found.rows[0]["pair"] == 7
    assert found.misfits[0].kind == "wrong type"


def test_splits_are_drawn_by_what_belongs_together_and_stay_when_rows_are_added(tmp_path):
    path = tmp_path / "asked.jsonl"
    rows = [{"value": "power", "text": f"{core} {n}?", "core": f"c{core}"} for core in range(200) for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows[:300])))
    few = {row["text"]: row["split"] for row in import_table(path, "situations").rows}
    path.write_text("\n".join(map(json.dumps, rows)))
    many = import_table(path, "situations").rows
    assert all(few[row["text"]] == row["split"] for row in many if row["text"] in few)
    split_of = {}
    assert all(split_of.setdefault(row["core"], row["split"]) == row["split"] for row in many)
    assert 0.2 < sum(split == "test" for split in split_of.values()) / 200 < 0.4


def test_pairs_stay_together_whatever_their_number(tmp_path):
    """Pair 0 is a pair, and so are pairs that are counted anew within each value, as portraits may be."""
    path = tmp_path / "portraits.jsonl"
    rows = [
        {"value": value, "keying": keying, "pair": pair, "text": f"{value} {keying} {pair}."}
        for value in ("power", "security", "tradition")
        for pair in range(5)
        for keying in ("positive", "negative")
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    made = import_table(path, "portraits").rows
    split_of = {}
    assert all(split_of.setdefault((row["value"], row["pair"]), row["split"]) == row["split"] for row in made)
    assert set(split_of.values()) == {"locate", "test"}
    people = [{"id": n, "value": "power", "text": f"{n}?", "core": n} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, people)))
    assert [misfit.kind for misfit in import_table(path, "situations").misfits] == ["wrong type"] * 3


def test_parquet_as_pandas_writes_it(tmp_path):
    """Beside a missing cell, pandas writes whole numbers as fractions and the missing one as NaN."""
    import pandas

    path = tmp_path / "d.parquet"
    pandas.DataFrame(
        {"value": "power", "pole": ["positive", "negative", "positive"], "pair": [1, 1, None], "text": ["a", "b", "c"]}
    ).to_parquet(path)
    found = import_table(path, "descriptions")
    assert [row["pair"] for row in found.rows] == [1, 1]
    assert found.misfits[0].number == 3


@pytest.mark.parametrize(
    ("name", "content", "options", "error", "message"),
    [
        ("a.csv", CSV, {"kind": "questions"}, UnknownNameError, "no table 'questions'"),
        ("a.csv", CSV, {"columns": {"texts": "question"}}, UnknownNameError, "no column 'texts'"),
        ("a.csv", CSV, {"columns": {"text": "asked"}}, InvalidInputError, "has no column 'asked'; it has question"),
        ("a.txt", CSV, {}, DatasetError, r"must end in \.parquet, \.jsonl, \.csv"),
        ("a.csv", 'question\n"never closed\n', {}, DatasetError, "cannot be read"),
        ("a.csv", "value,text\npower,Who leads, and why?\n", {}, DatasetError, "line 2 has 3 cells .* needs quotes"),
        ("a.csv", "value,text,text\npower,a,b\n", {}, DatasetError, "two columns are called 'text'"),
        ("a.jsonl", '{"value": 1}\n{broken\n', {}, DatasetError, "line 2"),
        ("a.parquet", "PAR1", {}, DatasetError, "cannot be read"),
        (None, None, {}, DatasetError, "There is no file"),
    ],
)
def test_bad_input_is_one_clear_sentence(tmp_path, name, content, options, error, message):
    path = tmp_path / (name or "nowhere.csv")
    if name:
        path.write_text(content)
    with pytest.raises(error, match=message):
        import_table(path, options.pop("kind", "situations"), **options)
