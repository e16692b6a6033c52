"""What values have in common, on maps whose geometry is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnvalue.errors import InvalidInputError
from nnvalue.findings import ValueNeurons, build_table
from nnvalue.findings_card import between_values_in_words
from nnvalue.locator import Threshold, TopK, between_values, locate, shared_share
from nnvalue.locator.significance import paired_test, q_values
from nnvalue.values import load_framework
from tests.locator.test_null import moments_of

SCHWARTZ = load_framework()


def result(scores, values=tuple(SCHWARTZ.values)):
    flat = np.zeros(scores.shape, np.float32)
    names = ("firing_positive", "firing_negative", "effect_size", "q")
    maps = {"score": scores.astype(np.float32), **dict.fromkeys(names, flat), "called": flat.astype(np.uint8)}
    return ValueNeurons(tuple(values), build_table([]), maps, {"model": {"name": "toy"}})


def on_the_circle(noise=0.0, common=0.0):
    random = np.random.default_rng(0)
    axes = random.normal(size=(2, 3, 400))
    angles = [math.radians(SCHWARTZ.angle(name)) for name in SCHWARTZ.values]
    maps = np.stack([math.cos(angle) * axes[0] + math.sin(angle) * axes[1] for angle in angles])
    return maps + noise * random.normal(size=maps.shape) + common * random.normal(size=axes[0].shape)


def test_the_shared_share_by_hand():
    """Maps at right angles: their mean has half the length squared of one; equal ones: all; opposites: nothing."""
    one, other = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 7.0]]])
    assert shared_share(np.concatenate((one, other))) == pytest.approx(0.5)
    assert shared_share(np.concatenate((one, 3 * one))) == pytest.approx(1.0)
    assert shared_share(np.concatenate((one, -one))) == pytest.approx(0.0)


def test_maps_on_a_circle_are_recognised():
    found = between_values(result(on_the_circle()), SCHWARTZ)
    assert found["circle"]["r"] < -0.95
    assert found["circle"]["p"] == 1 / 10_000
    assert found["circle"]["low"] < found["circle"]["mean"] < found["circle"]["high"]
    assert between_values(result(on_the_circle(common=3.0)), SCHWARTZ)["shared_share"] > 0.8


def test_random_maps_look_like_a_circle_no_more_often_than_chance(monkeypatch):
    """60 draws: p below .05 in at most 8 of them, the one-sided 99 % limit; a p of one tail only would be lopsided."""
    monkeypatch.setattr("nnvalue.locator.likeness.PERMUTATIONS", 199)
    random = np.random.default_rng(0)
    found = [between_values(result(random.normal(size=(10, 3, 100))), SCHWARTZ) for _ in range(60)]
    p = np.array([one["circle"]["p"] for one in found])
    assert (p < 0.05).sum() <= 8
    assert (p > 0.95).sum() <= 8
    assert np.mean([one["shared_share"] for one in found]) == pytest.approx(0.1, abs=0.01)


def test_where_it_is_not_defined():
    """No circle, three values, flat maps, one value: nothing is made up."""
    morals = load_framework("moral_foundations")
    scores = np.random.default_rng(2).normal(size=(len(morals.values), 2, 50))
    found = between_values(result(scores, morals.values), morals)
    assert found["circle"] is None
    assert found["shared_share"] is not None
    three = result(on_the_circle()).of(["power", "tradition", "security"])
    assert between_values(three, SCHWARTZ)["circle"] is None
    flat = between_values(result(np.zeros((10, 2, 3))), SCHWARTZ)
    assert (flat["likeness"], flat["circle"], flat["shared_share"]) == (None, None, 0.0)
    one = result(on_the_circle()).of(["power"])
    alone = between_values(one, SCHWARTZ)
    assert between_values_in_words(replace(one, config={"between_values": alone})) == []


def test_values_off_the_circle_and_equal_maps_leave_it_undefined():
    """A circle may leave values out, and a method may score all values alike: neither must cost the result."""
    part = replace(SCHWARTZ, circle=SCHWARTZ.circle[:5])
    found = between_values(result(on_the_circle()), part)
    assert found["circle"]["r"] < 0
    alike = np.repeat(np.random.default_rng(0).normal(size=(1, 3, 40)), 10, axis=0)
    assert between_values(result(alike), SCHWARTZ)["circle"] is None


def test_groups_alone_have_nothing_between_values(organism):
    found = locate(organism, values=("self_enhancement",), situations=2, folds=2, max_new_tokens=12, null=False)
    assert found.config["between_values"]["values"] == []
    assert between_values_in_words(found) == []


def test_groups_are_left_out():
    """A group is the sum of its members, so it is like them by construction."""
    scores = on_the_circle()
    with_group = result(np.concatenate((scores, scores[:1])), (*SCHWARTZ.values, "self_enhancement"))
    assert between_values(with_group, SCHWARTZ)["likeness"] == between_values(result(scores), SCHWARTZ)["likeness"]


def test_the_shared_part_is_taken_off_scores_tests_and_null(organism, edition):
    """Two values: what is left of each is half the difference between them, in the test as in the score."""
    settings = {"values": ("power", "tradition"), "situations": 8, "folds": 4, "max_new_tokens": 32}
    settings["method"] = "firing_difference"
    plain = locate(organism, **settings, null=False)
    found = locate(organism, **settings, remove_shared=True, selection=TopK(50))
    half = (plain.maps["score"][0] - plain.maps["score"][1]) / 2
    assert np.allclose(found.maps["score"][0], half, atol=1e-6)
    assert np.allclose(found.maps["score"][1], -half, atol=1e-6)
    assert abs(found.config["between_values"]["shared_share"]) < 1e-6 < plain.config["between_values"]["shared_share"]
    power, tradition = (moments_of(organism, edition, value=value).firing.fold_means() for value in settings["values"])
    assert np.allclose(found.maps["q"][0], q_values(paired_test([power, -tradition])), atol=1e-6)
    null = np.concatenate([
        (gap("power", pole) - gap("tradition", pole)).ravel() / 2
        for gap in [lambda value, pole: delta_of(moments_of(organism, edition, pole, value))]
        for pole in ("positive", "negative")
    ])  # fmt: skip
    bar = found.config["counts"]["power"]["significance"]["bar"]
    assert bar == pytest.approx(np.quantile(np.abs(null[null != 0]), 0.95))


def delta_of(moments):
    return (moments.positive.firing_rate() - moments.negative.firing_rate()).numpy()


def test_one_value_has_nothing_to_share():
    with pytest.raises(InvalidInputError, match="two values at least"):
        locate(values=("power",), remove_shared=True)
    with pytest.raises(InvalidInputError, match="without their shared part"):
        locate(method="firing_difference", remove_shared=True, selection=Threshold())
