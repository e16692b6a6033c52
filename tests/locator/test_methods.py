"""Every method against its formula, worked out token by token on a tiny case."""

import doctest
import math

import numpy as np
import pytest
import torch

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.locator import Reading, methods
from nnvalue.locator.methods import Evidence, Method, get_method, method_names, register_method
from nnvalue.locator.moments import ContrastMoments, PairedDifference
from tests.locator.test_score import moments

LAYERS, WIDTH = 3, 8
GATE, DOWN, LAST = Reading("gate"), Reading("down_in"), Reading("down_in", "last_prompt")
BOTH = Reading("down_in", texts="both")


def case(seed, members=1):
    """Activations `[reading][member][pole][token, layer, neuron]`, poles with different numbers of tokens."""
    random = torch.Generator().manual_seed(seed)
    sizes = {"positive": 7, "negative": 5}
    return {
        reading: [
            {pole: torch.randn(n + member, LAYERS, WIDTH, generator=random) + 0.3 * member for pole, n in sizes.items()}
            for member in range(members)
        ]
        for reading in (GATE, DOWN, LAST, BOTH)
    }


def evidence(seen, rates=None, members=(0,), **rest):
    nothing = PairedDifference(*(torch.zeros(1) for _ in range(3)))
    made = {
        reading: [ContrastMoments(*(moments(one[pole]) for pole in one), nothing, nothing, "float32") for one in parts]
        for reading, parts in seen.items()
    }
    if rates is None:
        rates = torch.stack([(seen[GATE][0][pole] > 0).double().mean(0) for pole in seen[GATE][0]])[None]
    return Evidence(made, {GATE: rates}, members, **rest)


def score(name, found):
    """By a method, in the reading it was published for."""
    method = get_method(name)
    return method.score(found, method.reading)


def all_of(seen, reading, pole):
    """Every token of every member."""
    return torch.cat([one[pole] for one in seen[reading]]).double().numpy()


@pytest.mark.parametrize("members", [1, 2])
def test_differences(members):
    seen = case(0, members)
    found = evidence(seen)
    plus, minus = (all_of(seen, GATE, pole) for pole in ("positive", "negative"))
    assert np.allclose(score("firing_difference", found), (plus > 0).mean(0) - (minus > 0).mean(0))
    plus, minus = (all_of(seen, DOWN, pole) for pole in ("positive", "negative"))
    assert np.allclose(score("mean_difference", found), plus.mean(0) - minus.mean(0))
    plus, minus = (all_of(seen, BOTH, pole) for pole in ("positive", "negative"))
    assert np.allclose(score("prompt_difference", found), plus.mean(0) - minus.mean(0))


def test_effect_size_is_taken_over_prompts():
    seen = case(1)
    plus, minus = (all_of(seen, LAST, pole) for pole in ("positive", "negative"))
    expected = (plus.mean(0) - minus.mean(0)) / np.sqrt((plus.var(0) + minus.var(0)) / 2)
    assert np.allclose(score("effect_size", evidence(seen)), expected)


def test_contrastive_leaves_out_first_layers_and_universal_neurons():
    seen = case(2)
    universal = torch.zeros(LAYERS, WIDTH, dtype=torch.bool)
    universal[2, 5] = True
    found = score("contrastive", evidence(seen, universal=universal))
    plus, minus = (all_of(seen, LAST, pole) for pole in ("positive", "negative"))
    expected = plus.mean(0) - minus.mean(0)
    assert not found[:2].any()
    assert found[2, 5] == 0
    assert np.allclose(np.delete(found[2].numpy(), 5), np.delete(expected[2], 5))


def test_lape_by_hand():
    """Two values, two neurons: one fires for the first value alone, the other alike for both."""
    rates = torch.zeros(2, 2, 1, 40, dtype=torch.float64)  # [value, pole, layer, neuron]
    rates[:, 0, 0, 0] = torch.tensor([0.9, 0.0])
    rates[:, 0, 0, 1] = torch.tensor([0.8, 0.8])
    rates[:, 0, 0, 2] = torch.tensor([0.6, 0.3])
    rates[:, 1, 0, 3] = torch.tensor([0.7, 0.0])
    rates[:, 1, 0, 4] = torch.tensor([0.2, 0.0])
    seen = case(0)
    found = score("lape", evidence(seen, rates))[0]
    assert found[0] == pytest.approx(math.log(2))  # entropy 0
    assert found[1] == pytest.approx(0)  # entropy log 2: it tells nothing
    # of the 80 rates under the positive pole five lie above 0, and the 95 % quantile lies between .3 and .6
    assert found[2] == pytest.approx(math.log(2) + 2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert found[3] == pytest.approx(-math.log(2))  # it goes with the negative pole
    assert not found[5:].any()
    other = score("lape", evidence(seen, rates, members=(1,)))[0]
    assert other[0] == 0  # it never fires for the second value
    assert other[2] == 0  # it fires for it, but below the bar
    assert found[4] == pytest.approx(-math.log(2))  # .2 is above the bar of the negative pole, which is 0


def test_lape_of_one_value_is_refused():
    with pytest.raises(InvalidInputError, match="two at least; 1 given"):
        score("lape", evidence(case(0)))


def test_random_scores_keep_each_layers_magnitudes():
    found = [evidence(case(3), seed=seed) for seed in (0, 0, 1)]
    real = score("prompt_difference", found[0])
    one, same, other = (score("random", each) for each in found)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, real)
    assert torch.equal(one.sort(1).values, real.sort(1).values)
    elsewhere = score("random", evidence(case(3), members=(4,)))
    assert not torch.equal(one, elsewhere)  # the same shuffle for all values would make them overlap


