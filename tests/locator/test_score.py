from types import SimpleNamespace

import pytest
import torch

from nnvalue.errors import InvalidInputError
from nnvalue.locator import Moments, Threshold, TopK, cohens_d, select_neurons, split_half_reliability


def moments(activations: torch.Tensor, folds: int = 1) -> Moments:
    """From explicit activations `[token, layer, neuron]`, the tokens dealt to folds in turn."""
    shape = (folds, *activations.shape[1:])
    made = Moments(
        torch.zeros(folds, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64),
        torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64),
    )  # fmt: skip
    for number, row in enumerate(activations.double()):
        fold = number % folds
        made.tokens[fold] += 1
        made.fired[fold] += row > 0
        made.total[fold] += row
        made.squares[fold] += row.square()
    return made


def test_a_case_by_hand():
    positive = moments(torch.tensor([[[1.0, -1.0]], [[3.0, 1.0]], [[2.0, -1.0]], [[2.0, -1.0]]]))
    negative = moments(torch.tensor([[[-1.0, -1.0]], [[1.0, 1.0]], [[-1.0, -1.0]], [[1.0, -1.0]]]))
    assert positive.firing_rate().tolist() == [[1.0, 0.25]]
    assert negative.firing_rate().tolist() == [[0.5, 0.25]]
    # means 2 and 0, population variances 0.5 and 1: d = 2 / sqrt(0.75)
    found = cohens_d(positive, negative)
    assert found[0, 0].item() == pytest.approx(2 / 0.75**0.5)
    assert found[0, 1].item() == 0


def test_a_neuron_that_never_varies_has_no_effect_size():
    same = moments(torch.ones(3, 1, 1))
    assert cohens_d(same, same).item() == 0


def reliability(positive, negative):
    """Of the firing difference of a value whose members' moments these are."""
    parts = [SimpleNamespace(positive=plus, negative=minus) for plus, minus in zip(positive, negative, strict=True)]

    def score(folds):
        rates = [Moments.pooled([part.folds(folds) for part in pole]).firing_rate() for pole in (positive, negative)]
        return rates[0] - rates[1]

    return split_half_reliability(parts, score)


def test_split_half_is_one_for_equal_halves_and_undefined_for_one_fold():
    random = torch.Generator().manual_seed(0)
    once = torch.randn(40, 2, 30, generator=random)
    other = torch.randn(40, 2, 30, generator=random)
    doubled = [moments(part.repeat_interleave(2, dim=0), folds=2) for part in (once, other)]
    doubled = [[part] for part in doubled]
    assert reliability(*doubled) == pytest.approx(1)
    independent = [[moments(torch.randn(80, 2, 30, generator=random), folds=2)] for _ in range(2)]
    assert abs(reliability(*independent)) < 0.4  # 60 neurons of pure noise
    assert reliability([moments(once)], [moments(other)]) is None
    # Two members of one fold each: halves would compare one value with the other.
    assert reliability([moments(once)] * 2, [moments(other)] * 2) is None


def published(score, threshold, floor):
    """The published procedure on a list of (layer, column, δ): sort, first `floor`, then on while ≥ threshold."""
    flat = [(float(v), layer, column) for layer, row in enumerate(score.tolist()) for column, v in enumerate(row)]
    flat.sort(key=lambda entry: -entry[0])
    kept = []
    for number, (value, layer, column) in enumerate(flat):
        if number >= floor and value < threshold:
            break
        kept.append((layer, column))
    return kept


@pytest.mark.parametrize("floor", [0, 5, 30])
def test_the_threshold_selects_what_the_published_procedure_selects(floor):
    random = torch.Generator().manual_seed(1)
    score = (torch.randn(4, 50, generator=random) * 0.08).mul(100).round().div(100).double()  # with many ties
    positive, negative = select_neurons(score, Threshold(0.10, floor))
    assert [tuple(pair) for pair in positive.tolist()] == published(score, 0.10, floor)
    assert [tuple(pair) for pair in negative.tolist()] == published(-score, 0.10, floor)


def test_the_published_floor_is_scaled_to_the_model():
    score = torch.linspace(0.001, 0.05, 1000).reshape(10, 100)  # all below the threshold
    positive, negative = select_neurons(score, Threshold(0.10))
    assert len(positive) == 4  # 0.44 % of 1,000
    assert len(negative) == 0


def test_top_k_takes_a_share_or_a_number_and_keeps_poles_apart():
    score = torch.tensor([[0.5, -0.4, 0.0, 0.3], [0.2, -0.1, 0.0, 0.3]])
    positive, negative = select_neurons(score, TopK(0.25))
    assert positive.tolist() == [[0, 0], [0, 3]]  # tie of 0.3 goes to the lower layer
    assert negative.tolist() == [[0, 1], [1, 1]]
    positive, negative = select_neurons(score, TopK(8))
    assert len(positive) == 4  # only scores above 0
    assert len(negative) == 2
    assert not {tuple(p) for p in positive.tolist()} & {tuple(p) for p in negative.tolist()}


@pytest.mark.parametrize("k", [0, -1, 1.5, float("nan"), float("inf")])
def test_impossible_top_k_is_refused(k):
    with pytest.raises(InvalidInputError, match="share between 0 and 1 or a whole number"):
        TopK(k)


def test_more_neurons_than_the_model_has_are_refused():
    with pytest.raises(InvalidInputError, match="asks for 9 neurons, but the model has 8"):
        select_neurons(torch.zeros(2, 4), TopK(9))


@pytest.mark.parametrize(
    ("threshold", "floor"), [(0, 0), (1, 0), (-0.1, 0), (0.1, -1), (0.1, 2.5), (0.1, float("inf"))]
)
def test_impossible_thresholds_are_refused(threshold, floor):
    with pytest.raises(InvalidInputError):
        Threshold(threshold, floor)
