"""`nnvalue measure` as a user types it, against `measure` called by hand."""

import json
import re

import numpy as np
import pytest

from nnvalue import ValueProfile, locate, measure, neuron_steering
from nnvalue.dataset import import_layout, role_of, voice
from nnvalue.readout import difference
from nnvalue.steering import NeuronSteering, save_steering, value_prompt
from tests.cli.running import run_here
from tests.dataset import foreign
from tests.readout.questionnaires import item_file


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs the command in this process, in a folder of its own: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def running(*arguments):
        monkeypatch.setattr("nnvalue.cli.measure.quiet_libraries", lambda: None)
        monkeypatch.setenv("COLUMNS", "80")
        return run_here(capsys, monkeypatch, "measure", *arguments)

    return running


@pytest.fixture
def data(run):
    """What --json gives, alone on stdout."""

    def running(*arguments):
        status, out, err = run(*arguments, "--json")
        assert status == 0, err
        assert out.count("\n") == 1
        return json.loads(out)

    return running


def figures(told, voice, name="score"):
    return [cell[name] for cell in told["voices"][voice].values()]


def test_the_table_shows_the_profile(run, organism, edition):
    """A column under another's head, or a table too wide for a terminal."""
    status, out, err = run("--role", "r0-0001", "--pairs", "1")
    assert status == 0, err
    role = role_of(next(row for row in edition.roles if row["id"] == "r0-0001"))
    found = measure(organism, voices=[role], pairs=1)
    assert "…  " not in out
    assert all(len(line) <= 80 for line in out.splitlines())
    head = next(line for line in out.splitlines() if "score" in line and "value" in line).split()
    assert head == ["value", "score", "interval", "↑", "↓", "+", "−", "human"]
    for column, value in enumerate(found.values):
        cells = next(line for line in out.splitlines() if line.startswith(f" {value} ")).split()
        parts = ("order rising", "order falling", "keying positive", "keying negative")
        shown = [found.scores[0, column], *(found.parts[name][0, column] for name in parts)]
        assert [cells[1], *cells[-5:-1]] == [f"{number:+.2f}" for number in shown]
    for told in ("40 answered", "yes-saying", "option mass", "prolific_pvq21_n569", "circle", "°", "Written to runs"):
        assert told in out


def test_json_has_the_same_and_the_folder_keeps_it(data, run, tmp_path):
    told = data("--role", "r0-0001", "--pairs", "1", "--out", "here")
    kept = ValueProfile.load(tmp_path / "here")
    assert figures(told, "r0-0001") == kept.scores[0].tolist()
    assert set(figures(told, "r0-0001", "low")) == {None}  # one pair has no interval
    assert told["people"]["uk_svs_n327"]["n"] == 327
    assert told["outcomes"] == {"answered": 40, "failed": 0, "refused": 0}
    assert told["readout"]["steering"] is None
    assert told["out"] == "here"
    status, _, err = run("--role", "r0-0002", "--pairs", "1", "--out", "here")
    assert (status, "other settings" in err) == (1, True)


def test_roles_are_asked_by_id_in_words_and_by_number(data, edition):
    told = data("--role", "somebody who loves old customs", "--role", "r0-0002", "--roles", "2", "--pairs", "1")
    held_out = [row["id"] for row in edition.roles if row["split"] == "test"][:2]
    assert list(told["voices"]) == ["role 1", "r0-0002", *held_out]
    assert told["readout"]["voices"]["role 1"] == voice("somebody who loves old customs")


def test_several_voices_share_a_table(run):
    status, out, err = run("--roles", "4", "--pairs", "1")
    assert status == 0, err
    assert "4 voices" in out
    assert re.search(r"value +mean +sd +lowest +highest +human", out)