def test_a_method_of_ones_own_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(methods, "_METHODS", dict(methods._METHODS))
    own = Method("of_a_test", lambda found, reading: found.pooled(reading).positive.mean(), DOWN, "a test")
    register_method(own)
    register_method(own)
    assert get_method("of_a_test") is own
    assert method_names()[0] == "firing_difference"
    with pytest.raises(InvalidInputError, match="already"):
        register_method(Method("of_a_test", lambda found, reading: None, DOWN, "another"))
    with pytest.raises(UnknownNameError, match="no paired difference 'variance'"):
        register_method(Method("wrong", own.score, DOWN, "a test", paired="variance"))
    with pytest.raises(UnknownNameError, match="site 'gates'"):
        register_method(Method("wrong", own.score, Reading("gates"), "a test"))
    with pytest.raises(UnknownNameError, match="method 'firing'"):
        get_method("firing")


def test_contrastive_wants_to_know_universal_neurons():
    with pytest.raises(InvalidInputError, match="universal neurons"):
        score("contrastive", evidence(case(0)))


def test_the_docstring_example_runs(monkeypatch):
    monkeypatch.setattr(methods, "_METHODS", dict(methods._METHODS))
    assert doctest.testmod(methods).failed == 0


def vectors(seed, contrasts=9, size=WIDTH):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(contrasts, 2, LAYERS, size, generator=random) * torch.linspace(0.1, 3, size)


def test_the_probe_is_the_ridge_logistic_fit():
    """Against the same problem solved over the weights themselves by another optimiser, neuron by neuron scaled."""
    from scipy.optimize import minimize

    members = [vectors(1), vectors(2, contrasts=4)]
    members[0][:, 0, :, 2] += 5.0
    members[1][..., 7] = members[0][..., :4, :, 7] = 1.5  # never varies
    found = score("probe", Evidence({}, {}, (0, 1), per_response={"means": members}))
    arms = torch.cat([member.flatten(0, 1) for member in members]).double().numpy()
    signs = np.tile((1.0, -1.0), 13)
    for layer in range(LAYERS):
        x = arms[:, layer] - arms[:, layer].mean(0)
        x = x / np.where(x.std(0) > 1e-9, x.std(0), np.inf)

        def loss(point, x=x):
            return np.logaddexp(0, -signs * (x @ point[:-1] + point[-1])).sum() + point[:-1] @ point[:-1] / 2

        expected = minimize(loss, np.zeros(WIDTH + 1), method="Powell", options={"xtol": 1e-9, "ftol": 1e-14}).x[:-1]
        assert np.allclose(found[layer], expected, atol=1e-3)
        assert found[layer].abs().argmax() == 2
        assert found[layer, 7] == 0


def test_value_plane_projects_what_a_neuron_writes():
    """hidden = 2: residuals differ by (3, 4) at every layer, and neuron n writes (n, 1): (3n + 4) / 5."""
    residuals = torch.zeros(5, 2, LAYERS, 2)
    residuals[:, 0] = torch.tensor((3.0, 4.0))
    weights = torch.stack((torch.arange(WIDTH), torch.ones(WIDTH)), dim=1).float()
    found = score(
        "value_plane",
        Evidence({}, {}, (0,), per_response={"residuals": [residuals]}, output_weights=lambda layer: weights * layer),
    )
    for layer in range(LAYERS):
        assert found[layer].tolist() == pytest.approx([layer * (3 * n + 4) / 5 for n in range(WIDTH)])


def test_attribution_is_the_difference_of_mean_products_signed_by_where_a_neuron_is_higher():
    members = [vectors(3), vectors(4, contrasts=4)]
    every = torch.cat(members).double()
    gap = every[:, 0].mean(0) - every[:, 1].mean(0)
    seen = case(5)
    seen = {DOWN: seen[DOWN], BOTH: seen[BOTH]}
    sides = (all_of(seen, BOTH, pole).mean(0) for pole in ("positive", "negative"))
    higher = torch.from_numpy(np.sign(np.subtract(*sides)))
    found = evidence(seen, torch.zeros(1), (0, 1), per_response={"products": members})
    assert torch.allclose(score("attribution", found), gap * higher, atol=1e-6)
    assert torch.allclose(get_method("attribution").score(found, DOWN), gap, atol=1e-6)
