"""`nnvalue sae` and what uses it, as they are typed; on an SAE of random directions, which any model has."""

import json

import numpy as np
import pytest

from nnvalue import locate
from nnvalue.causal import Survey, feature_settings, survey
from nnvalue.evaluation import Arm, Design, evaluate
from nnvalue.prompts import Prompt
from nnvalue.readout import read_questionnaire
from nnvalue.sae import ValueFeatures, active_at, open_sae, save_sae
from nnvalue.values.forms import forms
from tests.cli.running import run_here
from tests.sae.test_locating import random_sae


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    for verb in ("sae", "steer", "survey"):
        monkeypatch.setattr(f"nnvalue.cli.{verb}.quiet_libraries", lambda: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory, organism):
    """A result, an SAE, and the features that were found."""
    folder = tmp_path_factory.mktemp("sae")
    locate(organism, values=("power",), situations=6, null=False, max_new_tokens=24, out=folder / "r")
    save_sae(random_sae(), folder / "sae")
    return folder


def test_an_sae_is_shown_and_checked(place, monkeypatch, capsys):
    status, out, err = run_here(capsys, monkeypatch, "sae", "inspect", place / "sae")
    assert not status, err
    assert "architecture: jumprelu" in out
    assert "explained variance" in out
    status, out, err = run_here(capsys, monkeypatch, "sae", "inspect", place / "sae", "--json")
    told = json.loads(out)
    assert not status, err
    assert told["features"] == 48
    assert told["quality"]["site"] == "model.layers.3.output"


def test_features_are_found_and_steered_by(place, monkeypatch, capsys):
    line = ("sae", "features", place / "r", "--sae", place / "sae", "--top", 4, "--output-scores")
    status, out, err = run_here(capsys, monkeypatch, *line)
    assert not status, err
    assert "S_out" in out
    assert "nnvalue steer --features" in " ".join(out.split())
    found = ValueFeatures.load(place / "r.features")
    assert 0 < len(found) <= 8
    status, out, err = run_here(capsys, monkeypatch, *line, "--json")
    assert not status, err
    assert json.loads(out)["features"][0]["value"] == "power"
    given = ("--features", place / "r.features", "--sae", place / "sae", "--value", "power")
    steer = ("steer", *given, "--max-new-tokens", 6, "--json")
    for more in (("--dose", 0.5), ("--mode", "clamp", "--top", 2, "--pole", "negative")):
        status, out, err = run_here(capsys, monkeypatch, *steer, *more, "Who should lead?")
        told = json.loads(out)
        assert not status, err
        assert told["steering"]["kind"] == "features"
    assert (told["steering"]["mode"], len(told["steering"]["features"])) == ("clamp", 2)
    status, out, err = run_here(capsys, monkeypatch, *steer, "--at-text", "should lead", "Who should lead?")
    assert not status, err
    assert json.loads(out)["steering"]["scope"] == {"text": "should lead"}
    status, out, err = run_here(
        capsys, monkeypatch, *[one for one in steer if one != "--json"], "Who should lead?"
    )  # fmt: skip
    assert not status, err
    assert "of an SAE, mode add, at model.layers.3.output" in " ".join(out.split())


