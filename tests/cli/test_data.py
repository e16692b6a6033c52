"""`nnvalue data` as a user types it."""

import json
import sys

import pytest

from nnvalue.cli.main import main


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process: (exit status, what it printed, what it said on stderr)."""

    def running(*arguments):
        monkeypatch.setattr(sys, "argv", ["nnvalue", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

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
    status, out, _ = run("data", "check", mine / "out")
    assert status == 1
    assert "wrong label: 6" in out  # the facets that nobody gave
    found = locate(llama, values=("power",), dataset=mine / "out", max_new_tokens=4, situations=None)
    assert found.config["counts"]["power"]["situations"] == 2
    assert found.config["dataset"]["name"] == "out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "valueinsigt"), "valueinsight"),
        (("check", "nowhere"), "Or give a folder"),
        (("show", "moral_foundations", "--value", "power"), "no value 'power'"),
        (("show", "moral_foundations", "--table", "roles", "--value", "care"), "has no column 'value'"),
        (("show", "moral_foundations", "--split", "train"), "no split 'train'"),
        (("import", "q.csv", "--out", "x"), "TABLE=FILE expected"),
        (("import", "situations=q.csv", "--out", "x"), "descriptions are needed too"),
        (("import", "situations=q.csv", "descriptions=d.csv", "--out", "x", "--fill", "hue=red"), "no column 'hue'"),
        (("import", "situations=q.csv", "descriptions=d.csv", "--out", "x"), "There is no file q.csv"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, said = run("data", *arguments)
    assert status in (1, 2)
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "x").exists()
