"""Targeted vectors: a map that is known is recovered, the rule by hand, and effects against plain hooks."""

import pytest
import torch

from nnvalue.errors import InvalidInputError
from nnvalue.models import encode_prompt
from nnvalue.prompts import Prompt
from nnvalue.steering import effect_map, measured_effects, targeted_vector
from tests.steering.test_features import SITE, autoencoder


def test_a_linear_map_is_recovered():
    torch.manual_seed(0)
    weights, bias, vectors = torch.randn(6, 9), torch.randn(9), torch.randn(200, 6)
    found, level = effect_map(vectors, vectors @ weights + bias, ridge=1e-6)
    torch.testing.assert_close(found, weights, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(level, bias, atol=1e-3, rtol=1e-3)


def test_the_rule_by_hand():
    """W = identity, b along the second axis: towards the first, and away from the second by λ."""
    weights, bias = torch.eye(3), torch.tensor([0.0, 2.0, 0.0])
    expected = torch.tensor([1.0, -1.0, 0.0]) / 2**0.5
    torch.testing.assert_close(targeted_vector(weights, bias, 0), expected)
    torch.testing.assert_close(targeted_vector(weights, bias, 0, spare=0.0), torch.tensor([1.0, 0.0, 0.0]))
    with pytest.raises(InvalidInputError, match="no feature 3"):
        targeted_vector(weights, bias, 3)
    with pytest.raises(InvalidInputError, match="moves feature 0"):
        targeted_vector(torch.zeros(3, 3), bias, 0)


def test_effects_are_those_of_plain_hooks(llama):
    """Greedy tokens under a hook that adds at the last prompt token and all after it, and features of what follows."""
    sae = autoencoder()
    torch.manual_seed(1)
    vectors = 4 * torch.randn(2, 32)
    prompts = [Prompt(f"p{n}", None, f"w{n + 3} w9 w8") for n in range(3)]
    found = measured_effects(llama, sae, vectors, prompts, max_new_tokens=5)
    module = llama.model._module
    layer = module.get_submodule(SITE.removesuffix(".output"))

    def mean_features(vector, prompt):
        ids = encode_prompt(llama.tokenizer, prompt)
        start = len(ids) - 1
        grown, stopped = list(ids), False
        for _ in range(5):
            handle = layer.register_forward_hook(
                lambda m, i, o: o.__setitem__((0, slice(start, None)), o[0, start:] + vector)
            )
            with torch.no_grad():
                token = int(module(torch.tensor([grown])).logits[0, -1].argmax())
            handle.remove()
            grown.append(token)
            if token == llama.tokenizer.eos_token_id:
                stopped = True
                break
        fed = grown[:-1]
        assert stopped or len(grown) == len(ids) + 5
        seen = {}
        handle = layer.register_forward_hook(lambda m, i, o: seen.update(x=o))
        with torch.no_grad():
            module(torch.tensor([fed]))
        handle.remove()
        f = sae.encode(seen["x"][0, len(ids) :])
        return f.mean(0) if len(f) else torch.zeros(sae.features)

    plain = torch.stack([mean_features(torch.zeros(32), prompt) for prompt in prompts]).mean(0)
    for place, vector in enumerate(vectors):
        expected = torch.stack([mean_features(vector, prompt) for prompt in prompts]).mean(0) - plain
        torch.testing.assert_close(found[place], expected, atol=5e-3, rtol=1e-3)
    assert found.abs().max() > 0.05
    with pytest.raises(InvalidInputError, match="Vectors are"):
        measured_effects(llama, sae, torch.randn(2, 31), prompts)
