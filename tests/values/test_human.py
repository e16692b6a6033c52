import numpy as np
import pytest

from nnvalue.errors import UnknownNameError
from nnvalue.values import human_profile19, human_reference, human_samples, load_framework, load_instrument

PROLIFIC, UK, US = "prolific_pvq21_n569", "uk_svs_n327", "us_pvq40_n151"
# Copied by hand from a table of two decimals, in the order of the circle.
MEANS = {
    PROLIFIC: [0.53, -0.39, -0.32, -0.53, -0.73, 0.34, -0.40, 0.08, 0.59, 0.55],
    US: [0.89, -0.39, -0.07, -0.34, -0.96, 0.28, -0.32, -0.70, 0.36, 0.55],
    UK: [0.61, 0.01, 0.62, 0.46, -1.90, 0.11, 0.10, -1.23, 0.86, 0.36],
}
BENEVOLENCE_WITH_UNIVERSALISM = {PROLIFIC: 0.41, US: 0.35, UK: 0.30}
ACHIEVEMENT_WITH_POWER = {PROLIFIC: 0.45, US: 0.54, UK: 0.03}


@pytest.mark.parametrize("name", human_samples())
def test_figures_are_in_the_frameworks_order(name):
    """Would catch values in another order than their names, and a slip in copying."""
    sample = human_reference(name)
    assert sample.values == tuple(load_framework().values)
    assert sample.mean == pytest.approx(MEANS[name], abs=0.0051)
    place = sample.values.index
    assert sample.correlations[place("benevolence"), place("universalism")] == pytest.approx(
        BENEVOLENCE_WITH_UNIVERSALISM[name], abs=0.0051
    )
    assert sample.correlations[place("achievement"), place("power")] == pytest.approx(
        ACHIEVEMENT_WITH_POWER[name], abs=0.0051
    )
    assert str(sample.n) in name
    assert sample.source
    assert sample.licence


@pytest.mark.parametrize("name", human_samples())
def test_matrices_are_correlations_of_centred_scores(name):
    """Would catch a mistyped cell: it breaks the symmetry, or the singularity that centring leaves behind."""
    matrix = human_reference(name).correlations
    assert matrix.shape == (10, 10)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    assert (np.abs(matrix) <= 1).all()
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues[0] == pytest.approx(0, abs=0.001)
    assert eigenvalues[1] > 0.2
    assert (eigenvalues[0] < 0) == (name == UK)


def test_benevolence_and_universalism_stand_above_peoples_mean_and_power_below():
    """Would catch a sample that was stored as 1 = very much like me and not recoded."""
    for name in human_samples():
        sample = human_reference(name)
        mean = dict(zip(sample.values, sample.mean, strict=True))
        assert mean["benevolence"] > 0
        assert mean["universalism"] > 0
        assert mean["power"] < 0


@pytest.mark.parametrize(("name", "instrument"), [(PROLIFIC, "pvq21"), (US, "pvq40")])
def test_means_weighted_by_item_counts_sum_to_zero(name, instrument):
    """Would catch means, or a key, of another instrument: centring on all items binds the two together."""
    sample, keys = human_reference(name), load_instrument(instrument).keys
    counts = np.array([len(keys[value]) for value in sample.values])
    assert counts @ sample.mean == pytest.approx(0, abs=0.0005 * counts.sum())
    assert abs(sample.mean.sum()) > 0.2


def test_the_uk_sample_was_centred_on_its_ten_scores():
    """Would catch a note on centring that the figures do not bear out."""
    assert human_reference(UK).mean.sum() == pytest.approx(0, abs=0.005)
    assert "ten value scores" in human_reference(UK).centring


@pytest.mark.parametrize("name", human_samples())
def test_angles_go_round_from_self_direction(name):
    """Would catch angles from another origin, in radians or in the other sense; only Prolific's security strays."""
    sample = human_reference(name)
    assert sample.mds_angles[0] == 0
    assert 320 < sample.mds_angles[-1] < 325
    falls = np.diff(sample.mds_angles) < 0
    assert falls.sum() == (1 if name == PROLIFIC else 0)
    assert 0.2 < sample.stress1 < 0.3


def test_the_nineteen_values():
    """Would catch the profile's order by size read as the order of the circle."""
    profile = human_profile19()
    assert profile.values == tuple(load_framework("schwartz19").values)
    scores = dict(zip(profile.values, profile.scores.tolist(), strict=True))
    ranked = sorted(scores, key=scores.get, reverse=True)
    assert ranked[:3] == ["benevolence_caring", "benevolence_dependability", "self_direction_action"]
    assert ranked[-3:] == ["tradition", "power_resources", "power_dominance"]
    assert (scores["benevolence_caring"], scores["power_dominance"], scores["face"]) == (0.79, -1.4, 0.05)
    assert "not confirmed" in profile.statistic


def test_samples_by_name():
    """Would catch a default that changes with the file's order, and one caller's edit that reaches the next."""
    assert human_samples() == (PROLIFIC, UK, US)
    assert human_reference().n == 569
    human_reference().mean[:] = 0
    assert human_reference().mean[0] == 0.532
    with pytest.raises(UnknownNameError, match="did you mean uk_svs_n327"):
        human_reference("uk_svs")
