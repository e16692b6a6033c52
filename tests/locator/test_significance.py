"""Who is called, on data whose truth is known."""

import pytest
import torch
from scipy import stats

from nnvalue.errors import InvalidInputError
from nnvalue.locator.moments import PairedDifference
from nnvalue.locator.significance import LEVEL, called, null_bar, paired_test, q_values

FOLDS, CONTRASTS, NEURONS = 14, 4, 400
RUNS, MOST_FALSE = 200, 18  # the one-sided 99 % limit of 200 draws with probability .05


def simulated(effect, seed, wording=1.0):
    """Σd and counts of contrasts in folds: each fold's descriptions shift every neuron, and every answer is noisy."""
    random = torch.Generator().manual_seed(seed)
    of_fold = wording * torch.randn(FOLDS, 1, 1, NEURONS, generator=random, dtype=torch.float64)
    noise = torch.randn(FOLDS, CONTRASTS, 1, NEURONS, generator=random, dtype=torch.float64)
    return (of_fold + noise + effect).sum(1), torch.full((FOLDS,), CONTRASTS)


def fold_means(total, contrasts):
    return PairedDifference(contrasts, total, total).fold_means()


def score_mean_and_q(effect, seed):
    means = fold_means(*simulated(effect, seed))
    return means.mean(0), means.mean(0), q_values(paired_test([means]))


def test_nothing_is_called_where_there_is_nothing():
    """Two descriptions' effects are as large as the noise; a test over contrasts calls something in every run."""
    false_alarms, naive_alarms = 0, 0
    for seed in range(RUNS):
        bar = null_bar([score_mean_and_q(0.0, 10_000 + 2 * seed + pole)[0] for pole in (0, 1)])
        false_alarms += bool(called(*score_mean_and_q(0.0, seed), bar).any())
        random = torch.Generator().manual_seed(seed)
        shifts = torch.randn(FOLDS, 1, NEURONS, generator=random).expand(-1, CONTRASTS, -1)
        each = (shifts + torch.randn(shifts.shape, generator=random)).flatten(0, 1).numpy()
        naive_alarms += bool((q_values(torch.from_numpy(stats.ttest_1samp(each, 0).pvalue)) < LEVEL).any())
    assert false_alarms <= MOST_FALSE
    assert naive_alarms > RUNS / 2


def test_what_is_there_is_called():
    effect = torch.zeros(1, NEURONS, dtype=torch.float64)
    effect[0, :40] = 2.0
    found = called(*score_mean_and_q(effect, 0), null_bar([score_mean_and_q(0.0, 1)[0]]))
    assert found[0, :40].sum() >= 38
    assert found[0, 40:].sum() <= 6


def test_a_significant_but_small_score_is_not_called():
    score, q = torch.tensor([[0.5, 2.0, 2.0]]), torch.tensor([[0.001, 0.001, 0.2]])
    assert called(score, score, q, 1.0).tolist() == [[False, True, False]]


def test_a_score_that_contradicts_its_test_is_not_called():
    """Long answers under one pole in some situations and under the other in others: tokens say +, every contrast −."""
    assert called(torch.tensor([[2.0, 2.0]]), torch.tensor([[-0.1, 0.1]]), torch.zeros(1, 2), 1.0).tolist() == [
        [False, True]
    ]


def test_the_test_of_one_value_is_students():
    means = fold_means(*simulated(0.3, 3))
    expected = stats.ttest_1samp(means[:, 0].numpy(), 0).pvalue
    assert torch.allclose(paired_test([means])[0], torch.from_numpy(expected))


def test_members_that_differ_do_not_hide_what_they_share():
    """Means 1 and 3 with little noise: pooled folds would see a spread of 2 and find nothing."""
    random = torch.Generator().manual_seed(0)
    members = [middle + 0.1 * torch.randn(3, 1, 1, generator=random, dtype=torch.float64) for middle in (1.0, 3.0)]
    one, other = (member.flatten().numpy() for member in members)
    # the sum of two means is zero exactly when one is the negative of the other: Welch's test of that
    assert paired_test(members).item() == pytest.approx(stats.ttest_ind(one, -other, equal_var=False).pvalue)
    assert paired_test(members).item() < 0.001
    assert stats.ttest_1samp([*one, *other], 0).pvalue > 0.001


def test_q_is_benjamini_and_hochbergs_by_hand():
    """p = .01, .02, .03, .5: times 4/rank = .04, .04, .04, .5."""
    assert q_values(torch.tensor([[0.03, 0.01], [0.5, 0.02]]).double()).flatten().tolist() == pytest.approx(
        [0.04, 0.04, 0.5, 0.04]
    )


def test_a_neuron_that_never_varies():
    means = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]], dtype=torch.float64)
    assert paired_test([means]).tolist() == [[1.0, 0.0]]


def test_folds_without_contrasts_do_not_count_as_zero():
    total = torch.tensor([2.0, 0.0, 6.0]).view(3, 1, 1)
    assert fold_means(total, torch.tensor([1, 0, 2])).flatten().tolist() == [2.0, 3.0]


def test_one_fold_is_refused():
    with pytest.raises(InvalidInputError, match="1 given"):
        paired_test([torch.ones(1, 1, 1)])
