"""Figures for papers: every one that a result has, from the same data as the page, as files that journals take."""

import json
import re
from xml.etree import ElementTree

import pyarrow.parquet
import pytest

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.report import draw_figure, figures_of
from nnvalue.report.plots import chosen
from tests.cli.running import run_here

NAMES = {
    "neurons": ["neurons", "overlap"],
    "evaluation": ["dose-response neurons", "cost neurons", "dose-response prompt", "cost prompt", "pareto",
                   "leakage text neurons", "leakage text prompt"],
    "graph": ["graph", "stability"],
    "survey": ["settings", "structure", "circle"],
    "profile": ["profile"],
    "features": ["features"],
}  # fmt: skip


@pytest.mark.parametrize("result", NAMES)
def test_every_figure_of_a_result_can_be_drawn(result, runs, tmp_path):
    figures = figures_of(runs / result)
    assert list(figures) == NAMES[result]
    for name, figure in figures.items():
        root = ElementTree.parse(draw_figure(figure, tmp_path / f"{name}.svg")).getroot()
        inches = [float(root.get(side).removesuffix("pt")) / 72 for side in ("width", "height")]
        assert inches[0] == pytest.approx(3.4, abs=0.01)  # one column
        assert inches[1] < 9


def test_the_figures_are_those_of_the_page(runs, page, tmp_path):
    """Cells of the picture are cells of the page: one place makes both."""
    figure = figures_of(runs / "evaluation")["leakage text prompt"]
    drawn = draw_figure(figure, tmp_path / "l.svg").read_text()
    told = re.findall(r"<!-- ([+−]\d\.\d\d) -->", drawn)
    svg = re.search(r"<figcaption>What else moves, in text: prompt.*?<svg.*?</svg>", page.read_text(), re.DOTALL)[0]
    assert sorted(told) == sorted(re.findall(r">([+−]\d\.\d\d)</text>", svg)) == sorted(["+0.60", "−0.10"] * 2)


def test_the_negative_pole_lies_to_the_left_and_below(runs):
    """Movement is towards the asked pole; on the curve it is the stance's own, so that it rises through dose 0."""
    rows = pyarrow.parquet.read_table(runs / "evaluation" / "answers.parquet").to_pylist()
    base = {row["situation"]: row["stance"] for row in rows if row["arm"] == "unsteered"}
    for panel in figures_of(runs / "evaluation")["dose-response neurons"].panels:
        (series,) = (one for one in panel.series if one.role == "effect")
        assert series.x == (-2, -1, 0, 1, 2)
        for x, y, low, high in zip(series.x, series.y, series.low, series.high, strict=True):
            pole = "positive" if x > 0 else "negative"
            changed = [
                row["stance"] - base[row["situation"]]
                for row in rows
                if row["arm"] == "neurons"
                and row["value"] == row["measured"] == panel.title
                and (row["pole"], row["dose"]) == (pole, abs(x))
            ]
            assert y == pytest.approx(sum(changed) / len(changed) if changed else 0)
            assert low <= y <= high


def test_a_pdf_has_its_fonts_in_it_and_comes_out_the_same_twice(runs, tmp_path):
    figure = figures_of(runs / "neurons")["neurons"]
    once, again = (draw_figure(figure, tmp_path / name, columns=2).read_bytes() for name in ("a.pdf", "b.pdf"))
    assert once == again
    assert b"/FontFile2" in once  # TrueType; type 3, matplotlib's own default, is refused by many journals
    assert b"/Type3" not in once


def test_the_command_lists_and_draws(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said, _ = run_here(capsys, monkeypatch, "plot", runs / "neurons")
    assert status == 0
    assert [line.split(":")[0] for line in said.splitlines()[:2]] == NAMES["neurons"]
    status, said, _ = run_here(capsys, monkeypatch, "plot", runs / "neurons", "--json")
    assert list(json.loads(said)["figures"]) == NAMES["neurons"]
    status, said, _ = run_here(capsys, monkeypatch, "plot", runs / "neurons", "--figure", "overlap", "--format", "png")
    assert status == 0
    assert (tmp_path / "overlap.png").read_bytes()[:4] == b"\x89PNG"
    status, _, errors = run_here(capsys, monkeypatch, "plot", runs / "neurons", "--figure", "overlaps")
    assert status == 1
    assert "did you mean overlap?" in errors
    status, _, errors = run_here(
        capsys, monkeypatch, "plot", runs / "neurons", "--figure", "overlap", "--format", "pdf", "-o", "a.png"
    )
    assert status == 2
    assert "does not end in .pdf" in errors


def test_the_beginning_of_a_name_is_enough(runs):
    figures = figures_of(runs / "evaluation")
    assert chosen(figures, "dose-response") is figures["dose-response neurons"]
    assert chosen(figures, "dose-response prompt") is figures["dose-response prompt"]
    with pytest.raises(UnknownNameError, match="no figure 'dose'"):
        chosen(figures, "dose")


def test_what_has_no_figures_is_told(tmp_path, runs):
    with pytest.raises(InvalidInputError, match="is no result of nnvalue"):
        figures_of(runs)
    with pytest.raises(InvalidInputError, match="1 or 2 columns"):
        draw_figure(figures_of(runs / "profile")["profile"], tmp_path / "a.pdf", columns=3)
