"""Agreement of two judges, against tables worked out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import pearsonr

from nnvalue.errors import InvalidInputError
from nnvalue.readout.agreement import confusion, judge_agreement, quadratic_kappa, rounded
from nnvalue.readout.judging import Judgement


def judgement(number, stance, judge="a", status="answered", readable=True):
    score = None if stance is None or not readable else 3 + 2 * stance
    return Judgement(f"t{number}", "power", status, stance, score, readable, "function", judge=judge)


def judgements(scores, judge="a"):
    return [judgement(number, (score - 3) / 2, judge) for number, score in enumerate(scores)]


def test_kappa_by_hand():
    """Scores (1,1) (1,2) (3,3) (5,4): Σ wO = 0 + 1 + 0 + 1 = 2.

    First judge's counts 2, 0, 1, 0, 1; second's 1, 1, 1, 1, 0. Σ w·row·column / 4:
    level 1: 2·(0 + 1 + 4 + 9) = 28; level 3: 4 + 1 + 0 + 1 = 6; level 5: 16 + 9 + 4 + 1 = 30; (28 + 6 + 30)/4 = 16.
    κ = 1 − 2/16 = .875.
    """
    found = judge_agreement(judgements([1, 1, 3, 5]), judgements([1, 2, 3, 4], "b"))
    assert found.kappa == pytest.approx(0.875)
    assert found.exact == 0.5
    assert found.absolute_difference == pytest.approx(0.25)
    assert found.mean_difference == pytest.approx(0)
    assert found.pearson == pytest.approx(pearsonr([1, 1, 3, 5], [1, 2, 3, 4])[0])
    assert found.judges == ("a", "b")


def test_kappa_at_its_ends_and_by_chance():
    perfect = judge_agreement(judgements([1, 2, 3, 4, 5]), judgements([1, 2, 3, 4, 5], "b"))
    assert (perfect.kappa, perfect.exact, perfect.pearson) == pytest.approx((1, 1, 1))
    reversed_ = judge_agreement(judgements([1, 2, 4, 5]), judgements([5, 4, 2, 1], "b"))
    assert reversed_.kappa == pytest.approx(-1)
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 6, (2, 4000))
    assert abs(quadratic_kappa(confusion(x, y))) < 0.05  # by chance
    same = judge_agreement(judgements([3, 3]), judgements([3, 3], "b"))
    assert same.kappa is same.pearson is None
    assert same.exact == 1


def test_kappa_is_that_of_its_definition_over_pairs():
    """An independent way: mean squared difference over that of all pairs of one judge's with the other's scores."""
    rng = np.random.default_rng(1)
    x = rng.integers(1, 6, 60)
    y = np.clip(x + rng.integers(-2, 3, 60), 1, 5)
    expected = 1 - np.mean((x - y) ** 2) / np.mean((x[:, None] - y[None, :]) ** 2)
    found = judge_agreement(judgements(x), judgements(y, "b"))
    assert found.kappa == pytest.approx(expected)
    assert found.kappa_low < found.kappa < found.kappa_high
    assert found == judge_agreement(judgements(x), judgements(y, "b"))  # the seed is part of it
    wide = judge_agreement(judgements(x[:15]), judgements(y[:15], "b"))
    assert wide.kappa_high - wide.kappa_low > found.kappa_high - found.kappa_low


def test_scores_are_rounded_half_up():
    assert rounded(np.array([-1, -0.75, -0.7, 0, 0.24, 0.25, 1])).tolist() == [1, 2, 2, 3, 3, 4, 5]


def test_refusals_and_failures_are_outcomes_and_in_no_figure():
    a = [*judgements([1, 5, 3]), judgement(3, None, status="refused"), judgement(4, 0.0, readable=False)]
    b = [*judgements([1, 4], "b"), judgement(2, None, "b", "failed"), judgement(3, 1.0, "b"), judgement(4, -1.0, "b")]
    found = judge_agreement(a, b)
    assert (found.n, found.compared) == (5, 3)
    assert sum(sum(row.values()) for row in found.outcomes.values()) == 5
    assert found.outcomes["answered"] == {"answered": 2, "unreadable": 0, "refused": 0, "failed": 1}
    assert found.outcomes["refused"]["answered"] == found.outcomes["unreadable"]["answered"] == 1
    assert found.absolute_difference == pytest.approx((0 + 0.5 + 1) / 3)  # what cannot be read is a 0, not left out


def test_nothing_to_compare():
    none = judge_agreement([judgement(0, None, status="failed")], [judgement(0, 1.0, "b")])
    assert (none.compared, none.kappa, none.exact, none.kappa_low) == (0, None, None, None)
    assert not any(isinstance(figure, float) and math.isnan(figure) for figure in none.as_json().values())
    for bad in (([], []), (judgements([1]), judgements([1, 2])), (judgements([1, 2]), judgements([1, 2])[::-1])):
        with pytest.raises(InvalidInputError):
            judge_agreement(*bad)
