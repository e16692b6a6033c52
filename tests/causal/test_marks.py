"""Graphs against networkx and by hand."""

import networkx
import numpy as np
import pytest

from nnvalue.causal import both_ways, circles, descendants, marks_of, reduced, reduced_as_published
from nnvalue.causal.marks import HEAD, TAIL, heads
from nnvalue.errors import InvalidInputError, UnknownNameError
from tests.causal.simulated import random_dag


def arrows(text, size):
    made = np.zeros((size, size), dtype=bool)
    for pair in text.split():
        made[int(pair[0]), int(pair[1])] = True
    return made


def random_arrows(seed, size=8, share=0.2):
    made = np.random.default_rng(seed).random((size, size)) < share
    np.fill_diagonal(made, False)
    return made


@pytest.mark.parametrize("seed", range(8))
def test_what_can_be_reached_is_networkx(seed):
    given = random_arrows(seed)
    graph = networkx.from_numpy_array(given, create_using=networkx.DiGraph)
    found = descendants(given)
    for node in graph:
        expected = networkx.descendants(graph, node)
        assert set(np.flatnonzero(found[node])) - {node} == expected
        assert found[node, node] == any(node in cycle for cycle in networkx.simple_cycles(graph))
    groups = sorted(sorted(one) for one in networkx.strongly_connected_components(graph) if len(one) > 1)
    assert circles(given) == groups


@pytest.mark.parametrize("seed", range(8))
def test_an_acyclic_graph_has_one_reduction(seed):
    given = random_dag(np.random.default_rng(seed), size=8, degree=4) != 0
    graph = networkx.from_numpy_array(given, create_using=networkx.DiGraph)
    expected = networkx.to_numpy_array(networkx.transitive_reduction(graph), nodelist=range(8)) > 0
    assert np.array_equal(reduced(given), expected)
    assert np.array_equal(reduced_as_published(given), expected)


@pytest.mark.parametrize("seed", range(8))
def test_reductions_keep_what_can_be_reached(seed):
    given = random_arrows(seed, share=0.35)
    for reduce in (reduced, reduced_as_published):
        assert np.array_equal(descendants(reduce(given)), descendants(given))
        assert not (reduce(given) & ~given).any()


def test_inside_a_circle_the_published_reduction_depends_on_the_order_and_ours_does_not():
    given = arrows("01 12 20 10 21 02", 3)
    order = [2, 1, 0]
    turned = given[np.ix_(order, order)]
    back = np.ix_(np.argsort(order), np.argsort(order))
    assert not np.array_equal(reduced_as_published(turned)[back], reduced_as_published(given))
    assert np.array_equal(reduced(turned)[back], reduced(given))


def test_what_has_no_direction_points_both_ways():
    marks = marks_of([("a", "b"), ("c", "d"), ("d", "c")], "abcd")
    marks[1, 2] = marks[2, 1] = TAIL
    assert both_ways(marks).astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert heads(marks).sum() == 3
    assert marks[0, 1] == HEAD
    assert marks[1, 0] == TAIL


def test_arrows_by_name_are_checked():
    with pytest.raises(UnknownNameError, match="did you mean power"):
        marks_of([("powr", "joy")], ("power", "joy"))
    with pytest.raises(InvalidInputError, match="to itself"):
        marks_of([("joy", "joy")], ("power", "joy"))
