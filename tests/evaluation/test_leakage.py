"""Leakage against ratios worked by hand, and on tables that follow the circle or do not."""

import numpy as np
import pytest

from nnvalue.errors import InvalidInputError
from nnvalue.evaluation.leakage import against_people, along_the_circle, leakage
from nnvalue.values import human_reference, load_framework

SCHWARTZ = load_framework("schwartz")
VALUES = tuple(SCHWARTZ.values)


def test_ratios_by_hand():
    values = ("benevolence", "universalism", "power")
    effects = np.array([[0.5, 0.2, -0.1], [0.1, 0.4, 0.3], [0.2, 0.0, -0.1]])
    one, two, three = leakage(effects, values, values, SCHWARTZ)
    assert one.on_target == 0.5
    assert one.off_target == pytest.approx(0.15)
    assert one.per_unit == pytest.approx(0.3)
    assert one.nlr == pytest.approx((0.2 + 0.0) / 2 / 0.5)  # a fall is no leak
    assert one.nglr == 0.0  # universalism is of benevolence's group
    assert two.nglr == pytest.approx(0.3 / 0.4)
    assert np.isnan(three.per_unit)  # it went the other way
    assert np.isnan(three.nlr)
    assert three.nglr == 1.0


def circle_table(sign=1.0):
    near = np.cos(np.radians([[SCHWARTZ.distance(a, b) for b in VALUES] for a in VALUES]))
    return np.eye(len(VALUES)) + sign * 0.3 * near * (1 - np.eye(len(VALUES)))


def test_effects_that_follow_the_circle_are_found_and_others_are_not():
    found = along_the_circle(circle_table(), VALUES, VALUES, SCHWARTZ)
    assert found["slope"] == pytest.approx(0.3)
    assert found["r"] == pytest.approx(1.0)
    assert found["p"] < 0.001
    assert found["n"] == 90
    assert along_the_circle(circle_table(-1), VALUES, VALUES, SCHWARTZ)["p"] > 0.99
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(40):
        noise = np.eye(len(VALUES)) + rng.normal(0, 0.2, (10, 10)) * (1 - np.eye(10))
        called += along_the_circle(noise, VALUES, VALUES, SCHWARTZ)["p"] < 0.05
    assert called <= 6  # one-sided 99 % limit of 40 at .05


def test_without_a_circle_it_is_not_defined():
    framework = load_framework("moral_foundations")
    values = tuple(framework.values)
    assert along_the_circle(np.eye(5), values, values, framework) is None
    assert np.isfinite(leakage(np.eye(5) + 0.1, values, values, framework)[0].nglr)
    assert against_people(np.eye(5), values, values, framework) == []


def test_a_group_is_its_members_and_what_moves_with_it_is_the_rest():
    steered = ("self_enhancement",)
    own = [name in SCHWARTZ.members("self_enhancement") for name in VALUES]
    effects = np.where(own, 0.4, -0.1)[None]
    (found,) = leakage(effects, steered, VALUES, SCHWARTZ)
    assert found.on_target == pytest.approx(0.4)
    assert found.off_target == pytest.approx(0.1)
    assert found.per_unit == pytest.approx(0.25)
    assert found.nlr == 0.0
    sample = human_reference("prolific_pvq21_n569")
    known = dict(zip(sample.values, range(10), strict=True))
    of_group = [known[name] for name in SCHWARTZ.members("self_enhancement")]
    means = [sample.correlations[of_group, known[name]].mean() for name in VALUES]
    first, *_ = against_people(np.where(own, 1.0, means)[None], steered, VALUES, SCHWARTZ)
    assert first["r"] == pytest.approx(1.0)
    assert first["pairs"] == len(VALUES) - sum(own)


def test_a_target_that_did_not_move_tells_nothing_for_a_unit():
    effects = np.full((1, 10), 0.2)
    effects[0, 0] = 0.005
    (found,) = leakage(effects, VALUES[:1], VALUES, SCHWARTZ)
    assert np.isnan(found.per_unit)
    assert np.isnan(found.nlr)
    assert along_the_circle(effects, VALUES[:1], VALUES, SCHWARTZ) is None


def test_peoples_own_matrix_reaches_one_and_the_ceiling_is_what_people_reach():
    sample = human_reference("prolific_pvq21_n569")
    effects = np.where(np.eye(10), 1.0, sample.correlations)
    own, *others = against_people(effects, sample.values, sample.values, SCHWARTZ)
    assert own["sample"] == sample.name
    assert own["r"] == pytest.approx(1.0)
    assert own["ceiling_high"] == pytest.approx(0.89, abs=0.01)  # facts: .89 and .69
    assert own["ceiling_low"] == pytest.approx(0.69, abs=0.01)
    assert all(other["r"] < 0.95 for other in others)
    with pytest.raises(InvalidInputError):
        against_people(np.eye(3), sample.values, sample.values, SCHWARTZ)
