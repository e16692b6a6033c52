"""`nnvalue data` as a user types it."""

import json

import pytest

from tests.cli.running import run_here
from tests.dataset import foreign


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process: (exit status, what it printed, what it said on stderr)."""

    def running(*arguments):
        return run_here(capsys, monkeypatch, *arguments)

    return running


@pytest.fixture
def mine(tmp_path):
    """Two files with column names of their own; one of the questions is empty."""
    (tmp_path / "q.csv").write_text("question,trait\nWho leads here?,power\n,power\nWho speaks up?,power\n")
    people = [
        {"trait": "power", "pole": pole, "pair": pair, "who": f"Number {pair} {verb} the lead.", "split": "locate"}
        for pair in (1, 2)
        for pole, verb in (("positive", "takes"), ("negative", "leaves"))
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, people)))
    return tmp_path


def imported(mine, *more):
    return (
        "data", "import", f"situations={mine / 'q.csv'}", f"descriptions={mine / 'd.jsonl'}", "--out", mine / "out",
        "--column", "value=trait", "--column", "situations.text=question", "--column", "descriptions.text=who", *more,
    )  # fmt: skip


def test_check_prints_the_counts_and_a_sample(run):
    status, out, _ = run("data", "check", "moral_foundations", "--sample", "--number", 3)
    assert status == 0
    assert "No faults." in out
    assert "distinct situations" in out
    assert out.count("?") >= 3
    status, out, _ = run("data", "check", "moral_foundations", "--json")
    data = json.loads(out)
    assert data["faults"] == []
    assert data["counts"]["situations"] == 500


def test_show_prints_rows_of_what_was_asked_for(run):
    status, out, _ = run(
        "data", "show", "moral_foundations", "--table", "descriptions", "--value", "CA", "--number", 4, "--json"
    )
    assert status == 0
    data = json.loads(out)
    assert [row["value"] for row in data["rows"]] == ["care"] * 4
    assert data["of"] == 40
    one, again, other = (run("data", "show", "moral_foundations", "--seed", seed)[1] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_rows_that_do_not_fit_are_listed_and_nothing_is_written_unless_asked(run, mine):
    status, _, said = run(*imported(mine))
    assert status == 1
    assert f"{mine / 'q.csv'}, line 3: column 'text' must be a text that is not empty" in said
    assert "1 rows do not fit" in said
    assert not (mine / "out").exists()
    status, out, _ = run(*imported(mine, "--leave-out"))
    assert status == 0
    assert "2 situations, 4 descriptions, 1 rows left out" in out


def test_an_imported_dataset_is_looked_at_checked_and_located_on(run, mine, llama):
    from nnvalue import locate

    run(*imported(mine, "--leave-out", "--fill", "split=locate"))
    assert run("data", "show", mine / "out")[0] == 0
    status, out, _ = run("data", "check", mine / "out", "--sample", "--json")
    assert status == 0
    assert len(json.loads(out)["sample"]) == 2
    found = locate(llama, values=("power",), dataset=mine / "out", max_new_tokens=4, situations=None, null=False)
    assert found.config["counts"]["power"]["situations"] == 2
    assert found.config["dataset"]["name"] == "out"


def test_what_was_imported_is_told_as_data(run, mine):
    status, out, _ = run(*imported(mine, "--json"))
    data = json.loads(out)
    assert status == 1
    assert data["out"] is None
    assert data["misfits"] == [
        {"file": str(mine / "q.csv"), "line": 3, "fault": "column 'text' must be a text that is not empty"}
    ]
    status, out, _ = run(*imported(mine, "--json", "--leave-out"))
    assert (status, json.loads(out)["rows"]) == (0, {"situations": 2, "descriptions": 4})


def test_labels_are_values_of_the_framework_which_travels_with_the_data(run, mine, monkeypatch):
    """A label with a slip of the pen must not become a value of its own; a framework file may move or vanish."""
    framework = mine / "mine.yaml"
    framework.write_text("name: mine\nvalues: [{name: power, title: Say}, {name: rest}]\n")
    (mine / "q.csv").write_text("question,trait\nWho leads?, say \nWho sleeps?,rset\n")
    status, _, said = run(*imported(mine, "--framework", framework))
    assert status == 1
    assert "q.csv, line 3: There is no value 'rset'" in said
    assert run(*imported(mine, "--framework", framework, "--leave-out"))[0] == 0
    framework.unlink()
    status, out, _ = run("data", "show", mine / "out", "--value", "Say")
    assert status == 0
    assert "Who leads?" in out


def test_half_a_pair_is_left_out_with_the_other_half(run, mine):
    rows = (mine / "d.jsonl").read_text().split("\n")
    (mine / "d.jsonl").write_text("\n".join([*rows[:3], rows[3].replace("Number 2 leaves the lead.", "")]))
    status, _, said = run(*imported(mine))
    assert status == 1
    assert "d.jsonl, line 3: the other half of pair 2 of 'power' is missing or unfit" in said
    status, out, _ = run(*imported(mine, "--leave-out"))
    assert "2 situations, 2 descriptions, 3 rows left out" in out


def test_a_group_shows_the_rows_of_its_values(run):
    _, out, _ = run("data", "show", "moral_foundations", "--value", "individualizing", "--number", 50, "--json")
    assert {row["value"] for row in json.loads(out)["rows"]} == {"care", "fairness"}


def test_a_sample_of_a_faulty_dataset_does_not_hide_the_faults(run, mine):
    run(*imported(mine, "--leave-out"))
    (mine / "out" / "situations.parquet").unlink()
    (mine / "out" / "situations.jsonl").write_text('{"id": "a"}\n')
    status, out, _ = run("data", "check", mine / "out", "--sample")
    assert status == 1
    assert "missing column: 1" in out
    assert "empty table: 1" in out


def test_personalitybench_is_imported_shown_checked_and_located_on(run, tmp_path, monkeypatch):
    """From their folder to neurons of a trait of theirs, as typed; what was not kept is said."""
    monkeypatch.chdir(tmp_path)
    foreign.personalitybench(tmp_path / "theirs")
    status, out, _ = run("data", "import", "theirs", "--layout", "personalitybench", "--out", "pb")
    assert status == 0
    assert "48 descriptions, 15 situations. Written to pb." in out
    assert "Not kept, for want of a column: 6 facet, 6 sign, 3 old_data." in out
    assert "nnvalue locate --dataset pb" in out
    status, out, _ = run("data", "show", "pb", "--value", "Care for Money", "--split", "test", "--json")
    assert (status, json.loads(out)["of"]) == (0, 2)
    _, out, _ = run("data", "check", "pb", "--json")
    kinds = {fault["kind"] for fault in json.loads(out)["faults"]}
    assert kinds <= {"unbalanced", "alike", "poles of unequal length"}  # of so few texts
    status, out, _ = run(
        "locate", "--dataset", "pb", "--value", "Boldness", "--situations", 4, "--no-null", "--max-new-tokens", 6,
        "--out", "found", "--json",
    )  # fmt: skip
    assert status == 0
    assert list(json.loads(out)["values"]) == ["boldness"]


def test_valuebench_is_imported_shown_and_checked(run, tmp_path):
    foreign.valuebench(tmp_path / "theirs")
    status, out, _ = run("data", "import", tmp_path / "theirs", "--layout", "valuebench", "--out", tmp_path / "vb")
    assert status == 0
    assert "5 rows of items. Written to" in out
    assert "nnvalue locate" not in out  # there is nothing to ask
    _, out, _ = run("data", "show", tmp_path / "vb")
    assert "vb, items: 5 of 5 rows" in out
    assert "OURS1-2 · OURS1 · love_of_order · -1\n  I let things lie.\n  ? Should I let things lie?" in out
    status, out, _ = run("data", "show", tmp_path / "vb", "--table", "items", "--value", "Ease", "--json")
    assert {row["value"] for row in json.loads(out)["rows"]} == {"ease"}
    status, out, _ = run("data", "check", tmp_path / "vb")
    assert status == 0
    assert "rows of items against their value        1\n" in out
    assert "situations" not in out
    status, _, said = run("locate", "--dataset", tmp_path / "vb", "--no-null", "--out", tmp_path / "x")
    assert status == 1
    assert "vb holds items of instruments and no situations" in said


def test_valueportrait_is_imported_shown_and_checked(run, tmp_path):
    foreign.valueportrait(tmp_path / "theirs")
    arguments = ("data", "import", tmp_path / "theirs", "--layout", "valueportrait", "--out", tmp_path / "vp")
    status, out, _ = run(*arguments, "--name", "replies", "--json")
    assert status == 0
    data = json.loads(out)
    assert data["rows"] == {"items": 6}
    assert data["aside"]["bfi_correlations"] == 2
    _, out, _ = run("data", "show", tmp_path / "vp", "--value", "self_transcendence")
    assert "replies, items: 2 of 2 rows" in out  # the group as a whole, and its members
    assert "+0.4\n  > A boat\n\n    Shall I sell it?\n  Sell it and sail with friends." in out
    assert run("data", "check", tmp_path / "vp")[0] == 0


def test_misfits_of_a_layout_are_listed_with_file_and_line(run, tmp_path):
    path = foreign.valuebench(tmp_path)
    path.write_text(path.read_text() + "OURS2,I nap.,Ease,1,Should I nap?\n")
    arguments = ("data", "import", tmp_path, "--layout", "valuebench", "--out", tmp_path / "vb")
    status, out, said = run(*arguments)
    assert status == 1
    assert f"{path}, line 7: the same stands in row 6 too" in said
    assert "1 rows do not fit" in said
    assert not (tmp_path / "vb").exists()
    _, out, _ = run(*arguments, "--json")
    assert json.loads(out)["misfits"] == [{"file": str(path), "line": 7, "fault": "the same stands in row 6 too"}]
    _, out, _ = run(*arguments, "--leave-out")
    assert "5 rows of items, 1 rows left out" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "a", "b", "--layout", "valuebench", "--out", "x"), "2 paths given; with --layout one is expected"),
        (("import", "a", "--layout", "valuebanch", "--out", "x"), "did you mean valuebench"),
        (("import", "a", "--layout", "valuebench", "--out", "x", "--fill", "value=ease"), "Leave them out"),
        (("import", "a", "--layout", "valuebench", "--out", "x", "--column", "text=q"), "Leave them out"),
        (("import", "a", "--layout", "valuebench", "--out", "x"), "There is no file a"),
        (("import", "items=a.csv", "--out", "x"), "There is no file a.csv"),
        (("show", "valueinsigt"), "valueinsight"),
        (("check", "nowhere"), "Or give a folder"),
        (("show", "moral_foundations", "--value", "power"), "no value 'power'"),
        (("show", "moral_foundations", "--table", "roles", "--value", "care"), "has no column 'value'"),
        (("show", "moral_foundations", "--split", "train"), "no split 'train'"),
        (("import", "q.csv", "--out", "x"), "TABLE=FILE expected"),
        (("import", "situations=q.csv", "--out", "x"), "descriptions are needed too"),
        (("import", "situations=q.csv", "descriptions=d.csv", "--out", "x", "--fill", "hue=red"), "no column 'hue'"),
        (("import", "situations=q.csv", "descriptions=d.csv", "--out", "x"), "There is no file q.csv"),
        (("import", "situations=a.csv", "situations=b.csv", "--out", "x"), "'situations' is given twice"),
        (("import", "situations=q.csv", "role=r.csv", "--out", "x"), "no table 'role'"),
        (("import", "situations=q.csv", "--out", "x", "--fill", "situations.pole=up"), "no column 'situations.pole'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, said = run("data", *arguments)
    assert status in (1, 2)
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "x").exists()
