"""PC against causal-learn, against graphs worked by hand, and against what was published."""

import numpy as np
import pytest

from nnvalue.causal import Background, both_ways, circles, compare, pc, read_scores, reduced_as_published
from nnvalue.causal.estimators import Rule, estimate
from nnvalue.causal.graph import named_arrows
from nnvalue.causal.marks import HEAD, NOTHING, TAIL, marks_of, marks_of_arrows, skeleton
from tests.causal import published
from tests.causal.simulated import draw, random_dag

GRAPHS, ROWS = 15, 500


def samples():
    for seed in range(GRAPHS):
        rng = np.random.default_rng(seed)
        weights = random_dag(rng)
        yield weights, draw(weights, rng.normal(size=(ROWS, len(weights))))


def learned(scores, alpha=0.05, **settings):
    """Marks of causal-learn's PC, in our form."""
    search = pytest.importorskip("causallearn.search.ConstraintBased.PC", reason="needs the extra causal-learn")
    kept = {"stable": True, "uc_rule": 0, "uc_priority": 2, "show_progress": False, **settings}
    graph = search.pc(scores, alpha, "fisherz", **kept).G.graph
    return np.select([graph.T == -1, graph.T == 1], [TAIL, HEAD], NOTHING)


def test_skeletons_and_directions_are_causal_learns():
    """But where the library's Meek rules close a circle, which ours do not."""
    alike = 0
    for _, scores in samples():
        found = pc(np.corrcoef(scores.T), len(scores), 0.05)
        theirs = learned(scores)
        assert np.array_equal(skeleton(found), skeleton(theirs))
        if not circles(theirs == HEAD):
            assert np.array_equal(found, theirs)
            alike += 1
    assert alike >= GRAPHS - 4


def test_graphs_are_as_near_the_truth_as_causal_learns():
    """Paired over graphs: the mean difference in SHD lies within two standard errors, or within a tenth of an edge."""
    pytest.importorskip("causallearn", reason="needs the extra causal-learn")
    differences = []
    for weights, scores in samples():
        truth = marks_of_arrows(weights != 0)
        ours, theirs = pc(np.corrcoef(scores.T), len(scores), 0.05), learned(scores)
        differences.append(
            compare(ours, truth, permutations=1).shd.value - compare(theirs, truth, permutations=1).shd.value
        )  # fmt: skip
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) <= max(2 * error, 0.1), differences


def test_background_knowledge_is_causal_learns():
    knowledge_of = pytest.importorskip("causallearn.utils.PCUtils.BackgroundKnowledge")
    node = pytest.importorskip("causallearn.graph.GraphNode").GraphNode
    names = [f"v{n}" for n in range(10)]
    background = Background(tiers=(tuple(names[:4]), tuple(names[4:])))
    known = knowledge_of.BackgroundKnowledge()
    for number, name in enumerate(names):
        known.add_node_to_tier(node(name), int(number >= 4))
    for _, scores in samples():
        found = pc(np.corrcoef(scores.T), len(scores), 0.05, background.knowledge(names))
        theirs = learned(scores, node_names=names, background_knowledge=known)
        assert np.array_equal(skeleton(found), skeleton(theirs))
        across = np.ix_(range(4), range(4, 10))
        assert not (found.T[across] == HEAD).any()
        assert circles(theirs == HEAD) or np.array_equal(found, theirs)


def test_a_collider_and_a_chain_by_hand():
    """a → c ← b is told from correlations alone; a — b — c is not, but with one arrow known the rest follows."""
    collider = np.array([[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1]])
    assert pc(collider, 1000, 0.05).tolist() == [[0, 0, HEAD], [0, 0, HEAD], [TAIL, TAIL, 0]]
    chain = np.array([[1, 0.6, 0.36], [0.6, 1, 0.6], [0.36, 0.6, 1]])
    assert pc(chain, 1000, 0.05).tolist() == [[0, TAIL, 0], [TAIL, 0, TAIL], [0, TAIL, 0]]
    known = Background(required=(("a", "b"),)).knowledge("abc")
    assert pc(chain, 1000, 0.05, known).tolist() == [[0, HEAD, 0], [TAIL, 0, HEAD], [0, TAIL, 0]]  # Meek's first rule
    forbidden = Background(forbidden=(("b", "a"), ("a", "b"))).knowledge("abc")
    assert pc(chain, 1000, 0.05, forbidden)[0, 1] == NOTHING


def test_a_required_arrow_stays_whatever_the_data_say():
    apart = np.eye(3)
    known = Background(required=(("c", "a"),)).knowledge("abc")
    assert pc(apart, 1000, 0.05, known).tolist() == [[0, 0, TAIL], [0, 0, 0], [HEAD, 0, 0]]


def test_sets_are_no_larger_than_is_allowed():
    """Two nodes that three others part stay adjacent where sets of two are the largest."""
    rng = np.random.default_rng(0)
    weights = np.zeros((5, 5))
    weights[:3, 3] = weights[:3, 4] = 0.8
    correlations = np.corrcoef(draw(weights, rng.normal(size=(4000, 5))).T)
    assert not skeleton(pc(correlations, 4000, 0.01))[3, 4]
    assert skeleton(pc(correlations, 4000, 0.01, deepest=2))[3, 4]


def test_a_handful_of_rows_ends_without_an_error():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 5))
    assert pc(np.corrcoef(scores.T), len(scores), 0.05).shape == (5, 5)


def test_the_published_arrows_follow_from_the_published_correlations():
    """Another order of colliders, of columns or of the reduction gives other arrows inside the circles."""
    found = pc(published.correlations(), published.N, 0.05)
    directed = (found == HEAD) & (found.T == TAIL)
    assert (int(skeleton(found).sum()) // 2, int(directed.sum())) == (44, 41)
    arrows = reduced_as_published(both_ways(found))
    assert set(named_arrows(arrows, published.VALUES)) == published.ARROWS
    assert len(published.ARROWS) == 28
    assert len(circles(arrows)) == 2


def test_the_published_arrows_follow_from_the_published_scores():
    table = read_scores(
        published.scores_file(), values=published.VALUES, context="steer_dim", role="player_name",
        contexts=published.CONTEXTS,
    )  # fmt: skip
    assert (len(table.scores), len(table.roles), len(table.contexts)) == (1111, 101, 11)
    np.testing.assert_allclose(np.corrcoef(table.scores.T), published.correlations(), atol=1e-10)
    found = estimate(table, Rule("paper"))
    assert np.array_equal(found.marks, marks_of(published.ARROWS, published.VALUES))
