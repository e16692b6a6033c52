"""Methods against what is true of simulated surveys, and against the library that some come from."""

import numpy as np
import pytest

from nnvalue.causal import METHODS, Background, Context, Rule, ScoreTable, compare, estimate, marks_of_arrows
from nnvalue.causal.marks import HEAD, NOTHING, TAIL, skeleton
from nnvalue.errors import InvalidInputError, UnknownNameError
from tests.causal.simulated import draw, random_dag, surveyed

LIBRARY = ("boss", "ges", "fci", "lingam")


@pytest.fixture(scope="module")
def surveys():
    made = []
    for seed in range(8):
        weights = random_dag(np.random.default_rng(seed), size=8, degree=2.5)
        made.append((marks_of_arrows(weights != 0), surveyed(weights, seed)))
    return made


def mean_f1(surveys, method, kind="direction"):
    found = [compare(estimate(table, Rule(method)).marks, truth, permutations=1) for truth, table in surveys]
    return np.mean([getattr(one, kind).value for one in found])


def test_contexts_tell_directions_that_pooled_rows_do_not(surveys):
    """The order of the facts page: pooled PC, then PC with contexts, then inverted effects where steering is clean."""
    paper, jci, effects = (mean_f1(surveys, method) for method in ("paper", "jci", "effects"))
    assert paper < jci < effects
    assert effects > 0.95
    assert mean_f1(surveys, "jci", "skeleton") > 0.85


def test_steering_that_hits_other_values_spoils_effects_most(surveys):
    hit = []
    for seed in range(8):
        weights = random_dag(np.random.default_rng(seed), size=8, degree=2.5)
        hit.append((marks_of_arrows(weights != 0), surveyed(weights, seed, hits=0.6)))
    lost = {method: mean_f1(surveys, method) - mean_f1(hit, method) for method in ("jci", "effects")}
    assert lost["effects"] > max(lost["jci"], 0.2)


def test_jci_is_causal_learns_pc_with_tiers(surveys):
    """On the same columns, contexts in the first tier: the skeleton and, paired, the distance from the truth."""
    search = pytest.importorskip("causallearn.search.ConstraintBased.PC", reason="needs the extra causal-learn")
    from causallearn.graph.GraphNode import GraphNode
    from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge

    differences = []
    for truth, table in surveys[:4]:
        size, given = len(table.values), range(1, len(table.contexts))
        columns = np.column_stack([table.scores, *(table.context == place for place in given)]).astype(float)
        names = [f"n{number}" for number in range(columns.shape[1])]
        known = BackgroundKnowledge()
        for number, name in enumerate(names):
            known.add_node_to_tier(GraphNode(name), int(number < size))
            for other in names[size:] if number >= size else ():
                if other != name:
                    known.add_forbidden_by_node(GraphNode(name), GraphNode(other))
        graph = search.pc(
            columns, 0.01, "fisherz", stable=True, uc_rule=0, uc_priority=2, background_knowledge=known,
            node_names=names, show_progress=False, max_k=3,
        ).G.graph[:size, :size]  # fmt: skip
        theirs = np.select([graph.T == -1, graph.T == 1], [TAIL, HEAD], NOTHING)
        ours = estimate(table, Rule("jci")).marks
        assert np.array_equal(skeleton(ours), skeleton(theirs))
        differences.append(
            compare(ours, truth, permutations=1).shd.value - compare(theirs, truth, permutations=1).shd.value
        )  # fmt: skip
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) <= max(2 * error, 0.1), differences


@pytest.mark.parametrize("method", LIBRARY)
def test_library_graphs_are_read_the_right_way_round(surveys, method):
    """The library's matrix has its ends transposed, and its edges say themselves how they point."""
    pytest.importorskip("causallearn", reason="needs the extra causal-learn")
    from causallearn.search.ConstraintBased.FCI import fci
    from causallearn.search.PermutationBased.BOSS import boss
    from causallearn.search.ScoreBased.GES import ges

    truth, table = surveys[0]
    found = estimate(table, Rule(method)).marks
    told = compare(found, truth, permutations=199)
    assert told.skeleton.value > 0.6
    assert told.skeleton.p < 0.05
    if method == "lingam":  # which needs other noise to tell directions: see below
        return
    rows = table.unsteered().scores
    run = {
        "boss": lambda: boss(rows, "local_score_BIC_from_cov"),
        "ges": lambda: ges(rows, "local_score_BIC")["G"],
        "fci": lambda: fci(rows, "fisherz", 0.05, show_progress=False)[0],
    }[method]
    mark = {"TAIL": 1, "ARROW": 2, "CIRCLE": 3}
    expected = np.zeros_like(found)
    for edge in run().get_graph_edges():
        ends = [int(node.get_name()[1:]) - 1 for node in (edge.get_node1(), edge.get_node2())]
        expected[ends[1], ends[0]] = mark[edge.get_endpoint1().name]
        expected[ends[0], ends[1]] = mark[edge.get_endpoint2().name]
    assert np.array_equal(found, expected)


