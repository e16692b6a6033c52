"""The known causal model: compatible with the circle, acyclic, and what do(v) means, held against simulation."""

import random
from collections import Counter

import numpy as np
import pytest

from nnvalue.organism import causal_model, named_disturbances, named_scores
from nnvalue.values import load_framework

MODEL = causal_model()


def test_causes_near_on_the_circle_help_and_far_ones_hinder():
    framework = load_framework()
    assert MODEL.values == tuple(framework.values)
    assert len(MODEL.edges) >= 12
    assert len({(cause, effect) for cause, effect, _ in MODEL.edges}) == len(MODEL.edges)
    for cause, effect, weight in MODEL.edges:
        gap = framework.distance(cause, effect)
        assert (gap <= 72 and weight > 0) or (gap >= 144 and weight < 0), (cause, effect)


def test_total_effects_are_sums_over_all_paths():
    """(I − B)⁻¹ against I + B + B² + …, which ends because the model has no circle."""
    direct = MODEL.matrix()
    power, total = np.eye(10), np.zeros((10, 10))
    for _ in range(10):
        total += power
        power = power @ direct
    assert not power.any()
    assert np.allclose(MODEL.total_effects(), total)
    place = {value: at for at, value in enumerate(MODEL.values)}
    by_hand = 0.5 * 0.5  # self-direction → stimulation → hedonism, the only path
    assert MODEL.total_effects()[place["hedonism"], place["self_direction"]] == pytest.approx(by_hand)


def test_scores_solve_the_equations():
    rng = random.Random(0)
    disturbances = tuple(rng.gauss(0, 1) for _ in MODEL.values)
    found = np.array(list(MODEL.scores(disturbances).values()))
    assert np.allclose(found, MODEL.matrix() @ found + disturbances)


@pytest.mark.parametrize("value", MODEL.values)
def test_a_description_moves_the_others_by_their_total_effects(value):
    """A description that did not cut the value's own causes, or redrew disturbances, would move them otherwise."""
    disturbances = named_disturbances("somebody", {"power": 1, "tradition": -1})
    high, low = (
        np.array(list(MODEL.scores(disturbances, (value, pole)).values())) for pole in ("positive", "negative")
    )
    at = MODEL.values.index(value)
    assert (high[at], low[at]) == (MODEL.set, -MODEL.set)
    assert np.allclose((high - low) / (2 * MODEL.set), MODEL.total_effects()[:, at])


def test_attributes_carry_most_of_a_speaker_and_residuals_the_rest():
    rng = random.Random(1)
    levels = [{value: rng.choice((-1, -1, 0, 1, 1)) for value in MODEL.values} for _ in range(3000)]
    drawn = np.array([MODEL.disturbances(given, rng) for given in levels])
    attributes = np.array([[given[value] for value in MODEL.values] for given in levels]) * MODEL.loading
    residuals = drawn - attributes
    assert residuals.std() == pytest.approx(MODEL.residual, rel=0.02)
    together = np.corrcoef(np.hstack([attributes, residuals]).T)
    assert abs(together[~np.eye(20, dtype=bool)]).max() < 0.08  # nothing hidden that confounds


def test_a_named_role_is_the_same_in_every_organism():
    assert named_scores("r0-0001", {"power": 1}) == named_scores("r0-0001", {"power": 1})
    assert named_scores("r0-0001", {"power": 1}) != named_scores("r0-0002", {"power": 1})


@pytest.mark.parametrize("score", [-2.0, -0.4, 0.0, 1.1])
def test_answers_follow_the_score(score):
    answers, rng, n = MODEL.answers, np.random.default_rng(2), 200_000
    assert answers.positive_stance(score) == pytest.approx(1 / (1 + np.exp(-answers.stance * score)))
    assert answers.says_like_me(score, -1) == pytest.approx(1 - answers.says_like_me(score, 1))
    for keying in (1, -1):
        exact = 3.5 + answers.rating * keying * score + rng.normal(0, answers.rating_noise, n)
        drawn = Counter(np.clip(np.rint(exact), 1, 6).astype(int).tolist())
        assert answers.ratings(score, keying) == pytest.approx([drawn[rating] / n for rating in range(1, 7)], abs=0.005)
