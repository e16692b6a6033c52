"""The embedded organism on texts that it was never trained on.

Fewer of each than the recipe measures, so that the suite stays quick; the card has all of them.
"""

import numpy as np
import pytest

from nnvalue.dataset import build_contrasts
from nnvalue.models import open_model
from nnvalue.organism import folder
from nnvalue.values import POLES
from recipes.evaluate_organism import as_described, described_readings, neutral_readings

SITUATIONS = 16


@pytest.fixture(scope="module")
def described(organism, edition):
    return {
        (value, pole): described_readings(organism, contrasts, pole)
        for value in edition.values()
        for contrasts in [build_contrasts(edition, value, split="test", situations=SITUATIONS)]
        for pole in POLES
    }


def test_it_takes_the_described_stance(described):
    """Answers are whole, about the value and at the described pole; no value lags far behind.

    The card's figure, over 940 answers, is .957; these are 320 of them, whose standard error is .012.
    """
    shares = {key: as_described(readings, *key) for key, readings in described.items()}
    assert sum(map(len, described.values())) == 20 * SITUATIONS
    assert np.mean(list(shares.values())) >= 0.92, shares
    assert min(shares.values()) >= 0.7, shares


def test_it_speaks_its_language(described):
    readings = [reading for cell in described.values() for reading in cell]
    assert sum(reading.well_formed for reading in readings) / len(readings) >= 0.98


def test_its_neutral_voice_mixes_both_poles(organism, edition):
    """141 sampled answers a value; the standard error of a share near one half is .042."""
    for value in edition.values():
        readings = neutral_readings(organism, edition, value, samples=3, seed=0)
        positive = sum(reading.stance > 0 for reading in readings) / len(readings)
        assert 0.35 <= positive <= 0.65, (value, positive)


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
