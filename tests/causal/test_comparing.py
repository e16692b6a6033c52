"""Comparisons by hand, and a null that is one: p-values of graphs that have nothing to do with each other."""

import numpy as np
import pytest

from nnvalue.causal import compare, marks_of
from nnvalue.causal.estimators import Rule, estimate
from nnvalue.causal.marks import TAIL, marks_of_arrows
from nnvalue.errors import InvalidInputError
from tests.causal.simulated import random_dag, surveyed

COMPARISONS, MOST = 200, 18  # of 200 at .05, 18 is the 99 % bound of a binomial


def test_figures_by_hand():
    """a→b is right, b→c turned round, c—d lacks a direction, d→e is missing, a→e is not there: four pairs differ."""
    truth = marks_of([("a", "b"), ("c", "b"), ("c", "d"), ("d", "e")], "abcde")
    found = marks_of([("a", "b"), ("b", "c"), ("a", "e")], "abcde")
    found[2, 3] = found[3, 2] = TAIL
    told = compare(found, truth, permutations=200)
    assert told.skeleton.value == pytest.approx(2 * 3 / (4 + 4))
    assert (told.precision, told.recall) == (0.75, 0.75)
    assert told.direction.value == pytest.approx(2 * 1 / (3 + 4))
    assert told.shd.value == 4
    assert (told.edges, told.reference) == (4, 4)


def test_a_graph_is_like_itself_and_no_shuffle_is():
    truth = marks_of_arrows(random_dag(np.random.default_rng(0)) != 0)
    told = compare(truth, truth, permutations=1999)
    assert (told.skeleton.value, told.direction.value, told.shd.value) == (1, 1, 0)
    assert max(told.skeleton.p, told.direction.p, told.shd.p) <= 0.005
    assert told.skeleton.chance < 0.6
    assert told.shd.chance > 10


def test_without_edges_there_is_nothing_to_be_alike():
    truth = marks_of([("a", "b")], "abc")
    told = compare(np.zeros((3, 3), dtype=np.int8), truth, permutations=99)
    assert (told.skeleton.value, told.precision, told.shd.value) == (0, 0, 1)
    assert told.skeleton.p == told.shd.p == 1


def test_other_values_are_refused():
    with pytest.raises(InvalidInputError, match="same values"):
        compare(np.zeros((3, 3), dtype=np.int8), np.zeros((4, 4), dtype=np.int8))


@pytest.mark.parametrize("method", ["paper", "jci"])
def test_on_permuted_data_few_comparisons_are_significant(method):
    """A null that is too narrow, or a graph that carries the truth in by the back door, would be significant often."""
    rng = np.random.default_rng(5)
    weights = random_dag(rng, size=8)
    truth = marks_of_arrows(weights != 0)
    table = surveyed(weights, roles=30)
    called = np.zeros(3)
    for number in range(COMPARISONS):
        names = rng.permutation(len(weights))
        permuted = type(table)(
            table.values, table.scores[:, names], table.role, table.context, table.roles, table.contexts
        )  # fmt: skip
        found = estimate(permuted, Rule(method, deepest=2)).marks
        told = compare(found, truth, permutations=199, seed=number)
        called += [one.p < 0.05 for one in (told.skeleton, told.direction, told.shd)]
    assert (called <= MOST).all(), called
    assert called.sum() > 0


def test_scores_that_were_shuffled_row_by_row_tell_nothing():
    rng = np.random.default_rng(6)
    weights = random_dag(rng, size=8)
    truth = marks_of_arrows(weights != 0)
    table = surveyed(weights, roles=30)
    called = 0
    for number in range(COMPARISONS):
        scores = rng.permuted(table.scores, axis=0)
        shuffled = type(table)(table.values, scores, table.role, table.context, table.roles, table.contexts)
        found = estimate(shuffled, Rule("paper")).marks
        called += compare(found, truth, permutations=199, seed=number).skeleton.p < 0.05
    assert called <= MOST
