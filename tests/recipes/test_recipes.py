"""Every recipe runs from its command line, tiny; its docstring says question, command, time, and what to expect.

Catches a recipe that the package left behind; that its figures are right is tested beside what it calls.
"""

import ast
import importlib
import json
import runpy
from dataclasses import replace

import click
import numpy as np
import pytest
from click.testing import CliRunner

from nnvalue.evaluation import Evaluation
from nnvalue.sae import open_sae
from recipes import (
    build_valueinsight,
    compare_steering,
    evaluate_organism,
    evaluate_sae,
    sae_texts,
    train_sae,
    value_graph,
    valuelocate,
)
from tests.docs.blocks import ROOT
from tests.docs.surveys import known_survey

PICTURES = {"screenshots"}  # makes pictures for the documentation with a browser, and answers no question
SCRIPTS = [path for path in sorted((ROOT / "recipes").glob("*.py")) if path.stem not in PICTURES]
SCRIPTS = [path for path in SCRIPTS if "__main__" in path.read_text(encoding="utf-8")]
ELSEWHERE = {  # recipes that another test runs from their command line
    "train_organism": "tests/organism/test_training.py",
    "valuelocate": "tests/evaluation/test_evaluate.py",
}


def run(recipe, *arguments):
    done = CliRunner().invoke(recipe.main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_recipe_says_what_it_asks_how_it_starts_and_how_long_it_takes(script):
    told = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    assert f"python -m recipes.{script.stem}" in told
    assert "?" in told
    assert any(f" {unit}" in told for unit in ("seconds", "minutes", "hours"))
    assert "Expect" in told
    assert isinstance(importlib.import_module(f"recipes.{script.stem}").main, click.Command)
    tested = (ROOT / ELSEWHERE.get(script.stem, "tests/recipes/test_recipes.py")).read_text(encoding="utf-8")
    assert f"run({script.stem}" in tested or f"invoke({script.stem}" in tested


@pytest.mark.parametrize(
    ("recipe", "line", "said"),
    [
        (valuelocate, "--preset nope", "Error: There is no preset 'nope'; choose from full, paper, quick."),
        (valuelocate, "--llm gpt", "Error: --llm names a judge at an --endpoint; give that, too."),
        (compare_steering, "--value power", "give two values at least, and --others above 0."),
        (compare_steering, "--value powr --value tradition", "did you mean power?"),
        (compare_steering, "--situations 1", "situations must be a whole number of at least 2"),
        (value_graph, "--pairs 0", "0 is not in the range x>=1."),
        (evaluate_organism, "--model nope", "nope"),
    ],
)
def test_a_wrong_line_gets_one_sentence(recipe, line, said, tmp_path, monkeypatch):
    """A traceback where `nnvalue` says a sentence."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(recipe.main, line.split())
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert said in done.output


def test_editions_are_what_their_sources_say(tmp_path, monkeypatch):
    """A source that was edited without building it: the shipped tables differ."""
    shipped = build_valueinsight.TARGET / "moral_foundations"
    monkeypatch.setattr(build_valueinsight, "TARGET", tmp_path)
    assert "situations" in run(build_valueinsight, "moral_foundations")
    tables = list((tmp_path / "moral_foundations").glob("*.parquet"))
    assert len(tables) == 4
    for file in tables:
        assert file.read_bytes() == (shipped / file.name).read_bytes(), file.name


def test_sources_of_a_value_are_checked(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sources", "moral_foundations", "care"])
    runpy.run_module("recipes.editions.sources", run_name="__main__")
    assert "care: 0 faults" in capsys.readouterr().out


def test_ways_of_steering_are_compared_at_one_effect(tmp_path, monkeypatch):
    def few(*given):
        full = real(*given)
        arms = tuple(replace(arm, doses=arm.doses[-1:]) for arm in full.arms)
        return replace(
            full, arms=arms, poles=("positive",), pairs=0, random_sets=1, held_out=0, statements=False,
            max_new_tokens=24, locate_situations=2,
        )  # fmt: skip

    real = compare_steering.design
    monkeypatch.setattr(compare_steering, "design", few)
    monkeypatch.setattr(compare_steering, "quiet_libraries", lambda: None)
    values = ("--value", "power", "--value", "tradition")
    said = run(compare_steering, *values, "--situations", 2, "--others", 1, "--effect", 0.1, "--out", tmp_path / "run")
    assert "At the same effect, targets moved by 0.10" in said
    assert "features, add" in said
    assert Evaluation.load(tmp_path / "run").design.situations == 2


def test_an_organism_is_measured(edition, monkeypatch):
    monkeypatch.setattr(evaluate_organism, "CORES", 1)
    """With portraits answered by chance: tests/organism/test_evaluation.py holds how they are read."""
    roles = [row for split in ("train", "test") for row in [r for r in edition.roles if r["split"] == split][:3]]
    first = {row["value"]: place for place, row in enumerate(edition.situations) if row["split"] == "test"}
    few_texts = replace(edition, roles=roles, situations=edition.situations.select(sorted(first.values())))
    chance = np.random.default_rng(0)
    monkeypatch.setattr(evaluate_organism, "load_valueinsight", lambda: few_texts)
    monkeypatch.setattr(
        evaluate_organism, "_shares", lambda subject, system, asked: [chance.random(len(f.scores)) for _, f in asked]
    )
    few = ("--samples", 1, "--train-roles", 3, "--pairs", 1, "--effect-roles", 2, "--json")
    figures = json.loads(run(evaluate_organism, *few))
    assert figures["well_formed"]["share"] > 0.8
    assert set(figures["values"]) == set(edition.values())


def test_an_sae_is_trained_and_measured(edition, tmp_path, monkeypatch):
    tables = ("descriptions", "situations", "sentences", "portraits")
    two = {name: getattr(edition, name).filter(lambda row: row["value"] in ("power", "tradition")) for name in tables}
    for recipe in (train_sae, evaluate_sae, sae_texts):
        if hasattr(recipe, "load_valueinsight"):
            monkeypatch.setattr(recipe, "load_valueinsight", lambda: replace(edition, **two))
    few = ("--situations", 1, "--roles", 2)
    out = tmp_path / "sae"
    made = run(train_sae, *few, "--speakers", 4, "--features", 32, "--active", 4, "--steps", 3, "--out", out)
    assert "3 of 3" in made
    assert open_sae(out).features == 32
    figures = json.loads(run(evaluate_sae, "--sae", out, *few, "--json"))
    assert figures


def test_a_value_graph_from_end_to_end(tmp_path, monkeypatch):
    """On a survey with known answers: `nnvalue survey` itself takes minutes, and tests/causal has it."""
    monkeypatch.setattr(value_graph, "survey", lambda *_, **__: known_survey())
    monkeypatch.setattr(value_graph, "quiet_libraries", lambda: None)
    said = run(value_graph, "--roles", 2, "--resamples", 4, "--out", tmp_path)
    assert "power + and little else" in said
    assert (tmp_path / "graph-effects.svg").is_file()
    assert (tmp_path / "circle.svg").is_file()
