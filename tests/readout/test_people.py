"""A profile against people and on the circle, with profiles of known place."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from nnvalue import ValueProfile, measure
from nnvalue.readout import against_people, direction
from nnvalue.readout.people import no_circle, no_people
from nnvalue.values import human_profile19, human_reference, human_samples, load_framework
from tests.readout.questionnaires import answer_by

TEN = tuple(load_framework().values)


def profile(scores, framework="schwartz", values=TEN, **readout):
    scores = np.atleast_2d(np.array(scores, dtype=float))
    voices = tuple(f"v{number}" for number in range(len(scores)))
    counts = np.ones(scores.shape, np.int64)
    outcomes = {"answered": counts.size, "refused": 0, "failed": 0}
    return ValueProfile(readout, framework, voices, tuple(values), scores, scores, scores, counts, outcomes)


def test_people_agree_with_themselves_whatever_the_order_of_values():
    """Means that part from their values, or a sample that stands for another."""
    mixed = TEN[3:] + TEN[:3]
    for name in human_samples():
        sample = human_reference(name)
        means = dict(zip(sample.values, sample.mean, strict=True))
        rng = np.random.default_rng(0)
        given = [[means[value] * 2 + 1 for value in mixed], rng.normal(size=10)]
        found = next(one for one in against_people(profile(given, values=mixed)) if one.sample == name)
        own = [means[value] for value in mixed]
        assert found.pearson == pytest.approx([1, np.corrcoef(given[1], own)[0, 1]])
        assert found.spearman == pytest.approx([1, spearmanr(given[1], own).statistic])
        assert np.isnan(found.low).all()  # no answers, no interval
        assert found.n == sample.n


def test_the_nineteen_have_their_own_people():
    people = human_profile19()
    (found,) = against_people(profile(people.scores, "schwartz19", people.values))
    assert found.pearson == pytest.approx([1])
    assert found.n is None


def test_an_interval_of_the_agreement_comes_from_the_items(monkeypatch):
    """Wide for somebody who answers at random, and around what was found."""
    rng = np.random.default_rng(4)
    answer_by(monkeypatch, lambda prompt: int(rng.integers(1, 7)))
    for found in against_people(measure(pairs=6)):
        assert found.low[0] < found.pearson[0] < found.high[0]
        assert found.high[0] - found.low[0] > 0.2


@pytest.mark.parametrize("degrees", [0, 72, 200, 355])
def test_a_wave_round_the_circle_points_to_its_crest(degrees):
    """A turn the other way, or a length that grows with the number of values."""
    framework = load_framework()
    scores = [1.5 * np.cos(np.radians(framework.angle(value) - degrees)) for value in TEN]
    found = direction(profile([scores, np.zeros(10)]))
    assert found.angle[0] == pytest.approx(degrees, abs=1e-6)
    assert found.length == pytest.approx([1.5, 0])
    assert found.share[0] == pytest.approx(1)
    assert np.isnan(found.share[1])
    gaps = {value: framework.distance(value, found.nearest[0]) for value in TEN}
    nearest = min(TEN, key=lambda value: abs((framework.angle(value) - degrees + 180) % 360 - 180))
    assert gaps[nearest] == 0


def test_without_a_circle_it_is_said(monkeypatch):
    answer_by(monkeypatch, lambda prompt: 4)
    found = measure(dataset="moral_foundations")
    assert found.values == ("care", "fairness", "loyalty", "authority", "sanctity")
    assert direction(found) is None
    assert no_circle(found) == "not defined for moral_foundations: it has no circle"
    assert against_people(found) == []
    assert no_people(found).startswith("not defined for moral_foundations")
    part = profile(np.zeros(9), values=TEN[:9])
    assert direction(part) is None
    assert "not all values" in no_circle(part)


def test_too_few_values_or_no_spread_have_no_correlation():
    for given in (profile(np.zeros(10)), profile([0.1, 0.2], values=TEN[:2])):
        assert all(np.isnan(one.pearson).all() and np.isnan(one.spearman).all() for one in against_people(given))
