"""Total and direct effects against a linear model without noise, in which both are known exactly."""

import numpy as np
import pytest

from nnvalue.causal import Context, direct_effects, total_effects
from nnvalue.errors import InvalidInputError
from tests.causal.simulated import random_dag, surveyed


def total_of(weights):
    return np.linalg.inv(np.eye(len(weights)) - weights)


@pytest.mark.parametrize("sides", [(1.0, -1.0), (1.0,), (-1.0,)])
def test_without_noise_effects_are_exact(sides):
    """Of one side, roles differ in how far they had to go, and the mean is what it is all the same."""
    weights = random_dag(np.random.default_rng(3), size=6)
    found = total_effects(surveyed(weights, noise=0.0, roles=4000, sides=sides))
    tolerance = 1e-9 if len(sides) == 2 else 0.1
    np.testing.assert_allclose(found.effects, total_of(weights), atol=tolerance)
    direct, drawn = direct_effects(found)
    np.testing.assert_allclose(direct, weights, atol=2 * tolerance)
    if len(sides) == 2:
        assert np.array_equal(drawn, weights != 0)
        assert np.allclose(found.own, 4)
        assert not found.off_target()


def test_intervals_hold_the_truth_as_often_as_they_should():
    weights = random_dag(np.random.default_rng(4), size=6)
    true = total_of(weights)
    held = []
    for seed in range(30):
        found = total_effects(surveyed(weights, seed, roles=40, noise=0.5), seed=seed)
        off = ~np.eye(6, dtype=bool)
        held.append(((found.low <= true) & (true <= found.high))[off].mean())
    assert 0.88 <= np.mean(held) <= 0.98


def test_steering_that_hits_others_is_told():
    weights = random_dag(np.random.default_rng(3), size=6, degree=2)
    assert not total_effects(surveyed(weights)).off_target()
    hit = total_effects(surveyed(weights, hits=0.8)).off_target()
    assert len(hit) > 2
    assert all(one in {f"v{n}" for n in range(6)} for pair in hit for one in pair)


def test_a_value_that_does_not_go_along_is_named():
    """Portraits of the organism do not follow neuron edits: nothing may be divided by that nothing."""
    table = surveyed(random_dag(np.random.default_rng(3), size=6))
    scores = table.scores.copy()
    scores[:, 2] = np.random.default_rng(0).normal(size=len(scores))
    stiff = type(table)(table.values, scores, table.role, table.context, table.roles, table.contexts)
    found = total_effects(stiff)
    assert found.unmoved() == ["v2"]
    assert np.isnan(found.effects[2]).all()
    with pytest.raises(InvalidInputError, match=r"Nothing moves v2.*leave it out"):
        direct_effects(found)
    partly = table.only([one.name for one in table.contexts if one.value != "v4"])
    assert total_effects(partly).unmoved() == ["v4"]


def test_values_that_move_as_one_cannot_be_told_apart():
    table = surveyed(random_dag(np.random.default_rng(3), size=6), noise=0.0)
    same = table.scores.copy()
    rows = {place: np.flatnonzero(table.context == place) for place in range(len(table.contexts))}
    for place, one in enumerate(table.contexts):
        if one.value in ("v1", "v2"):
            same[rows[place]] = one.side
    merged = type(table)(table.values, same, table.role, table.context, table.roles, table.contexts)
    with pytest.raises(InvalidInputError, match="collinear"):
        direct_effects(total_effects(merged))


def test_kinds_are_not_mixed_and_roles_are_compared_with_themselves():
    table = surveyed(random_dag(np.random.default_rng(3), size=4), roles=20)
    other = (*table.contexts[:-1], Context("neurons", "v3", -1.0, "neurons"))
    mixed = type(table)(table.values, table.scores, table.role, table.context, table.roles, other)
    with pytest.raises(InvalidInputError, match="neurons and prompt would be mixed"):
        total_effects(mixed)
    kept = np.arange(len(table.scores)) != 30
    holed = type(table)(
        table.values, table.scores[kept], table.role[kept], table.context[kept], table.roles, table.contexts
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="'r10' has no row in one of the settings"):
        total_effects(holed)
