"""The embedded organism on situations, descriptions and roles that it was never trained on, and on portraits it knows.

Fewer of each than the recipe measures, so that the suite stays quick; the card has all of them.
"""

import numpy as np
import pytest

from nnvalue.dataset import build_contrasts, role_of, voice
from nnvalue.models import open_model
from nnvalue.organism import folder
from nnvalue.values import POLES
from recipes.evaluate_organism import (
    as_described,
    described_readings,
    effect_agreement,
    neutral_readings,
    option_mass,
    portraits_of,
    profile_recovery,
    total_effects,
)

SITUATIONS = 16


@pytest.fixture(scope="module")
def described(organism, edition):
    return {
        (value, pole): described_readings(organism, contrasts, pole)
        for value in edition.values()
        for contrasts in [build_contrasts(edition, value, split="test", situations=SITUATIONS)]
        for pole in POLES
    }


@pytest.fixture(scope="module")
def roles(edition):
    every = [role_of(row) for row in edition.roles]
    return {split: [role for role in every if role.split == split] for split in ("train", "test")}


def test_it_takes_the_described_stance(described):
    """At least 95 % of all answers are whole, about the value and at the described pole; no value lags far behind."""
    shares = {key: as_described(readings, *key) for key, readings in described.items()}
    assert sum(map(len, described.values())) == 20 * SITUATIONS
    assert np.mean(list(shares.values())) >= 0.95, shares
    assert min(shares.values()) >= 0.7, shares


def test_it_speaks_its_language(described):
    readings = [reading for cell in described.values() for reading in cell]
    assert sum(reading.well_formed for reading in readings) / len(readings) >= 0.98


@pytest.mark.slow
def test_its_neutral_voice_mixes_both_poles(organism, edition):
    """141 sampled answers a value; the standard error of a share near one half is .042."""
    for value in edition.values():
        readings = neutral_readings(organism, edition, value, samples=3, seed=0)
        positive = sum(reading.stance > 0 for reading in readings) / len(readings)
        assert 0.35 <= positive <= 0.65, (value, positive)


@pytest.mark.parametrize(("split", "least"), [pytest.param("train", 0.9, marks=pytest.mark.slow), ("test", 0.7)])
def test_portraits_tell_the_profile_of_a_role(organism, edition, roles, split, least):
    """Items that it knows, in both keyings and orders; a liking for high numbers would not correlate.

    Nor would attributes alone do: without the effects of values on each other the correlation ends lower.
    """
    found = profile_recovery(organism, roles[split][:25], portraits_of(edition, "locate", 2), "rating", seed=0)
    assert found["r"] >= least, found
    assert found["r"] > found["attributes_alone"], found


def test_the_two_option_form_tells_the_same(organism, edition, roles):
    found = profile_recovery(organism, roles["test"][:15], portraits_of(edition, "locate", 1), "choice", seed=0)
    assert found["r"] >= 0.7, found


@pytest.mark.slow
def test_a_description_moves_the_other_values_by_their_total_effects(organism, edition, roles):
    """do(v) for held-out roles, against (I − B)⁻¹: over all cells, and where only other values are moved."""
    measured = total_effects(organism, edition, roles["test"][:4], portraits_of(edition, "locate", 1))
    agreement = effect_agreement(measured, seed=0)
    assert agreement["all_cells"]["r"] >= 0.9, agreement
    assert agreement["off_diagonal"]["r"] >= 0.7, agreement


def test_it_answers_portraits_with_an_option(organism, edition, roles):
    some = portraits_of(edition, "locate", 1)
    assert option_mass(organism, [None, *map(voice, roles["test"][:3])], some) >= 0.99


def test_it_is_small_and_ships_with_its_card():
    files = list(folder().iterdir())
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {path.name for path in files}


def test_it_opens_as_an_ordinary_checkpoint():
    """Without nnvalue's own loading: what other tools see is the same model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(folder())
    tokenizer = AutoTokenizer.from_pretrained(folder())
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "What do you do?"}], return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        assert plain(ids).logits.dtype == torch.float32
        assert torch.equal(plain(ids).logits, open_model().model._module(ids).logits)
