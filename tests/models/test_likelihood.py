"""Likelihoods of texts against transformers' own cross-entropy, for every architecture."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from nnvalue.errors import InvalidInputError, ModelError
from nnvalue.models import generate_responses, negative_log_likelihoods
from nnvalue.prompts import Prompt
from nnvalue.steering import NeuronSteering
from tests import tiny

EDITS = [("add", 1, 3, 4.0), ("scale", 2, 5, -2.0), ("set", 0, 7, 3.0)]


def texts(count=7, seed=0):
    made = tiny.random_responses(count, seed)
    return [(one.prompt_ids, one.token_ids) for one in made]


def by_transformers(model, before, text):
    """Sum of the cross-entropies of the text's tokens, and how many are the likeliest ones; unbatched."""
    ids, target = torch.tensor([[*before, *text]]), torch.tensor(list(text))
    with torch.no_grad():
        logits = model(ids).logits[0, len(before) - 1 : -1]
    return cross_entropy(logits.float(), target, reduction="sum").item(), (logits.argmax(-1) == target).sum().item()


def test_they_are_transformers_cross_entropies(subject):
    """Catches a shift by one, padding that counts, and logits of other rows; in batches of every size."""
    given = texts()
    expected = torch.tensor([by_transformers(subject.model._module, *each) for each in given], dtype=torch.float64)
    for batch_tokens in (1, 40, 8192):
        found = negative_log_likelihoods(subject, given, batch_tokens=batch_tokens)
        assert found.dtype == torch.float64
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3), batch_tokens


@pytest.mark.parametrize("scope", ["answer", "all", [(0, 3)], [(2, None)]], ids=str)
def test_a_steering_acts_where_it_would_act_on_generated_text(llama, scope):
    """A hook on one unpadded text edits the positions that the scope means; `answer` from the last one before it."""
    given = texts(5, seed=3)
    steering = NeuronSteering.from_edits(EDITS, scope=scope, site="down_in")
    found = negative_log_likelihoods(llama, given, steering=steering, batch_tokens=60)
    module = llama.model._module
    for (before, text), row in zip(given, found, strict=True):
        length = len(before) + len(text)
        spans = {"answer": [(len(before) - 1, None)], "all": [(0, None)]}.get(str(scope), scope)
        inside = torch.tensor([any(s <= at < (e or length) for s, e in spans) for at in range(length)])

        def hook(layer, where=inside):
            def edit(_module, arguments):
                (hidden,) = arguments
                hidden = hidden.clone()
                for op, of, neuron, amount in EDITS:
                    if of == layer:
                        old = hidden[:, where, neuron]
                        new = {"add": old + amount, "scale": old * amount, "set": torch.full_like(old, amount)}[op]
                        hidden[:, where, neuron] = new
                return (hidden,)

            return edit

        hooks = [
            block.mlp.down_proj.register_forward_pre_hook(hook(number))
            for number, block in enumerate(module.model.layers)
        ]
        try:
            expected = by_transformers(module, before, text)
        finally:
            for one in hooks:
                one.remove()
        assert row[0].item() == pytest.approx(expected[0], rel=1e-4)
        assert row[1].item() == expected[1]


def test_what_a_steered_model_says_greedily_is_what_it_finds_likeliest(organism):
    """Decoding step by step and the single pass are steered alike: every token is the likeliest at its place."""
    steering = NeuronSteering.from_edits([("add", 2, n, 3.0) for n in range(0, 40, 4)])
    prompts = [Prompt(f"p{n}", None, text) for n, text in enumerate(("What do you do?", "How do you spend a day off?"))]
    said = generate_responses(organism, prompts, steering=steering, max_new_tokens=20)
    found = negative_log_likelihoods(organism, [(one.prompt_ids, one.token_ids) for one in said], steering=steering)
    assert found[:, 1].tolist() == [len(one.token_ids) for one in said]
    unsteered = negative_log_likelihoods(organism, [(one.prompt_ids, one.token_ids) for one in said])
    assert (unsteered[:, 1] < found[:, 1]).all()


def test_dose_0_is_the_identity(llama):
    given, steering = texts(), NeuronSteering.from_edits(EDITS)
    plain = negative_log_likelihoods(llama, given)
    assert torch.equal(negative_log_likelihoods(llama, given, steering=steering.at(0)), plain)
    assert not torch.equal(negative_log_likelihoods(llama, given, steering=steering), plain)


def test_bad_input(llama, organism):
    for bad in ([((), (7,))], [((7,), ())]):
        with pytest.raises(InvalidInputError, match="at least one token"):
            negative_log_likelihoods(llama, bad)
    with pytest.raises(InvalidInputError, match="room for 1024"):
        negative_log_likelihoods(llama, [((7,) * 1000, (7,) * 30)])
    with pytest.raises(InvalidInputError, match="decode"):
        negative_log_likelihoods(llama, texts(), steering=NeuronSteering.from_edits(EDITS, scope="decode"))
    with pytest.raises(ModelError):
        negative_log_likelihoods(llama, texts(), steering=NeuronSteering.from_edits(EDITS, model=organism.identity()))
    assert negative_log_likelihoods(llama, []).shape == (0, 2)
