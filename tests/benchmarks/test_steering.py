"""The figures of the steering table, by hand; and the page against what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import steering
from benchmarks.steering import RANDOM_SETS, RANDOM_TIMES, arms_table, cell, cluster_interval, dose_response, over_sets

RESULTS = Path(steering.__file__).parent / "results" / "steering.json"


def answers(stance, cores=None):
    stance = list(map(float, stance))
    cores = cores or [str(number) for number in range(len(stance))]
    return {"core": cores, "stance": stance, "well_formed": [True] * len(stance), "about": [True] * len(stance)}


def test_movement_is_paired_and_towards_the_asked_pole():
    before, now = answers([0, 0, 1, -1]), answers([-1, -1, 0, -1])
    assert cell(now, before, -1)["movement"] == pytest.approx(0.75)
    assert cell(now, before, 1)["movement"] == pytest.approx(-0.75)
    assert cell(before, before, 1)["low"] == cell(before, before, 1)["high"] == 0


def test_the_interval_draws_whole_clusters():
    """Two cores of fifty answers each are two observations: the mean of two draws from {0, 1} is 0 in a quarter."""
    values, cores = np.repeat([0.0, 1.0], 50), ["a"] * 50 + ["b"] * 50
    assert cluster_interval(values, cores) == (0.0, 1.0)
    low, high = cluster_interval(values, [str(number) for number in range(100)])
    assert 0.35 < low < 0.45
    assert 0.55 < high < 0.65


def test_random_sets_are_what_varies():
    """Every answer of one set moves by 1, of the others not at all: 1/37 on average, and an interval from 0 up."""
    n = RANDOM_SETS * 2
    now = answers([float(number % RANDOM_SETS == 0) for number in range(n * RANDOM_TIMES)], ["a"] * n * RANDOM_TIMES)
    found = over_sets(now, answers([0] * n), 1)
    assert (found["low"], found["least"], found["most"]) == (0, 0, 1)
    assert found["high"] == pytest.approx(3 / RANDOM_SETS, abs=0.03)


def test_a_trend_a_reversal_and_saturation_are_told():
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.1, 200)

    def curve(*means):
        return {float(dose): answers(mean + noise + random.normal(0, 0.1, 200)) for dose, mean in enumerate(means)}

    rising = dose_response(curve(0, 0.2, 0.4, 0.6, 0.5), 1)
    assert rising["p"] < 1e-6
    assert (rising["saturates_at"], rising["doses"], rising["reversals"]) == (3, 5, 0)
    assert dose_response(curve(0, -0.2, -0.4, -0.6, -0.8), -1)["saturates_at"] == 4
    assert dose_response(curve(0, 0.3, 0.1, 0.6, 0.8), 1)["reversals"] == 1
    assert dose_response(curve(0, 0, 0, 0, 0), 1)["p"] > 0.01


@pytest.fixture(scope="module")
def report():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_page_shows_what_was_measured(report):
    page = (RESULTS.parents[2] / "docs" / "steering.md").read_text(encoding="utf-8")
    assert steering.headline_table(report["organisms"]) in page
    assert arms_table(report["organisms"]) in page


def moves(one):
    """Whether at one of its doses it moves as far as the page says, and its random control does not."""
    shown = [(one["arms"]["effect"][dose], random) for dose, random in one["arms"]["random"].items()]
    assert all((made["n"], random["n"]) == (500, 2000) for made, random in shown)
    return any(
        made["movement"] >= 0.4
        and made["low"] > 0.3
        and made["well_formed"] >= 0.98
        and -0.15 < random["low"] <= random["high"] < 0.15
        for made, random in shown
    )


def test_the_page_claims_what_was_measured(report):
    cells = {
        (organism, value, pole): one
        for organism, values in report["organisms"].items()
        for value, poles in values.items()
        for pole, one in poles.items()
    }
    assert len(cells) == 3 * 4 * 2
    others = [one for (_, value, _), one in cells.items() if value != "self_transcendence"]
    assert all(map(moves, others))
    assert sum(map(moves, cells.values())) == 20  # four cells of self-transcendence miss
    for one in others:
        assert one["trend"]["p"] < 0.001
        assert one["trend"]["doses"] >= 5
        assert one["trend"]["reversals"] == 0
    for one in cells.values():
        assert all(abs(random["movement"]) <= 0.045 for random in one["arms"]["random"].values())
