"""Pictures: what stands in them, the same bytes twice, and one sentence where they cannot be drawn."""

import numpy as np
import pytest

from nnvalue.causal import fit_graph, structure
from nnvalue.errors import InvalidInputError
from nnvalue.report import draw_circle, draw_graph, draw_heat_map
from nnvalue.values import load_framework
from tests.causal.simulated import random_dag, surveyed

FRAMEWORK = load_framework()
VALUES = tuple(FRAMEWORK.values)


@pytest.fixture(scope="module")
def graph():
    return fit_graph(surveyed(random_dag(np.random.default_rng(2), size=5, degree=2), roles=30), "effects",
                     resamples=5, ways=2)  # fmt: skip


@pytest.fixture(scope="module")
def circle():
    rng = np.random.default_rng(0)
    angles = np.radians([FRAMEWORK.angle(value) for value in VALUES])
    factors = np.column_stack([np.cos(angles), np.sin(angles)])
    scores = rng.normal(size=(60, 2)) @ factors.T + 0.5 * rng.normal(size=(60, 10))
    return structure(scores, VALUES, FRAMEWORK, permutations=99)


def words(svg):
    return svg.read_text()


def test_a_graph_shows_its_values_and_what_it_rests_on(graph, tmp_path):
    file = draw_graph(graph, tmp_path / "new" / "graph.svg")
    text = words(file)
    for value in graph.values:
        assert f"<!-- {value} -->" in text
    assert "30 roles, 11 contexts, 5 bootstraps" in text
    arrows = text.count("#1b6ca8") + text.count("#b5452c")
    assert arrows >= len(graph.edges())
    again = draw_graph(graph, tmp_path / "again.svg")
    assert again.read_bytes() == file.read_bytes()
    assert draw_graph(graph, tmp_path / "graph.png").read_bytes()[:4] == b"\x89PNG"
    assert draw_graph(graph, tmp_path / "graph.pdf").read_bytes()[:4] == b"%PDF"


def test_values_stand_on_the_circle_with_their_likeness(circle, tmp_path):
    text = words(draw_circle(circle, FRAMEWORK, tmp_path / "circle.svg"))
    assert "<!-- self direction -->" in text
    assert "template r" in text
    assert "people" in text


def test_a_heat_map_has_a_figure_in_every_cell_that_has_one(tmp_path):
    table = np.array([[1.0, -0.25], [np.nan, 0.5]])
    text = words(draw_heat_map(table, ("a", "b"), ("c", "d"), tmp_path / "heat.svg", title="T"))
    assert all(f"<!-- {told} -->" in text for told in ("+1.00", "−0.25", "+0.50", "a", "d", "T"))
    assert "nan" not in text.lower().split("<metadata")[0]


def test_what_cannot_be_drawn_is_told(graph, circle, tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError, match=r"ends in \.svg, \.png, \.pdf; graph\.gif given"):
        draw_graph(graph, tmp_path / "graph.gif")
    foundations = load_framework("moral_foundations")
    names = tuple(foundations.values)
    flat = structure(np.random.default_rng(0).normal(size=(30, len(names))), names, foundations)
    with pytest.raises(InvalidInputError, match="There is no circle to draw: not defined"):
        draw_circle(flat, foundations, tmp_path / "circle.svg")
    with pytest.raises(InvalidInputError, match="a name for each row and column"):
        draw_heat_map(np.ones((2, 2)), ("a",), ("b", "c"), tmp_path / "heat.svg")
    bare = fit_graph(surveyed(np.zeros((4, 4)), roles=12), "paper", resamples=0, ways=0)
    with pytest.raises(InvalidInputError, match="not shown without its stability"):
        draw_graph(bare, tmp_path / "graph.svg")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'nnvalue\[plots\]'"):
        draw_graph(graph, tmp_path / "graph.svg")
    assert not list(tmp_path.iterdir())