def test_a_description_is_measured_beside_the_model_as_it_is(data, run, organism, edition):
    settings = ("--split", "locate", "--pairs", "1")
    told = data("--describe", "power", *settings)
    by_hand = [
        measure(organism, split="locate", pairs=1, steering=steering)
        for steering in (None, value_prompt(edition, "power"))
    ]
    assert [cell["scores"] for cell in told["difference"]["neutral"].values()] == pytest.approx(
        difference(by_hand[1], by_hand[0]).scores[0].tolist()
    )
    assert told["steered"]["readout"]["steering"]["kind"] == "prompt"
    status, out, err = run("--describe", "power", *settings)
    assert status == 0, err
    assert re.search(r"value +unsteered +steered +moved +interval", out)
    moved = told["difference"]["neutral"]["power"]
    assert f"{moved['scores']:+.2f}" in next(line for line in out.splitlines() if line.startswith(" power "))
    other = data("--describe", "power", "--pole", "negative", *settings)
    assert other["difference"]["neutral"]["power"]["scores"] < 0 < moved["scores"]


def test_neurons_and_saved_steerings_steer_at_their_dose(data, organism, tmp_path):
    """A dose that is lost on the way, or a scope that is not told."""
    found = locate(organism, values=("tradition",), situations=4, null=False, max_new_tokens=24, out=tmp_path / "found")
    told = data("--neurons", "found", "--value", "tradition", "--dose", "30", "--pairs", "1")
    by_hand = measure(organism, pairs=1, steering=neuron_steering(found, "tradition", dose=30.0))
    assert figures(told["steered"], "neutral") == by_hand.scores[0].tolist()
    assert told["steered"]["readout"]["steering"]["scope"] == "answer"
    assert told["steered"]["readout"]["option_mass"] != told["unsteered"]["readout"]["option_mass"]
    save_steering(neuron_steering(found, "tradition", dose=30.0), tmp_path / "saved")
    assert data("--steering", "saved", "--pairs", "1")["steered"]["voices"] == told["steered"]["voices"]


def test_a_second_framework_says_what_is_not_defined(run):
    status, out, err = run("--dataset", "moral_foundations")
    assert status == 0, err
    assert "loyalty" in out
    assert "not defined for moral_foundations: it has no circle" in out
    assert "not defined for moral_foundations: nobody's figures are known" in out
    assert "human" not in out


def test_published_scales_and_imported_items_are_asked(data, tmp_path):
    file = item_file(tmp_path, "svs57", leave_out=(57,))
    told = data("--instrument", f"svs57={file.name}")
    assert told["readout"]["instrument"]["forms"] == ["importance"]
    assert told["outcomes"]["failed"] >= 2
    assert sum(told["outcomes"].values()) == 114
    assert any("svs57-57" in said for said in told["readout"]["warnings"])
    import_layout(foreign.valuebench(tmp_path / "theirs"), "valuebench", tmp_path / "bench")
    told = data("--instrument", "bench")
    assert list(told["voices"]["neutral"]) == ["love_of_order", "ease"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--dose", "2"), 2, "--dose is about a steering"),
        (("--neurons", "x", "--describe", "power", "--steering", "y"), 2, "two sources"),
        (("--mode", "npti", "--describe", "power"), 2, "--mode goes with --neurons"),
        (("--neurons", "nowhere"), 1, "no result folder nowhere"),
        (("--role", "r9-0001"), 1, "no role 'r9-0001'"),
        (("--roles", "500"), 1, "has 60 held-out ones"),
        (("--dataset", "moral_foundations", "--roles", "1"), 1, "has 0 held-out ones"),
        (("--instrument", "pvq21"), 1, "pvq21=items.csv"),
        (("--split", "train"), 1, "no split 'train'"),
        (("--scope", "decode", "--describe", "power"), 2, "decode"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run, arguments, status, message):
    ended, out, err = run(*arguments)
    assert (ended, out) == (status, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_a_saved_steering_of_generated_tokens_only_is_refused(run, tmp_path):
    """A single pass has no generated token: it would be measured as if it did nothing."""
    save_steering(NeuronSteering.from_edits([("add", 1, 1, 1.0)], scope="decode"), tmp_path / "saved")
    ended, _, err = run("--steering", "saved", "--pairs", "1")
    assert ended == 1
    assert "The scope 'decode' edits generated tokens only" in err
    assert not np.any([path.name == "steered" for path in tmp_path.rglob("*")])
