"""A graph and what says how far to believe it."""

import numpy as np
import pytest

from nnvalue.artifacts import canonical_json
from nnvalue.causal import Background, ScoreTable, ValueGraph, fit_graph, marks_of_arrows
from nnvalue.causal.marks import skeleton
from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from tests.causal.simulated import random_dag, surveyed

WEIGHTS = random_dag(np.random.default_rng(2), size=6, degree=2)


@pytest.fixture(scope="module")
def table():
    return surveyed(WEIGHTS, roles=40)


@pytest.fixture(scope="module")
def graph(table):
    return fit_graph(table, "effects", resamples=20, ways=4)


def test_a_graph_says_what_it_rests_on(graph):
    assert (graph.rows, graph.roles, graph.contexts, graph.resamples) == (40 * 13, 40, 13, 20)
    assert graph.compare(marks_of_arrows(WEIGHTS != 0)).direction.value == 1
    for edge in graph.edges():
        place = graph.values.index(edge.cause), graph.values.index(edge.effect)
        assert edge.weight == pytest.approx(WEIGHTS[place], abs=0.1)
        assert edge.kind == "→"
        assert edge.edge_frequency == edge.arrow_frequency == 1
    assert graph.by_role.skeleton > 0.9 > graph.by_role.skeleton_chance
    assert "40 roles in 13 contexts; frequencies over 20" in str(graph)
    assert "Halves of the roles: skeleton F1" in str(graph)
    assert "not told; the scores came without their items" in str(graph)
    assert not graph.circles
    np.testing.assert_allclose(graph.total, np.linalg.inv(np.eye(6) - WEIGHTS), atol=0.1)


def test_without_stability_edges_are_not_shown(table):
    bare = fit_graph(table, "effects", resamples=0, ways=0)
    assert skeleton(bare.marks).any()  # it can be computed with
    for show in (bare.edges, bare.to_networkx):
        with pytest.raises(InvalidInputError, match="not shown without its stability"):
            show()
    assert "→" not in str(bare)
    assert "not shown" in repr(bare)


def test_frequencies_are_shares_of_bootstraps_of_roles(table):
    """Each bootstrap draws whole roles: one role's rows are never split."""
    drawn = []

    class Watched(ScoreTable):
        def take(self, roles):
            drawn.append(list(roles))
            return super().take(roles)

    watched = Watched(*(getattr(table, name) for name in table.__dataclass_fields__))
    found = fit_graph(watched, "jci", resamples=10, ways=0)
    assert [len(roles) for roles in drawn] == [40] * 10
    assert all(len(set(roles)) < 35 for roles in drawn)
    assert set(np.unique(found.edge_frequency * 10)) <= set(range(11))
    assert (found.edge_frequency == found.edge_frequency.T).all()
    assert (found.arrow_frequency <= found.edge_frequency).all()


def test_the_same_seed_gives_the_same_graph_and_another_one_others(table, graph):
    again = fit_graph(table, "effects", resamples=20, ways=4)
    assert canonical_json(again.as_json()) == canonical_json(graph.as_json())
    noisy = surveyed(WEIGHTS, roles=15, noise=1.5)
    frequencies = [fit_graph(noisy, "jci", resamples=10, ways=0, seed=seed).edge_frequency for seed in (0, 1)]
    assert not np.array_equal(*frequencies)


def test_a_graph_of_noise_is_shown_to_be_unstable():
    rng = np.random.default_rng(0)
    base = surveyed(WEIGHTS, roles=40)
    noise = ScoreTable(
        base.values, rng.normal(size=base.scores.shape), base.role, base.context, base.roles, base.contexts
    )  # fmt: skip
    found = fit_graph(noise, "paper", resamples=20, ways=10, alpha=0.2)
    assert found.by_role.skeleton < 0.6
    assert np.mean([edge.edge_frequency for edge in found.edges()]) < 0.8


def test_values_and_kinds_can_be_chosen(table):
    found = fit_graph(table, "jci", values=("v3", "v0", "v1"), resamples=2, ways=0)
    assert found.values == ("v3", "v0", "v1")
    assert fit_graph(table, "jci", kinds=["prompt"], resamples=2, ways=0).contexts == 13
    with pytest.raises(UnknownNameError, match="no value 'v9'"):
        fit_graph(table, values=("v9", "v0", "v1"))
    with pytest.raises(UnknownNameError, match="no kind of setting 'neurons'; choose from prompt"):
        fit_graph(table, kinds=["neurons"])


def test_warnings_say_what_a_reader_must_know(table):
    hit = fit_graph(surveyed(WEIGHTS, hits=0.8), "effects", resamples=2, ways=0)
    assert any("Steering hits other values: in" in one and "no acyclic graph explains" in one for one in hit.warnings)
    paper = fit_graph(
        table, "paper", resamples=2, ways=0, background=Background(required=(("v0", "v1"), ("v1", "v2")))
    )  # fmt: skip
    if paper.circles:
        assert any("goes round in circles" in one for one in paper.warnings)
    one_sided = ScoreTable(
        table.values, table.scores, table.role, table.context, table.roles, table.contexts, one_sided=("v1",)
    )  # fmt: skip
    said = fit_graph(one_sided, "jci", resamples=2, ways=0).warnings
    assert said[0] == "Yes-saying is still in the scores of v1: their items have one keying only."


def test_a_saved_graph_is_the_same_and_a_damaged_one_is_refused(graph, tmp_path):
    graph.save(tmp_path / "g")
    found = ValueGraph.load(tmp_path / "g")
    assert str(found) == str(graph)
    assert canonical_json(found.as_json()) == canonical_json(graph.as_json())
    assert "edge 1.00" in (tmp_path / "g" / "README.md").read_text()
    (tmp_path / "g" / "graph.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        ValueGraph.load(tmp_path / "g")
    with pytest.raises(ArtifactError, match="no result folder"):
        ValueGraph.load(tmp_path / "none")


def test_networkx_gets_arrows_with_what_they_rest_on(graph):
    given = graph.to_networkx()
    assert {(edge.cause, edge.effect) for edge in graph.edges()} == set(given.edges)
    *_, told = next(iter(given.edges(data=True)))
    assert set(told) == {"kind", "weight", "edge_frequency", "arrow_frequency"}
    assert given.graph["roles"] == 40


def test_graphs_of_other_values_are_not_compared(graph, table):
    other = fit_graph(table, "jci", values=("v0", "v1", "v2"), resamples=2, ways=0)
    with pytest.raises(InvalidInputError, match="on the same values"):
        graph.compare(other)
    turned = fit_graph(table, "effects", values=graph.values[::-1], resamples=2, ways=0)
    assert graph.compare(turned).direction.value == 1
