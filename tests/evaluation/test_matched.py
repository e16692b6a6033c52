"""Arms at the same effect, from rows whose curves are known."""

import numpy as np
import pytest

from nnvalue.errors import InvalidInputError
from nnvalue.evaluation import matched


class Rows:
    """An evaluation's answers: on-target movement dose·slope, off-target movement leak·on-target, noise by core."""

    def __init__(self, arms, noise=0.0, others=True, cores=20):
        rng = np.random.default_rng(0)
        self.answers = []
        for measured in ("power", "security", "tradition"):
            for core in range(cores):
                self.answers.append(self._row("unsteered", None, None, 0.0, measured, core, 0.1, "answered"))
                for arm, (slope, leak, doses) in arms.items():
                    for dose in doses:
                        moved = dose * slope * (1 if measured == "power" else leak)
                        if measured != "power" and not others:
                            continue
                        stance = 0.1 + moved + noise * rng.normal()
                        outcome = "failed" if dose > 3 and core % 4 == 0 else "answered"
                        self.answers.append(self._row(arm, "power", "positive", dose, measured, core, stance, outcome))

    @staticmethod
    def _row(arm, value, pole, dose, measured, core, stance, outcome):
        return {
            "arm": arm, "control_of": None, "value": value, "pole": pole, "dose": dose, "measured": measured,
            "situation": f"{measured} {core}", "core": f"{measured} {core}", "stance": stance, "outcome": outcome,
            "log_perplexity": 1.0 + 0.2 * dose,
        }  # fmt: skip


def test_leakage_is_read_where_effects_are_equal():
    """Arm b has the larger leakage at every dose it has, and the smaller at the same effect."""
    found, pairs = matched(Rows({"a": (0.2, 0.5, (1, 2, 4)), "b": (0.8, 0.25, (0.5, 1.0))}), 0.5, resamples=200)
    a, b = found
    assert (a.arm, b.arm) == ("a", "b")
    assert a.dose == pytest.approx(2.5)
    assert b.dose == pytest.approx(0.625)
    assert a.leakage == pytest.approx(0.25)
    assert b.leakage == pytest.approx(0.125)
    assert a.failures == pytest.approx(0.25 * 0.25)  # a quarter fails at dose 4, and 2.5 is a quarter of the way
    assert a.log_perplexity == pytest.approx(0.5)
    difference, low, high = pairs["a", "b"]
    assert low <= difference <= high
    assert difference == pytest.approx(a.leakage - b.leakage, abs=1e-12)  # of the rows beside it, not of resamples


def test_the_effect_that_all_arms_reach_is_taken():
    found, _ = matched(Rows({"a": (0.2, 0.5, (1, 2)), "b": (0.8, 0.25, (0.5, 1.0))}), resamples=10)
    assert found[0].effect == pytest.approx(0.95 * 0.4)
    assert all(np.isfinite(one.dose) and one.reached == 1 for one in found)


def test_an_effect_that_no_arm_reaches_is_refused():
    """A table of nothing but NaN says nothing, and looks as if it did."""
    with pytest.raises(InvalidInputError, match=r"No arm moves its targets by 5.00; the most is 0.40"):
        matched(Rows({"a": (0.2, 0.5, (1, 2))}), 5.0, resamples=10)


def test_an_arm_that_moves_nothing_does_not_set_the_effect():
    """It would make every comparison impossible: one arm whose doses only break answers is enough."""
    found, pairs = matched(Rows({"a": (0.2, 0.5, (1, 2)), "idle": (-0.1, 1.0, (1, 2))}), resamples=10)
    a, idle = found
    assert a.effect == pytest.approx(0.95 * 0.4)
    assert np.isnan(idle.dose)
    assert idle.reached == 0
    assert not pairs
    with pytest.raises(InvalidInputError, match="no arm moves"):
        matched(Rows({"idle": (-0.1, 1.0, (1, 2))}), resamples=10)


def test_an_arm_that_does_not_get_there_says_so():
    found, pairs = matched(Rows({"a": (0.2, 0.5, (1,)), "b": (0.8, 0.25, (1.0,))}), 0.5, resamples=20)
    assert np.isnan(found[0].dose)
    assert found[0].reached == 0
    assert found[1].leakage == pytest.approx(0.125)
    assert not pairs


def test_noise_widens_intervals_and_they_hold_the_truth():
    found, _ = matched(Rows({"a": (0.3, 0.5, (1, 2, 3))}, noise=0.2, cores=60), 0.6, resamples=300)
    assert found[0].low < 0.3 < found[0].high
    assert found[0].high - found[0].low > 0.01


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InvalidInputError, match="others above 0"):
        matched(Rows({"a": (0.3, 0.5, (1,))}, others=False))
    with pytest.raises(InvalidInputError, match="an effect above 0"):
        matched(Rows({"a": (-0.3, 0.5, (1,))}))