def test_features_are_settings_of_a_survey_and_arms_of_an_evaluation(place, organism, edition, monkeypatch, capsys):
    found, sae = ValueFeatures.load(place / "r.features"), open_sae(place / "sae")
    how = {"dataset": edition, "pairs": 1, "split": "locate", "out": place / "survey"}
    done = survey(organism, feature_settings(found, sae), roles={"nobody": None}, **how)
    again = Survey.load(place / "survey")
    assert [one.kind for one in again.settings] == ["none", "features", "features"]
    assert again.settings[1].as_steering().describe() == done.settings[1].steering.describe()
    typed = ("survey", "--features", place / "r.features", "--sae", place / "sae", "--no-prompts", "--dose", 0.5)
    status, _, err = run_here(
        capsys, monkeypatch, *typed, "--roles", 1, "--pairs", 1, "--split", "locate", "--out", place / "typed", "--json"
    )  # fmt: skip
    assert not status, err
    same = Survey.load(place / "typed").settings
    assert [one.steering.describe() for one in same[1:]] == [one.steering.describe() for one in done.settings[1:]]
    arm = Arm("sae", "features", (0.5, 1.0), locate={"null": False}, steering={"top": 3}, sae=str(place / "sae"))
    design = Design(("power",), (arm,), poles=("positive",), situations=3, others=0, pairs=1, random_sets=1, held_out=0,
                    locate_situations=6, max_new_tokens=12, statements=False)  # fmt: skip
    made = evaluate(organism, design)
    arms = {row["arm"] for row in made.answers}
    assert arms == {"unsteered", "sae", "sae, random features"}
    rows = [row for row in made.tables().effects if row["arm"] == "sae"]
    assert len(rows) == 2
    assert all(np.isfinite(row["against_random"]) for row in rows if row["against_random"] is not None)


def test_the_papers_settings_are_one_flag(place, organism, edition, monkeypatch, capsys):
    """The features most active at the words in the first item, each added there, and nowhere else, in every prompt."""
    words = " like you"
    typed = ("survey", "--features-at", words, "--sae", place / "sae", "--no-prompts", "--dose", 40, "--roles", 1)
    status, _, err = run_here(
        capsys, monkeypatch, *typed, "--pairs", 1, "--split", "locate", "--out", place / "paper", "--json"
    )
    assert not status, err
    done = Survey.load(place / "paper")
    first = read_questionnaire("portraits", dataset=edition, split="locate", pairs=1).questions[0]
    prompt = Prompt("first", None, first.put(forms(first.form)[0]))
    sae = open_sae(place / "sae")
    active = [feature for feature, _ in active_at(organism, sae, prompt, words)]
    assert [one.name for one in done.settings] == ["unsteered", *(f"feature {feature}" for feature in active)]
    added = done.settings[1].steering.edits(organism.anatomy)[0][1][0]
    np.testing.assert_allclose(added["add"][0], 40 * sae.decoder[active[0]], rtol=1e-6)
    assert added["scope"] == {"text": words}
    assert float(np.abs(done.scores[1:] - done.scores[0]).max()) > 0.01
    status, _, err = run_here(capsys, monkeypatch, "survey", "--features-at", "your values", "--sae", place / "sae")
    assert status == 1
    assert "your values" in err


def test_one_is_trained_on_a_results_responses(place, monkeypatch, capsys):
    line = ("sae", "train", place / "r", "--features", 32, "--steps", 30, "--layer", 3, "--out", place / "mine")
    status, out, err = run_here(capsys, monkeypatch, *line)
    assert not status, err
    assert "32 features after layer 3" in out
    assert open_sae(place / "mine").site == "model.layers.3.output"
    status, _, err = run_here(capsys, monkeypatch, *line[:-4], "--layer", 9, "--out", place / "no")
    assert status == 1
    assert "There is no layer 9; the model has 5" in err


WRONG = [
    (("sae", "inspect", "none"), 1, "none"),
    (("sae", "features", "none"), 1, "no result folder"),
    (("steer", "--sae", "x", "--describe", "power", "x"), 2, "--sae goes with --features"),
    (("steer", "--features", "none", "--value", "power", "x"), 1, "no result folder"),
    (("steer", "--at-text", "x", "--describe", "power", "x"), 2, "--at-text goes with --features"),
]


@pytest.mark.parametrize(("line", "status", "said"), WRONG, ids=[" ".join(line) for line, *_ in WRONG])
def test_a_wrong_line_gets_one_sentence(line, status, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found, out, err = run_here(capsys, monkeypatch, *line)
    assert found == status, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert not out
