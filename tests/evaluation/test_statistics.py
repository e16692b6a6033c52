"""Statistics against formulas worked by hand, and against data of known truth."""

import numpy as np
import pytest
from scipy import stats

from nnvalue.errors import InvalidInputError
from nnvalue.evaluation.statistics import adjusted, dose_response, effect, pareto_front


def test_an_effect_by_hand():
    found = effect([1.0, 0.0, 0.5, 0.5, 1.0], ["a", "a", "b", "b", "c"])
    means = np.array([0.5, 0.5, 1.0])
    assert found.mean == pytest.approx(0.6)  # of answers, not of clusters
    assert found.d == pytest.approx(means.mean() / means.std(ddof=1))
    assert found.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert (found.n, found.clusters) == (5, 3)
    assert 0.5 <= found.low <= found.mean <= found.high <= 1.0
    assert effect([0.0, 0.0], ["a", "b"]).p == 1.0
    assert np.isnan(effect([1.0, 1.0], ["a", "b"]).p)  # two that move alike are no proof
    assert np.isnan(effect([1.0, 2.0], ["a", "a"]).low)
    assert np.isnan(effect([1.0, 1.0], ["a", "a"]).p)


def test_variants_of_a_situation_are_one_observation():
    """Ten copies of every answer must not make an interval narrower."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.2, 1, 40)
    once = effect(values, [str(number) for number in range(40)])
    tenfold = effect(np.repeat(values, 10), np.repeat([str(number) for number in range(40)], 10).tolist())
    assert tenfold.p == pytest.approx(once.p)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.05)


def test_intervals_cover_the_truth_and_nothing_is_called_too_often():
    """200 runs of nothing, in clusters: at most 18 are called at .05 (one-sided 99 % limit of the binomial)."""
    rng = np.random.default_rng(1)
    called = covered = 0
    for _ in range(200):
        clusters = np.repeat(np.arange(25), 4)
        values = rng.normal(0, 1, 25)[clusters] + rng.normal(0, 1, 100)
        found = effect(values, clusters.astype(str).tolist())
        called += found.p < 0.05
        covered += found.low <= 0 <= found.high
    assert called <= 18
    assert covered >= 178


def test_adjusted_p_by_hand():
    assert adjusted([0.01, 0.04, 0.03, np.nan]).tolist() == pytest.approx([0.03, 0.04, 0.04, np.nan], nan_ok=True)
    assert np.isnan(adjusted([np.nan])).all()


def test_dose_response_of_a_straight_line_a_plateau_and_a_fall():
    clusters = [str(number) for number in range(20)]
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (4, 20))
    line = {dose: 0.1 * dose + noise[dose] for dose in range(4)}
    found = dose_response(line, clusters)
    assert found.slope == pytest.approx(0.1, abs=0.005)
    assert (found.saturates_at, found.reversals, found.spearman) == (3, 0, 1.0)
    assert found.p < 1e-6
    fall = {**line, 4: noise[0] - 0.5}  # past its best the dose breaks the text
    assert dose_response(fall, clusters).saturates_at == 3
    assert dose_response(fall, clusters).slope == found.slope
    dip = {0: noise[0], 1: noise[1] + 0.4, 2: noise[2] + 0.2, 3: noise[3] + 0.6}
    assert dose_response(dip, clusters).reversals == 1
    nothing = np.zeros(20)
    assert dose_response({0: nothing, 1: nothing}, clusters).p == 1.0
    assert np.isnan(dose_response({0: noise[0], 1: noise[0] + 0.1}, clusters).p)  # all by the same: no t test


def test_a_front_by_hand():
    assert pareto_front([(1, 5), (2, 4), (2, 3), (0, 9), (2, 4), (1, 1)]) == [0, 1, 3, 4]
    assert pareto_front([]) == []


def test_what_cannot_be_is_said():
    for values, clusters in (([], []), ([1.0], ["a", "b"]), ([float("nan")], ["a"])):
        with pytest.raises(InvalidInputError):
            effect(values, clusters)
    with pytest.raises(InvalidInputError):
        dose_response({1: np.zeros(2), 2: np.zeros(2)}, ["a", "b"])