def test_noise_that_is_not_normal_tells_directions():
    pytest.importorskip("causallearn", reason="needs the extra causal-learn")
    rng = np.random.default_rng(1)
    weights = random_dag(rng, size=6, degree=2)
    scores = draw(weights, rng.uniform(-1, 1, size=(600, 6)))
    one = np.zeros(600, dtype=int)
    table = ScoreTable(tuple("abcdef"), scores, np.arange(600), one, tuple(map(str, range(600))), (Context("none"),))
    found = estimate(table, Rule("lingam")).marks
    assert compare(found, marks_of_arrows(weights != 0), permutations=99).direction.value > 0.9


def test_without_the_library_its_methods_say_what_to_install(surveys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "causallearn", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'nnvalue\[causal-learn\]'"):
        estimate(surveys[0][1], Rule("boss"))


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.knows])
def test_background_knowledge_is_kept_by_every_method_that_takes_it(surveys, method):
    if method == "fci":
        pytest.importorskip("causallearn", reason="needs the extra causal-learn")
    _, table = surveys[1]
    found = estimate(table, Rule(method)).marks
    cause, effect = (int(one[0]) for one in np.nonzero(found == HEAD))
    names = table.values
    against = Background(forbidden=((names[cause], names[effect]),))
    assert estimate(table, Rule(method, background=against)).marks[cause, effect] != HEAD
    tiers = Background(tiers=(tuple(names[4:]), tuple(names[:4])))
    tiered = estimate(table, Rule(method, background=tiers)).marks
    assert not (tiered[:4, 4:] == HEAD).any()


def test_weights_are_those_of_a_regression(surveys):
    _, table = surveys[2]
    found = estimate(table, Rule("paper"))
    effect = int(np.argmax((found.marks == HEAD).sum(0)))
    causes = np.flatnonzero(found.marks[:, effect] == HEAD)
    standard = (table.scores - table.scores.mean(0)) / table.scores.std(0)
    expected = np.linalg.solve(
        standard[:, causes].T @ standard[:, causes], standard[:, causes].T @ standard[:, effect]
    )  # fmt: skip
    np.testing.assert_allclose(found.weights[causes, effect], expected)
    assert not found.weights[found.marks == NOTHING].any()


@pytest.mark.parametrize(
    ("rule", "error", "said"),
    [
        ({"method": "jcii"}, UnknownNameError, "did you mean jci"),
        ({"rows": "all", "method": "pc"}, UnknownNameError, "choose from pooled, unsteered, within"),
        ({"alpha": 0.0}, InvalidInputError, "alpha lies between 0 and 1, 0.0 given"),
        ({"method": "boss", "alpha": 0.1}, InvalidInputError, "'boss' has no setting 'alpha'"),
        ({"rows": "pooled"}, InvalidInputError, "'jci' has no setting 'rows'"),
        (
            {"method": "ges", "background": Background(forbidden=(("v0", "v1"),))},
            InvalidInputError,
            "takes no background knowledge; leave it out, or use one that does: jci, effects, paper, pc, fci",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule, error, said):
    with pytest.raises(error, match=said):
        Rule(**rule)


@pytest.mark.parametrize(
    ("background", "said"),
    [
        (Background(required=(("a", "b"), ("b", "c"), ("c", "a"))), r"go round in a circle \(a, b, c\)"),
        (Background(required=(("a", "b"),), forbidden=(("a", "b"),)), "a → b is required and ruled out"),
        (Background(tiers=(("a",), ("b",)), required=(("b", "a"),)), "b → a is required and ruled out"),
        (Background(tiers=(("a", "b"), ("b",))), "'b' stands in two tiers"),
        (Background(forbidden=(("a", "a"),)), "to itself"),
        (Background(tiers=(("a", "d"),)), "no value 'd'"),
    ],
)
def test_background_knowledge_that_contradicts_itself_is_refused(background, said):
    with pytest.raises((InvalidInputError, UnknownNameError), match=said):
        background.knowledge("abc")


def test_jci_without_contexts_says_so(surveys):
    with pytest.raises(InvalidInputError, match="nothing was steered; use the method pc"):
        estimate(surveys[0][1].unsteered(), Rule("jci"))
