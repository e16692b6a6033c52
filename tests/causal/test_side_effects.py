"""Expected and unexpected side effects by hand, and as they were published."""

import numpy as np
import pytest

from nnvalue.causal import (
    context_differences,
    descendants,
    marks_of,
    over_roles,
    read_scores,
    role_differences,
    side_effects,
)
from nnvalue.causal.marks import heads
from nnvalue.errors import InvalidInputError
from tests.causal import published
from tests.causal.simulated import random_dag, surveyed

_HUMAN = """
Achievement > Anxiety Disorder, Economic, Organization, Positive coping
Understanding > Aesthetic, Empathy, Social
Empathy > Anxiety Disorder
Social Complexity > Anxiety Disorder, Empathy, Positive coping, Social Cynicism, Uncertainty Avoidance
Breadth of Interest > Positive coping, Social
Social > Organization, Social Complexity
Resilience > Positive coping
"""
HUMAN = {
    (cause.strip(), effect.strip())
    for line in _HUMAN.strip().splitlines()
    for cause, effects in [line.split(">")]
    for effect in effects.split(",")
}
PICKED = "Mary Holt"  # the one role in which the paper shows SAE features


def downstream(arrows, values):
    found = descendants(heads(marks_of(arrows, values)))
    np.fill_diagonal(found, False)
    return found


def test_by_hand():
    """a → b; four settings, of which a moves in three: b moves in two of these, c in one, d in none."""
    table = np.array([[1, 1, 0, 0], [2, -1, 3, 0], [-1, 0, 0, 0], [0, 5, 5, 5.0]])
    graph = downstream([("a", "b")], "abcd")
    found = side_effects(table, graph, "abcd", permutations=99)
    a, b, c, d = found.by_value
    assert (a.expected, a.moved) == (pytest.approx(2 / 3), 3)
    assert a.unexpected == pytest.approx((1 / 3 + 0) / 2)
    assert (b.expected, b.moved) == (pytest.approx(np.nan, nan_ok=True), 3)
    assert b.ancestors == pytest.approx(2 / 3)  # a, of the three in which b moved
    assert b.unrelated == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert b.unexpected == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    assert found.expected == pytest.approx(2 / 3)
    assert found.unexpected == pytest.approx(np.mean([a.unexpected, b.unexpected, c.unexpected, d.unexpected]))
    assert found.gap == pytest.approx(found.expected - found.unexpected)
    assert found.coverage == pytest.approx(1 / 12)
    sizes = side_effects(table, graph, "abcd", form="magnitude", permutations=99)
    assert sizes.by_value[0].expected == pytest.approx((1 + 1 + 0) / 3)
    assert sizes.by_value[0].unexpected == pytest.approx((3 / 3 + 0) / 2)
    coarse = side_effects(table, graph, "abcd", least=1.5, permutations=99)
    assert coarse.by_value[0].moved == 1
    assert coarse.by_value[0].expected == 0


def test_a_value_that_never_moved_is_left_out_of_means():
    table = np.array([[1, 1, 0.0], [1, 0, 0.0]])
    found = side_effects(table, downstream([("a", "b"), ("c", "a")], "abc"), "abc", permutations=99)
    assert np.isnan(found.by_value[2].expected)
    assert found.expected == pytest.approx(0.5)


def test_a_true_graph_tells_and_shuffled_names_do_not():
    weights = random_dag(np.random.default_rng(2), size=8, degree=2)
    table = surveyed(weights, roles=40, noise=0.1)
    true = descendants(weights != 0)
    rows = np.concatenate([context_differences(table, role) for role in table.roles])
    found = side_effects(rows, true, table.values, form="magnitude", permutations=499)
    assert found.gap > 0.2
    assert found.p < 0.01
    assert abs(found.chance) < 0.1
    unrelated = np.nanmean([one.unrelated for one in found.by_value])
    assert found.expected > unrelated


@pytest.fixture(scope="module")
def gemma():
    return read_scores(
        published.scores_file("test"), values=published.VALUES, context="steer_dim", role="player_name",
        contexts=published.CONTEXTS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arrows", "over_prompts", "over_features"),
    [(published.ARROWS, (0.69, 0.56, 0.19), (0.57, 0.51, 0.31)), (HUMAN, (0.69, 0.59, 0.28), (0.79, 0.50, 0.004))],
    ids=["mined", "reference"],
)
def test_the_published_figures_follow_from_the_published_scores(gemma, arrows, over_prompts, over_features):
    """Expected, unexpected, and one-sided p of the gap: another base, another set of means, and they differ."""
    graph = downstream(arrows, gemma.values)
    for rows, (expected, unexpected, p) in (
        (role_differences(gemma), over_prompts), (context_differences(gemma, PICKED), over_features),
    ):  # fmt: skip
        found = side_effects(rows, graph, gemma.values)
        assert (round(found.expected, 2), round(found.unexpected, 2)) == (expected, unexpected)
        assert found.p == pytest.approx(p, abs=0.04)


def test_over_all_roles_the_published_gap_is_smaller(gemma):
    """+.035 for the mined graph, above 0 in 72 % of 25; +.138 and 96 % for the reference."""
    for arrows, mean, share in ((published.ARROWS, 0.035, 0.72), (HUMAN, 0.138, 0.96)):
        found = over_roles(gemma, downstream(arrows, gemma.values), permutations=1)
        gaps = np.array([one.gap for name, one in found.items() if name != "none"])
        assert len(gaps) == 25
        assert gaps.mean() == pytest.approx(mean, abs=0.005)
        assert (gaps > 0).mean() == pytest.approx(share, abs=0.005)


def test_bad_input_is_told(gemma):
    graph = downstream([("a", "b")], "ab")
    with pytest.raises(InvalidInputError, match="frequency or magnitude, 'count' given"):
        side_effects(np.ones((3, 2)), graph, "ab", form="count")
    with pytest.raises(InvalidInputError, match="given for 3 values"):
        side_effects(np.ones((3, 2)), graph, "abc")
    with pytest.raises(InvalidInputError, match="no role 'Nobody Here'"):
        context_differences(gemma, "Nobody Here")
