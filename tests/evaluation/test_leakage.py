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
    one, two, three = leakage(effects, values, SCHWARTZ)
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
    found = along_the_circle(circle_table(), VALUES, SCHWARTZ)
    assert found["slope"] == pytest.approx(0.3)
    assert found["r"] == pytest.approx(1.0)
    assert found["p"] < 0.001
    assert found["n"] == 90
    assert along_the_circle(circle_table(-1), VALUES, SCHWARTZ)["p"] > 0.99
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(40):
        noise = np.eye(len(VALUES)) + rng.normal(0, 0.2, (10, 10)) * (1 - np.eye(10))
        called += along_the_circle(noise, VALUES, SCHWARTZ)["p"] < 0.05
    assert called <= 6  # one-sided 99 % limit of 40 at .05


def test_without_a_circle_it_is_not_defined():
    framework = load_framework("moral_foundations")
    assert along_the_circle(np.eye(5), tuple(framework.values), framework) is None
    assert np.isfinite(leakage(np.eye(5) + 0.1, tuple(framework.values), framework)[0].nglr)
    assert against_people(np.eye(5), tuple(framework.values)) == []


def test_peoples_own_matrix_reaches_one_and_the_ceiling_is_what_people_reach():
    sample = human_reference("prolific_pvq21_n569")
    effects = np.where(np.eye(10), 1.0, sample.correlations)
    own, *others = against_people(effects, sample.values)
    assert own["sample"] == sample.name
    assert own["r"] == pytest.approx(1.0)
    assert own["ceiling_high"] == pytest.approx(0.89, abs=0.01)  # facts: .89 and .69
    assert own["ceiling_low"] == pytest.approx(0.69, abs=0.01)
    assert all(other["r"] < 0.95 for other in others)
    with pytest.raises(InvalidInputError):
        against_people(np.eye(3), sample.values)
