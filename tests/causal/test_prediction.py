"""Predictions of side effects where what follows is known: a linear model, asked with items like a survey's."""

import numpy as np
import pytest

from nnvalue.causal import (
    Setting,
    Survey,
    SurveyItem,
    check_predictions,
    choose_intervention,
    choose_role,
    fit_graph,
    path_effects,
    predict,
    protected_values,
    unsteered,
)
from nnvalue.causal.marks import HEAD, TAIL, marks_of, marks_of_arrows
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import load_framework
from tests.causal.simulated import random_dag, surveyed

FRAMEWORK = load_framework()
VALUES = tuple(FRAMEWORK.values)[:6]
WEIGHTS = random_dag(np.random.default_rng(2), size=6, degree=2)


def asked(weights=WEIGHTS, roles=40, pairs=2, noise=0.3, hits=0.0, seed=0, kind="prompt"):
    """A survey as `survey` gives it: pairs of items of both keyings, with noise of their own and some yes-saying."""
    table = surveyed(weights, seed, roles=roles, noise=0.0, hits=hits)
    rng = np.random.default_rng([seed, 1])
    settings = [unsteered()]
    for one in table.contexts[1:]:
        value = VALUES[table.values.index(one.value)]
        settings.append(Setting(f"{kind} {value} {one.side:+g}", kind=kind, value=value,
                                pole="positive" if one.side > 0 else "negative", dose=1.0))  # fmt: skip
    items = [
        SurveyItem(f"{value}{pair}{keying}", value, keying, f"{value} {pair}")
        for value in VALUES
        for pair in range(pairs)
        for keying in (1, -1)
    ]
    scores = table.scores.reshape(len(settings), roles, 6)
    columns = [VALUES.index(item.value) for item in items]
    keyings = np.array([item.keying for item in items])
    answers = 3.5 + keyings * scores[..., columns] + 0.4 * rng.normal(size=(1, roles, 1))
    answers = answers[..., None] + noise * rng.normal(size=(*answers.shape, 2))
    facts = {"scale": [1, 6], "protocol": {"name": "options"}, "model": {"name": "m"}, "framework": "schwartz"}
    return Survey(
        facts, VALUES, tuple(settings), tuple(f"r{n}" for n in range(roles)), tuple(items), ("up", "down"),
        answers.astype(np.float32), np.ones(answers.shape, dtype=np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def done():
    return asked()


@pytest.fixture(scope="module")
def report(done):
    return check_predictions(done, FRAMEWORK, ways=4)


def test_what_a_graph_lets_through_is_the_sum_over_its_ways():
    """a → b → c, .5 and .4: .2 through b. What has no direction lets nothing through."""
    marks = marks_of([("a", "b"), ("b", "c")], "abc")
    weights = np.zeros((3, 3))
    weights[0, 1], weights[1, 2] = 0.5, 0.4
    np.testing.assert_allclose(path_effects(marks, weights), [[1, 0.5, 0.2], [0, 1, 0.4], [0, 0, 1]])
    marks[1, 2] = marks[2, 1] = TAIL
    np.testing.assert_allclose(path_effects(marks, weights), [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    full = marks_of_arrows(WEIGHTS != 0)
    np.testing.assert_allclose(path_effects(full, WEIGHTS), np.linalg.inv(np.eye(6) - WEIGHTS), atol=1e-12)


def test_a_circle_that_amplifies_is_refused():
    marks = np.array([[0, HEAD, TAIL], [TAIL, 0, HEAD], [HEAD, TAIL, 0]], dtype=np.int8)
    weights = np.where(marks == HEAD, 1.2, 0)
    with pytest.raises(InvalidInputError, match="circles that amplify"):
        path_effects(marks, weights)
    settles = path_effects(marks, weights / 2)
    assert np.isfinite(settles).all()


def test_where_effects_are_clean_they_are_foretold(report):
    """On people and items that were not looked at; and better than by nothing, by the circle and by other names."""
    for source in ("total effects", "effects"):
        score = report.scores[source]
        assert score.r_low > 0.9
        assert score.skill_low > 0.8
        assert score.direction > 0.95
        assert score.which > 0.9
        for baseline in ("no graph", "circle", "shuffled names"):
            assert report.better[source][baseline][1] > 0, (source, baseline)
        assert report.p[source] < 0.02
    assert report.scores["no graph"].skill == 0
    assert report.scores["no graph"].direction == report.scores["no graph"].which == 0.5
    assert (report.cells, report.roles, report.ways) == (30, 40, 4)
    assert 5 < report.moved < 30


def test_where_nothing_else_moves_nothing_is_foretold_well():
    """Independent values: whoever predicts side effects is worse than who predicts none."""
    found = check_predictions(asked(np.zeros((6, 6)), roles=20), FRAMEWORK, ways=3)
    assert found.scores["total effects"].skill < 0.2
    assert found.scores["total effects"].r_low < 0.3


def test_halves_share_neither_roles_nor_items(done, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "nnvalue.causal.prediction.Survey.table",
        lambda self, units=None: seen.append(units) or original(self, units),
    )
    original = Survey.table.__wrapped__ if hasattr(Survey.table, "__wrapped__") else _table
    check_predictions(done, FRAMEWORK, sources=("total effects",), ways=1)
    learn, hold = [set(units) for units in seen if units is not None]
    assert not learn & hold
    assert learn | hold == {unit for units in done.units().values() for unit in units}


_table = Survey.table


def test_one_pair_is_not_enough(done):
    with pytest.raises(InvalidInputError, match="one item or pair of items"):
        check_predictions(asked(pairs=1, roles=12), FRAMEWORK)


def test_settings_that_move_nothing_have_no_sides(done):
    still = Survey(
        done.facts, done.values, done.settings, done.roles, done.items, done.orders,
        np.broadcast_to(done.scores[:1], done.scores.shape).copy(), done.mass,
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="do not move their own values"):
        check_predictions(still, FRAMEWORK)


def test_a_graph_foretells_before_anything_is_steered(done):
    graph = fit_graph(done, "effects", resamples=2, ways=0)
    total = np.linalg.inv(np.eye(6) - WEIGHTS)
    value = VALUES[int(np.abs(total - np.eye(6)).sum(1).argmax())]
    told = predict(graph, value, 2.0)
    np.testing.assert_allclose(list(told.values()), 2 * total[VALUES.index(value)], atol=0.15)
    through = predict(graph, value, 2.0, source="graph")
    np.testing.assert_allclose(list(through.values()), 2 * total[VALUES.index(value)], atol=0.3)
    with pytest.raises(InvalidInputError, match="There is no value 'joy' in this graph"):
        predict(graph, "joy")


def test_a_choice_follows_its_rule(done):
    """argmax g·ΔS − λ Σ |ΔSⱼ|, worked here again from the scores."""
    wish, protect = {VALUES[0]: 1.0}, VALUES[3:5]
    means = done.value_scores().mean(1)
    moves = means[1:] - means[0]
    expected = moves[:, 0] - np.abs(moves[:, 3:5]).sum(1)
    found = choose_intervention(done, wish, protect=protect)
    assert found[0].name == done.settings[1 + int(expected.argmax())].name
    assert found[0].score == pytest.approx(expected.max())
    assert list(found[0].moves) == list(VALUES)  # all of them, none left out
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    roles = choose_role(done, {VALUES[0]: -1.0}, protect=protect, penalty=2.0)
    unsteered_scores = done.value_scores()[0]
    moves = unsteered_scores - unsteered_scores.mean(0)
    expected = -moves[:, 0] - 2 * np.abs(moves[:, 3:5]).sum(1)
    assert roles[0].name == f"r{int(expected.argmax())}"
    unguided = choose_role(done, {VALUES[0]: -1.0}, protect=protect, penalty=0.0)
    assert unguided[0].gain >= roles[0].gain
    assert unguided[0].protected >= roles[0].protected


def test_what_lies_downstream_is_no_side_effect(done):
    graph = fit_graph(done, "effects", resamples=2, ways=0)
    cause = int((WEIGHTS != 0).any(1).argmax())
    follows = {VALUES[place] for place in np.flatnonzero(graph.descendants[cause])}
    assert follows
    kept = protected_values(VALUES, {VALUES[cause]: 1.0}, None, graph)
    assert set(kept) == set(VALUES) - follows - {VALUES[cause]}
    assert set(protected_values(VALUES, {VALUES[cause]: 1.0}, None, None)) == set(VALUES) - {VALUES[cause]}


@pytest.mark.parametrize(
    ("wish", "protect", "error", "said"),
    [
        ({"powr": 1}, None, UnknownNameError, "no value 'powr'"),
        ({}, None, InvalidInputError, "A wish names values"),
        ({VALUES[0]: 0}, None, InvalidInputError, "not 0"),
        ({VALUES[0]: 1}, ["joy"], UnknownNameError, r"no value 'joy'.*\(protected\)"),
        ({VALUES[0]: 1}, [VALUES[0]], InvalidInputError, "wished and protected"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(done, wish, protect, error, said):
    for choose in (choose_role, choose_intervention):
        with pytest.raises(error, match=said):
            choose(done, wish, protect=protect)


def test_kinds_and_penalties_are_checked(done):
    with pytest.raises(UnknownNameError, match="no kind of setting 'neurons'; choose from prompt"):
        choose_intervention(done, {VALUES[0]: 1.0}, kinds=["neurons"])
    with pytest.raises(InvalidInputError, match="at least 0, -1"):
        choose_role(done, {VALUES[0]: 1.0}, penalty=-1)
    with pytest.raises(InvalidInputError, match="Nothing steers"):
        choose_intervention(done.of(settings=["unsteered"]), {VALUES[0]: 1.0})
