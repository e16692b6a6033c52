"""Designs as they are written down, and what cannot be."""

import re
from pathlib import Path

import pytest

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.evaluation import PRESETS, Arm, Design, preset, read_design
from nnvalue.evaluation.design import design_from

ARM = Arm("neurons", doses=(2, 4, 2))


def test_every_preset_is_a_design_and_comes_back_from_its_json():
    for name, design in PRESETS.items():
        assert design_from(design.as_json(), name) == design
    assert ARM.doses == (2.0, 4.0)


def test_a_file_says_all_or_what_differs_from_a_preset(tmp_path):
    (tmp_path / "all.yaml").write_text(
        "values: [power]\npoles: [positive]\nsituations: 3\narms:\n"
        "  - {name: mine, kind: neurons, doses: [1, 2], locate: {method: firing_difference, threshold: 0.1}, "
        "steering: {mode: npti}}\n"
    )
    design = read_design(tmp_path / "all.yaml")
    assert design.arms[0].doses == (1.0, 2.0)
    assert design.arms[0].locate["threshold"] == 0.1
    (tmp_path / "less.yaml").write_text("preset: quick\nsituations: 5\nvalues: [power]\n")
    less = read_design(tmp_path / "less.yaml")
    assert (less.situations, less.values, less.arms) == (5, ("power",), preset("quick").arms)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("values: [power]\n", InvalidInputError, "'arms' is missing"),
        ("preset: qiuck\n", UnknownNameError, "did you mean quick"),
        ("preset: quick\nsituatons: 3\n", UnknownNameError, "did you mean situations"),
        ("preset: quick\nsituations: 1\n", InvalidInputError, "at least 2"),
        ("preset: quick\narms: 3\n", InvalidInputError, "list of arms"),
        ("preset: quick\narms: [{name: a, doses: 3}]\n", InvalidInputError, "list of numbers"),
        ("preset: quick\narms: [{name: a, doses: [0]}]\n", InvalidInputError, "above 0"),
        ("preset: quick\narms: [{name: a, doses: [.nan]}]\n", InvalidInputError, "dose"),
        ("preset: quick\narms: [{name: a, kind: neuron}]\n", UnknownNameError, "did you mean neurons"),
        ("preset: quick\narms: [{doses: [1]}]\n", InvalidInputError, "name"),
        ("preset: quick\nsituations: many\n", InvalidInputError, "whole number"),
        ("preset: quick\ntemperature: warm\n", InvalidInputError, "emperature"),
        ("preset: quick\nsplit: tset\n", UnknownNameError, "did you mean test"),
        ("preset: quick\narms: [{name: a}, {name: a}]\n", InvalidInputError, "different names"),
        ("preset: quick\npoles: [up]\n", UnknownNameError, "pole"),
        ("- a\n", InvalidInputError, "mapping"),
        ("a: [\n", InvalidInputError, "YAML"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, text, error, said):
    (tmp_path / "design.yaml").write_text(text)
    with pytest.raises(error, match=said):
        read_design(tmp_path / "design.yaml")


def test_the_design_on_the_page_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "evaluating.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    design = read_design(tmp_path / "mine.yaml")
    assert [arm.kind for arm in design.arms] == ["neurons", "neurons", "neurons", "direction", "prompt", "role"]
    assert design.arms[2].locate["null"] is False


def test_a_missing_file_and_values_in_a_string(tmp_path):
    with pytest.raises(InvalidInputError, match="There is no file"):
        read_design(tmp_path / "none.yaml")
    with pytest.raises(InvalidInputError, match="must be a list"):
        Design("power", (ARM,))
