"""The 2 × 2 of prompts and texts, against the four arms run one by one."""

import copy

import numpy as np
import pytest
import torch

from nnvalue.dataset import build_contrasts
from nnvalue.errors import InvalidInputError
from nnvalue.findings import ValueNeurons
from nnvalue.findings_card import crossed_in_words
from nnvalue.locator import Threshold, compare_methods, gather_contrasts, locate
from nnvalue.models import Response, generate_responses
from nnvalue.values import POLES

SETTINGS = {
    "method": "firing_difference",
    "values": ("power",),
    "situations": 8,
    "folds": 2,
    "max_new_tokens": 32,
    "null": False,
}


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
    for settings in ({"method": "effect_size"}, {"method": "probe"}, {"method": "prompt_difference"}):
        with pytest.raises(InvalidInputError, match="crossed tells prompt from text"):
            locate(**settings, crossed=True)
    with pytest.raises(InvalidInputError, match="at response tokens only, and 'prompt' tokens are asked for"):
        locate(tokens="prompt")
    with pytest.raises(InvalidInputError, match="each pole's own response"):
        locate(responses="dataset")
    with pytest.raises(InvalidInputError, match="take firing_difference with its shared part"):
        locate(selection=Threshold(0.1))


def cells(organism, contrasts):
    """Of each contrast and cell (prompt, text), by plain transformers, each row alone: activations at the input of the
    down projection, and what they add to the text's log-likelihood; both `[token, layer, neuron]` at counted tokens."""
    arms = [
        generate_responses(organism, [getattr(one, pole) for one in contrasts], max_new_tokens=16) for pole in POLES
    ]
    model = copy.deepcopy(organism.model._module)
    seen = []
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    found = []
    for pair in zip(*arms, strict=True):
        made = {}
        for prompt, asked in enumerate(pair):
            for text, said in enumerate(pair):
                seen.clear()
                before, ids = len(asked.prompt_ids), torch.tensor([[*asked.prompt_ids, *said.token_ids]])
                logs = model(ids).logits[0].log_softmax(-1)[before - 1 : -1]
                likelihood = logs.gather(1, ids[0, before:, None]).sum()
                gradients = torch.autograd.grad(likelihood, seen)
                pairs = [(act[0, before:-1], grad[0, before:-1]) for act, grad in zip(seen, gradients, strict=True)]
                made[prompt, text] = (
                    torch.stack([act.detach() for act, _ in pairs], dim=1),
                    torch.stack([(act * grad).detach() for act, grad in pairs], dim=1),
                )
        found.append(made)
    return found


def test_methods_that_read_both_texts_under_either_prompt(organism, edition):
    """Catches a text that follows its own prompt only, texts or prompts exchanged, a sign of the second text."""
    settings = {"values": ("power",), "situations": 4, "folds": 2, "max_new_tokens": 16, "null": False}
    found = compare_methods(("prompt_difference", "attribution"), organism, **settings)
    seen = cells(organism, build_contrasts(edition, "power", situations=4, folds=2))
    mean = [torch.cat([one[prompt, text][0] for one in seen for text in (0, 1)]).mean(0) for prompt in (0, 1)]
    difference = (mean[0] - mean[1]).numpy()
    assert np.allclose(found["prompt_difference"].maps["score"][0], difference, atol=1e-5)
    parts = {cell: sum(one[cell][1].sum(0) for one in seen) / (2 * len(seen)) for cell in seen[0]}
    apart = (parts[0, 0] - parts[0, 1] - parts[1, 0] + parts[1, 1]).numpy()
    assert np.allclose(found["attribution"].maps["score"][0], apart * np.sign(difference), atol=1e-5)
    assert found["prompt_difference"].config["settings"]["texts"] == "both"
