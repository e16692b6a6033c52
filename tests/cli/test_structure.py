"""`nnvalue structure`, `side-effects` and `steer --survey` as they are typed, on a survey with known answers."""

import json

import numpy as np
import pytest

from nnvalue.causal import Setting, Survey, fit_graph
from nnvalue.steering import NeuronSteering
from nnvalue.values import human_reference
from tests.causal.test_prediction import VALUES, asked
from tests.cli.running import run_here


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A survey whose settings really steer the organism, and its graph."""
    place = tmp_path_factory.mktemp("survey")
    done = asked()
    settings = [
        one if one.kind == "none" else Setting(
            one.name, None, (f"Somebody who {'holds' if one.pole == 'positive' else 'lacks'} {one.value}.",), "prompt",
            one.value, one.pole, 1.0,
        )
        for one in done.settings
    ]  # fmt: skip
    neurons = NeuronSteering.from_edits([("add", 2, n, 1.0) for n in range(9)])
    settings.append(Setting.of("some neurons", neurons))
    scores = np.concatenate([done.scores, done.scores[:1] + 0.01])
    facts = {**done.facts, "roles": {name: f"{name}, who is somebody." for name in done.roles}}
    Survey(
        facts, done.values, tuple(settings), done.roles, done.items, done.orders, scores, np.ones_like(scores)
    ).save(place / "s")  # fmt: skip
    fit_graph(done, "effects", resamples=5, ways=2).save(place / "g")
    return place


def test_structure_beside_chance_and_people(folder, tmp_path, monkeypatch, capsys):
    status, out, err = run_here(capsys, monkeypatch, "structure", folder / "s", "--permutations", 99,
                                "--picture", tmp_path / "circle.svg")  # fmt: skip
    assert not status, err
    assert "6 values over 40 roles" in out
    assert "RTHOR" in out
    assert "<svg" in (tmp_path / "circle.svg").read_text()
    figures = human_reference()
    names = ",".join(figures.values)
    rows = "\n".join(",".join(map(str, row)) for row in figures.correlations)
    (tmp_path / "mine.csv").write_text(f"{names}\n{rows}\n")
    status, out, err = run_here(capsys, monkeypatch, "structure", folder / "s", "--permutations", 99, "--json",
                                "--people", tmp_path / "mine.csv")  # fmt: skip
    told = json.loads(out)
    assert not status, err
    assert [one["name"] for one in told["people"]] == ["mine"]
    assert {one["name"] for one in told["measures"]} >= {"template", "rthor", "phi"}
    status, out, err = run_here(capsys, monkeypatch, "structure", folder / "s", "--framework", "moral_foundations")
    assert not status, err
    assert "not defined" in out


def test_side_effects_foretold_and_counted(folder, monkeypatch, capsys):
    line = ("side-effects", folder / "s", "--graph", folder / "g", "--ways", 2, "--permutations", 99)
    status, out, err = run_here(capsys, monkeypatch, *line)
    assert not status, err
    for told in ("total effects", "no graph", "circle", "shuffled names", "expected", "unexpected", "p ="):
        assert told in out
    assert "Settings in each role by itself" in err
    status, out, err = run_here(capsys, monkeypatch, *line, "--json")
    told = json.loads(out)
    assert not status, err
    assert told["predictions"]["scores"]["total effects"]["r"] > 0.8
    assert set(told["counts"]) == {
        "another role, frequency", "another role, magnitude", "settings, all roles, frequency",
        "settings, all roles, magnitude",
    }  # fmt: skip


def test_steering_as_a_survey_recommends(folder, monkeypatch, capsys):
    """The choice is shown with every value, and what was chosen is what is said."""
    line = ("steer", "--survey", folder / "s", "--value", VALUES[0], "--max-new-tokens", 4, "What do you do?")
    status, out, err = run_here(capsys, monkeypatch, *line, "--protect", f"{VALUES[3]},{VALUES[4]}")
    assert not status, err
    assert f"Chosen of the survey's settings: prompt {VALUES[0]} +1" in out
    assert out.count("protected") >= 2
    assert all(value in out for value in VALUES)
    status, out, err = run_here(capsys, monkeypatch, *line, "--pole", "negative", "--json", "--graph", folder / "g")
    told = json.loads(out)
    assert not status, err
    assert set(told["choice"]["chosen"]["moves"]) == set(VALUES)
    assert told["choice"]["chosen"]["moves"][VALUES[0]] < 0
    status, out, err = run_here(capsys, monkeypatch, *line, "--by", "roles", "--json")
    told = json.loads(out)
    assert not status, err
    assert told["steering"]["system"].endswith(f"{told['choice']['chosen']['name']}, who is somebody.")


WRONG = [
    (("structure", "none"), 1, "no result folder"),
    (("structure", "{s}", "--people", "none.csv"), 1, "There is no file none.csv"),
    (("structure", "{s}", "--people", "bad.csv"), 1, "a cell that is no number"),
    (("structure", "{s}", "--picture", "circle.gif"), 1, "ends in .svg"),
    (("side-effects", "{s}", "--kind", "direction"), 1, "no kind of setting 'direction'"),
    (("side-effects", "{s}", "--graph", "{s}"), 1, "a 'graph' result is expected"),
    (("steer", "--survey", "{s}", "x"), 2, "Which value?"),
    (("steer", "--survey", "{s}", "--value", "powr", "x"), 1, "no value 'powr'"),
    (("steer", "--survey", "{s}", "--value", VALUES[0], "--protect", "joy", "x"), 1, "(protected)"),
    (("steer", "--protect", "power", "--describe", "power", "x"), 2, "--protect goes with --survey"),
    (("steer", "--survey", "{s}", "--neurons", "n", "--value", "power", "x"), 2, "two sources"),
]


@pytest.mark.parametrize(("line", "status", "said"), WRONG, ids=[" ".join(line) for line, *_ in WRONG])
def test_a_wrong_line_gets_one_sentence(line, status, said, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("a,b\n1,0.5\n0.5,x\n")
    given = [part.replace("{s}", str(folder / "s")) for part in line]
    found, out, err = run_here(capsys, monkeypatch, *given)
    assert found == status, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert not out
