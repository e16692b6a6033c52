"""The 2 × 2 of prompts and texts, against the four arms run one by one."""

import numpy as np
import pytest

from nnvalue.dataset import build_contrasts
from nnvalue.errors import InvalidInputError
from nnvalue.findings import ValueNeurons
from nnvalue.findings_card import crossed_in_words
from nnvalue.locator import gather_contrasts, locate
from nnvalue.models import Response, generate_responses
from nnvalue.values import POLES

SETTINGS = {"values": ("power",), "situations": 8, "folds": 2, "max_new_tokens": 32, "null": False}


def rate(organism, responses):
    """Firing rates of one arm `[layer, neuron]`."""
    return gather_contrasts(organism, responses, responses, [0] * len(responses), "gate").positive


def test_prompt_and_text_are_told_apart(organism, edition, tmp_path):
    """Catches a text under its own prompt twice, effects exchanged, a sign, tokens that are not the response's."""
    found = locate(organism, **SETTINGS, crossed=True, out=tmp_path / "out")
    contrasts = build_contrasts(edition, "power", situations=8, folds=2)
    arms = [
        generate_responses(organism, [getattr(contrast, pole) for contrast in contrasts], max_new_tokens=32)
        for pole in POLES
    ]
    fired, tokens = {}, {}
    for prompt in (0, 1):
        for text in (0, 1):
            pairs = zip(arms[prompt], arms[text], strict=True)
            made = rate(organism, [Response("", a.prompt_ids, b.token_ids, b.text, b.finished) for a, b in pairs])
            fired[prompt, text], tokens[prompt, text] = made.fired.sum(0).double(), int(made.tokens.sum())

    def pooled(*cells):
        return sum(fired[cell] for cell in cells) / sum(tokens[cell] for cell in cells)

    prompt = (pooled((0, 0), (0, 1)) - pooled((1, 0), (1, 1))).numpy()
    text = (pooled((0, 0), (1, 0)) - pooled((0, 1), (1, 1))).numpy()
    assert np.allclose(found.maps["score_prompt"][0], prompt, atol=1e-6)
    assert np.allclose(found.maps["score_text"][0], text, atol=1e-6)
    facts = found.config["counts"]["power"]["crossed"]
    rows = [(np.sign(row.score), row.layer, row.neuron, row.score) for row in found]
    expected = sum(sign * prompt[layer, neuron] for sign, layer, neuron, _ in rows) / sum(abs(row[3]) for row in rows)
    assert facts["prompt_share"] == pytest.approx(expected, abs=1e-5)
    assert facts["text_r"] == pytest.approx(np.corrcoef(found.maps["score"][0].ravel(), text.ravel())[0, 1], abs=1e-5)
    assert f"{facts['prompt_share']:.0%} comes with the prompt" in crossed_in_words(found)[0]
    loaded = ValueNeurons.load(tmp_path / "out")
    assert (loaded.maps["score_text"] == found.maps["score_text"]).all()


def test_what_cannot_be_crossed_is_refused():
    for settings in ({"method": "effect_size"}, {"method": "probe"}, {"tokens": "prompt"}):
        with pytest.raises(InvalidInputError, match="under both prompts"):
            locate(**settings, crossed=True)
