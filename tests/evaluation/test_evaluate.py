"""An experiment on the embedded organism: what it asks, what it finds, and that its tables need no model."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.evaluation import Arm, Design, Evaluation, effect, evaluate
from nnvalue.evaluation import evaluating as evaluating_module
from nnvalue.models import generate_responses, open_model
from nnvalue.prompts import Prompt
from nnvalue.readout import FunctionJudge, ParserJudge, Text, situations_of
from nnvalue.steering import DirectionSteering, matched_random, random_direction
from nnvalue.steering.neurons import NeuronSteering
from nnvalue.steering_protocol import Sampling
from nnvalue.values import load_framework
from recipes.valuelocate import main as valuelocate
from tests import tiny
from tests.cli.running import run_here

FOUND = {"null": False}
SMALL = Design(
    ("power", "tradition"),
    (
        Arm("neurons", doses=(12,), locate=FOUND),
        Arm("published", doses=(0.5,), locate={"method": "firing_difference", "threshold": 0.1, "null": False},
            steering={"mode": "npti", "as_published": True, "scope": "decode"}),
        Arm("prompt", "prompt"),
    ),
    poles=("positive",), situations=6, others=2, pairs=1, random_sets=1, held_out=2, locate_situations=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def done(organism, tmp_path_factory):
    return evaluate(organism, SMALL, out=tmp_path_factory.mktemp("evaluation") / "small")


@pytest.fixture(scope="module")
def saved(done, tmp_path_factory):
    return done.save(tmp_path_factory.mktemp("saved") / "small")


def test_every_arm_has_its_controls_and_answers_its_situations(done):
    arms = {row["arm"] for row in done.answers}
    assert {"unsteered", "neurons", "neurons, random neurons", "neurons, random neurons, same firing rates"} <= arms
    assert {"published, addition alone", "published, cap alone", "prompt"} <= arms
    by_arm = [row for row in done.answers if row["arm"] == "neurons" and row["value"] == "power"]
    assert sum(row["measured"] == "power" for row in by_arm) == 6
    assert sum(row["measured"] == "tradition" for row in by_arm) == 2
    control = [row for row in done.answers if row["arm"] == "neurons, random neurons" and row["value"] == "power"]
    assert {row["measured"] for row in control} == {"power"}
    base = {row["situation"] for row in done.answers if row["arm"] == "unsteered"}
    assert {row["situation"] for row in done.answers} == base
    # What edits generated tokens only shows in no single pass: it is not read there, rather than read as nothing.
    assert not any(row["arm"].startswith("published") and row["control_of"] is None for row in done.items)
    assert {row["kind"] for row in done.items} == {"portrait", "statement"}
    # More than a fifth of a layer has no matched control, and that is told.
    assert any("published" in note and "no random control" in note for note in done.facts["notes"])


def test_a_description_moves_the_judged_value(done):
    row = next(row for row in done.tables().effects if row["arm"] == "prompt" and row["value"] == "power")
    assert row["movement"] > 0.3
    assert row["failures"] <= 0.2


def test_unsteered_answers_are_those_of_the_model_itself(done, organism, edition):
    rows = [row for row in done.answers if row["arm"] == "unsteered"][:4]
    texts = {row["id"]: row["text"] for row in edition.situations}
    prompts = [Prompt(f"{row['situation']}/neutral", None, texts[row["situation"]]) for row in rows]
    said = generate_responses(organism, prompts, sampling=Sampling(0.7), max_new_tokens=64)
    assert [response.text for response in said] == [row["text"] for row in rows]


def test_tables_come_from_stored_rows_without_a_model(saved, done, monkeypatch):
    def no_model(*_args, **_more):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(evaluating_module, "open_model", no_model)
    again = Evaluation.load(saved)
    assert again.tables().as_json() == done.tables().as_json()
    assert json.loads((saved / "tables.json").read_text()) == json.loads(json.dumps(again.tables().as_json()))


def test_a_finished_one_is_found_again_and_others_are_refused(done, organism, tmp_path, monkeypatch):
    out = tmp_path / "one"
    tiny_design = dataclasses.replace(
        SMALL, arms=(Arm("prompt", "prompt"), Arm("role", "role")), situations=2, others=0, held_out=0, pairs=0
    )
    first = evaluate(organism, tiny_design, out=out)
    assert {row["arm"] for row in first.answers} == {"unsteered", "prompt", "role"}
    assert all(row["dose"] == 1 and row["control_of"] is None for row in first.answers if row["arm"] == "role")
    asked = []
    monkeypatch.setattr(evaluating_module, "read_answers", lambda *given: asked.append(given))
    again = evaluate(organism, tiny_design, out=out)
    assert not asked
    assert again.answers == first.answers
    with pytest.raises(ArtifactError, match="other settings"):
        evaluate(organism, tiny_design, out=out, seed=1)
    (out / "answers.parquet").write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged"):
        Evaluation.load(out)


def test_an_interrupted_one_goes_on(organism, tmp_path, monkeypatch):
    design = dataclasses.replace(SMALL, arms=(Arm("prompt", "prompt"),), situations=3, others=0, held_out=0, pairs=1)
    through = evaluate(organism, design, out=tmp_path / "through")
    real = evaluating_module.read_items

    def stopped(*_given):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating_module, "read_items", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(organism, design, out=tmp_path / "halved")
    assert list((tmp_path / "halved.work").glob("responses*"))
    monkeypatch.setattr(evaluating_module, "read_items", real)
    gone_on = evaluate(organism, design, out=tmp_path / "halved")
    assert gone_on.answers == through.answers
    assert gone_on.items == through.items
    assert not (tmp_path / "halved.work").exists()


def test_the_unsteered_arm_against_itself(organism, edition):
    """A/A: of 200 comparisons of two seeds, at most 18 differ at .05 (one-sided 99 % limit of the binomial)."""
    framework = load_framework("schwartz")
    rows = situations_of(edition, framework, "power", 24, "test", 0)
    judge = ParserJudge(framework)
    stances = []
    for seed in range(21):
        prompts = [Prompt(row["id"], None, row["text"]) for row in rows]
        said = generate_responses(organism, prompts, sampling=Sampling(0.7, seed=seed), max_new_tokens=48)
        texts = [Text(row["id"], row["text"], one.text, "power") for row, one in zip(rows, said, strict=True)]
        stances.append([one.stance for one in judge.judge(texts)])
    pairs = [(a, b) for a in range(21) for b in range(a)][:200]
    cores = [row["core"] for row in rows]
    p = [effect(np.subtract(stances[a], stances[b]), cores).p for a, b in pairs]
    assert np.std([np.mean(one) for one in stances]) > 0  # seeds do differ
    assert sum(one < 0.05 for one in p) <= 18


def test_a_control_of_the_same_firing_rates_is_as_busy():
    rng = np.random.default_rng(0)
    rates = np.sort(rng.random((2, 400)), axis=1)
    neurons = [("add", 1, int(n), 1.0) for n in rng.choice(400, 20, replace=False)]
    steering = NeuronSteering.from_edits(neurons)
    taken = {n for _, _, n, _ in neurons}
    matched = matched_random(steering, 400, 0, rates).forth
    other = matched_random(steering, 400, 0).forth
    assert not taken & set(matched.neuron.tolist())
    assert len(set(matched.neuron.tolist())) == 20
    gap = np.abs(rates[1, matched.neuron] - rates[1, steering.forth.neuron]).max()
    assert gap < 0.06
    assert np.abs(rates[1, other.neuron] - rates[1, steering.forth.neuron]).max() > 0.3
    assert matched.amount.tolist() == steering.forth.amount.tolist()


def test_a_random_direction_is_as_long_and_points_elsewhere():
    rng = torch.Generator().manual_seed(5)
    steering = DirectionSteering("residual", (1, 2), torch.randn(2, 4000, generator=rng) * torch.tensor([[1.0], [3.0]]))
    one, same, other = (random_direction(steering, seed).vectors for seed in (0, 0, 1))
    torch.testing.assert_close(one.norm(dim=1), steering.vectors.norm(dim=1))
    assert one.equal(same)
    for pair in ((one, other), (one, steering.vectors)):
        assert torch.cosine_similarity(*pair, dim=1).abs().max() < 0.08  # five standard errors of 1/√4000


def test_another_model_needs_a_judge():
    subject = open_model(tiny.model("llama"), tokenizer=tiny.tokenizer())
    with pytest.raises(InvalidInputError, match="Who shall judge"):
        evaluate(subject, SMALL)


def test_a_framework_without_a_circle_goes_through_with_a_judge_of_its_own(organism):
    design = dataclasses.replace(
        SMALL, values=("care", "loyalty", "fairness", "authority", "sanctity"), arms=(Arm("prompt", "prompt"),),
        situations=2, others=1, held_out=0,
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="another judge"):  # the parser would find no word of its own
        evaluate(organism, design, dataset="moral_foundations")
    judge = FunctionJudge(lambda text: min(1.0, len(text.answer) / 500), "length")
    found = evaluate(organism, design, dataset="moral_foundations", judge=judge).tables()
    assert found.leakage["prompt"]["portraits"]["circle"] is None
    assert found.leakage["prompt"]["portraits"]["people"] == []


def test_the_command_line_evaluates_inspects_and_resumes(saved, tmp_path, capsys, monkeypatch):
    def run(*line):
        return run_here(capsys, monkeypatch, *line)

    monkeypatch.chdir(tmp_path)
    status, out, _ = run("inspect", saved)
    assert status == 0
    assert "What moves" in out
    assert "random" in out
    assert "no random control" in out
    (tmp_path / "d.yaml").write_text(
        "values: [power]\npoles: [positive]\nsituations: 2\nothers: 0\npairs: 0\nheld_out: 0\nstatements: false\n"
        "arms: [{name: words, kind: prompt}]\n"
    )
    status, out, error = run("evaluate", "--design", "d.yaml", "--json")
    assert status == 0, error
    assert json.loads(out)["effects"][0]["n"] == 2
    for line, said in (
        (("--preset", "quick", "--design", "d.yaml"), "two designs"),
        (("--preset", "slow"), "There is no preset"),
        (("--resume", "--preset", "quick"), "--resume goes on"),
        (("--resume",), "0 unfinished"),
        (("--resume", "--out", "nowhere"), "no unfinished evaluation"),
        (("--design", "none.yaml"), "There is no file"),
        (("--value", "powre"), "did you mean power"),
        (("--judge", "endpoint"), "--endpoint"),
    ):
        status, _, error = run("evaluate", *line)
        assert status in (1, 2), line
        assert said in error, (line, error)


def test_the_recipe_is_the_experiment_and_prints_its_table(tmp_path, monkeypatch):
    design = dataclasses.replace(SMALL, arms=(Arm("words", "prompt"),), situations=2, others=0, pairs=0, held_out=0)
    monkeypatch.setattr("recipes.valuelocate.preset", lambda name: design)
    monkeypatch.setattr("recipes.valuelocate.quiet_libraries", lambda: None)
    shown = CliRunner().invoke(valuelocate, ["--out", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    assert "What moves" in shown.output
    assert Evaluation.load(tmp_path / "run").design.situations == 2
