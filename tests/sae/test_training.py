"""Training an SAE, on data whose sparse directions are known."""

import pytest
import torch

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.sae import train_sae
from nnvalue.sae.training import TRAINABLE, _auxiliary_loss

DIRECTIONS, INPUTS, ON = 64, 32, 3
SETTINGS = {"active": ON, "penalty": 0.6, "steps": 1500, "batch": 512, "rate": 3e-3, "dead_after": 20_000}


def unit_rows(count):
    rows = torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(1))
    return rows / rows.norm(dim=-1, keepdim=True)


def sums_of_few(tokens=20_000):
    """`[token, input]`, each the sum of about three of the true directions, three to six long, far from the origin."""
    generator = torch.Generator().manual_seed(2)
    on = torch.rand(tokens, DIRECTIONS, generator=generator) < ON / DIRECTIONS
    sizes = 3 + 3 * torch.rand(tokens, DIRECTIONS, generator=generator)
    return (on * sizes) @ unit_rows(DIRECTIONS) + torch.linspace(-2, 2, INPUTS)


def explained_variance(sae, x):
    return float(1 - sae.error(x).square().sum() / (x - x.mean(0)).square().sum())


@pytest.mark.parametrize("architecture", TRAINABLE)
def test_the_directions_that_data_are_made_of_are_found(architecture):
    x = sums_of_few()
    sae = train_sae(x[:16_000], 96, architecture=architecture, **SETTINGS)
    nearest = (unit_rows(DIRECTIONS) @ sae.decoder.T).amax(1)
    assert (nearest > 0.9).float().mean() > 0.8  # random rows: none
    assert explained_variance(sae, x[16_000:]) > 0.8  # a mean alone reaches 0
    assert torch.allclose(sae.decoder.norm(dim=-1), torch.ones(96), atol=1e-5)


def test_batchtopk_keeps_as_many_as_asked_on_new_tokens():
    x = sums_of_few()
    sae = train_sae(x[:16_000], 96, **SETTINGS)
    active = (sae.encode(x[16_000:]) > 0).sum(-1).float()
    assert float(active.mean()) == pytest.approx(ON, rel=0.1)
    assert float(active.std()) > 0.5  # more for some tokens than for others


def test_the_seed_decides_the_weights():
    x = sums_of_few(2_000)
    settings = {**SETTINGS, "steps": 60, "dead_after": 2_000}
    one, again, other = (train_sae(x, 48, seed=seed, **settings) for seed in (5, 5, 6))
    assert torch.equal(one.encoder, again.encoder)
    assert torch.equal(one.threshold, again.threshold)
    assert not torch.equal(one.encoder, other.encoder)


def test_inputs_are_read_as_they_are():
    """A trained SAE of inputs in other units is the same one in those units: no scale is left to apply."""
    x = sums_of_few(2_000)
    settings = {**SETTINGS, "steps": 200}
    small, large = train_sae(x, 48, **settings), train_sae(64 * x, 48, **settings)
    assert small.input_scale == large.input_scale == 1
    assert torch.allclose(64 * small.decode(small.encode(x)), large.decode(large.encode(64 * x)), rtol=1e-3, atol=1e-2)


def test_the_auxiliary_loss_asks_dead_features_for_what_is_left():
    """Three features, the last one dead; what is left of the input lies along the dead one's direction."""
    decoder, dead = torch.eye(3, 4), torch.tensor([False, False, True])
    left = torch.tensor([[0.0, 0.0, 2.0, 0.0]])
    rebuilt, half, nothing = (
        float(_auxiliary_loss(torch.tensor([[5.0, 5.0, size]]), left, dead, decoder)) for size in (2.0, 1.0, -1.0)
    )
    assert (rebuilt, half, nothing) == (0.0, 1.0, 4.0)  # four inputs times the share that is not rebuilt


def test_what_makes_no_sense_is_refused():
    x = sums_of_few(100)
    with pytest.raises(UnknownNameError, match="batchtopk"):
        train_sae(x, 8, architecture="jumprelu")
    with pytest.raises(InvalidInputError, match="as many features"):
        train_sae(x, 8, active=9)
    with pytest.raises(InvalidInputError, match="NaN"):
        train_sae(x * float("nan"), 8, active=2)
    with pytest.raises(InvalidInputError, match=r"\[100\]"):
        train_sae(x[:, 0], 8, active=2)
