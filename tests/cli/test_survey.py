"""`nnvalue survey` and `nnvalue graph` as they are typed."""

import json

import numpy as np
import pytest

from nnvalue.causal import Survey, ValueGraph
from nnvalue.steering import NeuronSteering, save_steering
from tests.causal import published
from tests.causal.simulated import random_dag, surveyed
from tests.cli.running import run_here


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("nnvalue.cli.survey.quiet_libraries", lambda: None)


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """A file as other people's surveys give it: a row for every role and context."""
    table = surveyed(random_dag(np.random.default_rng(2), size=5, degree=2), roles=30)
    file = tmp_path_factory.mktemp("scores") / "scores.csv"
    rows = [
        ",".join(["" if at == 0 else table.contexts[at].name, table.roles[role], *map(str, line)])
        for at, role, line in zip(table.context, table.role, table.scores, strict=True)
    ]
    file.write_text("\n".join([",".join(["done", "who", *table.values]), *rows]) + "\n")
    return file


def test_a_survey_and_its_graph(tmp_path, monkeypatch, capsys):
    """From the first line to the picture of the table, and again from what lies on the disk."""
    monkeypatch.chdir(tmp_path)
    steering = NeuronSteering.from_edits([("add", 2, n, 2.0) for n in range(20)])
    save_steering(steering, tmp_path / "mine")
    values = ("--value", "power", "--value", "security", "--value", "tradition")
    line = ("survey", "--roles", 10, "--pairs", 1, "--split", "locate", *values, "--steering", "mine", "--out", "s")
    status, out, err = run_here(capsys, monkeypatch, *line)
    assert not status, err
    assert "10 roles in 8 settings" in out
    assert "The graph: nnvalue graph s" in " ".join(out.split())
    assert [one.kind for one in Survey.load("s").settings] == ["none", *["prompt"] * 6, "neurons"]
    status, out, err = run_here(capsys, monkeypatch, *line, "--json")
    told = json.loads(out)
    assert not status, err
    assert told["answers"] == 8 * 10 * 20 * 2
    assert told["values"]["power"]["moved"]["prompt"] > 3
    assert told["values"]["joy" if "joy" in told["values"] else "hedonism"]["moved"] == {}

    graph = ("graph", "s", *values, "--kind", "prompt", "--resamples", 10, "--ways", 2)
    status, out, err = run_here(capsys, monkeypatch, *graph, "--method", "effects", "--against", "organism")
    assert not status, err
    assert "effects: 3 values, 70 rows of 10 roles in 7 contexts" in out
    assert "Halves of the roles: skeleton F1" in out
    assert "Halves of the items: not told; power has one item or pair" in out
    assert "Against organism: skeleton F1" in out
    assert "p = " in out
    status, out, err = run_here(capsys, monkeypatch, *graph, "--method", "effects", "--json", "--out", "g")
    told = json.loads(out)
    assert {"edges", "by_role", "comparison", "out", "total"} <= set(told)
    assert ValueGraph.load("g").rule["method"] == "effects"
    for folder, words in (("g", "bootstraps of roles"), ("s", "settings of that kind move")):
        status, out, err = run_here(capsys, monkeypatch, "inspect", folder)
        assert not status, err
        assert words in " ".join(out.split())
        assert not run_here(capsys, monkeypatch, "inspect", folder, "--json")[0]


def test_a_graph_of_somebody_elses_scores(scores, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "known.yaml").write_text("arrows: [[v0, v1], [v2, v1]]\n")
    (tmp_path / "before.yaml").write_text("tiers: [[v0], [v1, v2, v3, v4]]\n")
    line = ("graph", scores, "--context", "done", "--role", "who", "--resamples", 5, "--ways", 2, "--out", "g")
    status, out, err = run_here(
        capsys, monkeypatch, *line, "--against", "known.yaml", "--background", "before.yaml"
    )  # fmt: skip
    assert not status, err
    assert "jci: 5 values, 330 rows of 30 roles in 11 contexts" in out
    assert "Halves of the items: not told; the scores came without their items" in out
    assert "2 in the other" in out
    assert not (ValueGraph.load("g").arrows[1:, 0]).any()


def test_the_published_graph_from_the_command_line(tmp_path, monkeypatch, capsys):
    status, out, err = run_here(
        capsys, monkeypatch, "graph", published.scores_file(), "--context", "steer_dim", "--role", "player_name",
        "--contexts", ",".join(published.CONTEXTS), "--method", "paper", "--resamples", 2, "--ways", 1, "--json",
        "--out", tmp_path / "g", *(part for value in published.VALUES for part in ("--value", value)),
    )  # fmt: skip
    assert not status, err
    edges = json.loads(out)["edges"]
    arrows = {(one["cause"], one["effect"]) for one in edges}
    arrows |= {(one["effect"], one["cause"]) for one in edges if one["kind"] == "↔"}
    assert arrows == published.ARROWS
    assert any("goes round in circles" in one for one in json.loads(out)["warnings"])


WRONG = [
    (("survey", "--roles", "3", "--new-roles", "3"), 2, "--roles and --new-roles are two choices"),
    (("survey", "--no-prompts"), 2, "nothing steers"),
    (("survey", "--mode", "npti"), 2, "--mode goes with --neurons or --features"),
    (("survey", "--dose", "3"), 2, "--dose goes with --neurons or --directions"),
    (("survey", "--sae", "x"), 2, "--sae goes with --features or --features-at"),
    (("survey", "--neurons", "n", "--features", "f", "--mode", "add"), 2, "ask for them one by one"),
    (("survey", "--endpoint", "http://x"), 2, "about --protocol yes_no"),
    (("survey", "--roles", "999"), 1, "999 roles asked for, but"),
    (("survey", "--role-file", "who.txt"), 1, "must end in .csv"),
    (("survey", "--role-file", "none.csv"), 1, "There is no file none.csv"),
    (("survey", "--value", "powr"), 1, "did you mean power"),
    (("survey", "--protocol", "likert"), 1, "choose from options, yes_no"),
    (("survey", "--pairs", "0"), 2, "not in the range x>=1"),
    (("graph", "none"), 1, "must end in .csv"),
    (("graph", "few.csv"), 1, "3 roles were asked; a graph needs 10"),
    (("graph", "few.csv", "--method", "jcii"), 1, "did you mean jci"),
    (("graph", "few.csv", "--background", "round.yaml"), 1, "go round in a circle (a, b)"),
    (("graph", "few.csv", "--background", "none.yaml"), 1, "There is no file none.yaml"),
    (("graph", "few.csv", "--against", "round.yaml"), 1, "no field 'required'"),
    (("graph", "few.csv", "--against", "organism"), 1, "not among them: a, b, c"),
    (("graph", "few.csv", "--value", "d"), 1, "no column 'd'"),
    (("graph", "."), 1, "no result of nnvalue"),
    (("graph", "few.csv", "--resamples", "1"), 2, "not in the range x>=2"),
]


@pytest.mark.parametrize(("line", "status", "said"), WRONG, ids=[" ".join(line) for line, *_ in WRONG])
def test_a_wrong_line_gets_one_sentence(line, status, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.csv").write_text("a,b,c\n1,2,3\n2,1,5\n4,4,1\n")
    (tmp_path / "round.yaml").write_text("required: [[a, b], [b, a]]\n")
    found, out, err = run_here(capsys, monkeypatch, *line)
    assert found == status, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert not out
    assert not list(tmp_path.glob("runs/*"))
