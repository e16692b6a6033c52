"""Vectors of single responses against plain transformers with hooks and autograd, each text alone and unpadded."""

import pytest
import torch

from nnvalue.artifacts import Journal
from nnvalue.errors import NumericalError, UnknownNameError
from nnvalue.locator import Reading
from nnvalue.locator import per_response as vectors
from nnvalue.locator.gathering import Gathering
from nnvalue.locator.per_response import gather_per_response
from nnvalue.models import Response, open_model
from tests import tiny
from tests.locator.test_collect import activations

POSITIVE, NEGATIVE = tiny.random_responses(6), tiny.random_responses(6, seed=5)
READING = Reading("down_in")


def averaged(responses, found):
    return torch.stack([
        kept.mean(1) if kept.shape[1] else torch.zeros(kept.shape[0], kept.shape[2]).double()
        for kept, _ in zip(found, responses, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("tokens", ["response", "last_prompt"])
def test_means_equal_hooks(subject, tokens):
    """Catches rows that are mixed up, poles exchanged, padding or prompt tokens in a mean."""
    made = gather_per_response(subject, POSITIVE, NEGATIVE, "means", Reading("gate", tokens), batch_tokens=100)
    for pole, responses in enumerate((POSITIVE, NEGATIVE)):
        found = activations(subject.anatomy.family, subject.anatomy, responses, "gate", tokens=tokens)
        assert torch.allclose(made[:, pole].double(), averaged(responses, found), atol=1e-5)


def test_residuals_equal_hooks(subject):
    made = gather_per_response(subject, POSITIVE, NEGATIVE, "residuals", READING, batch_tokens=100)
    model = tiny.model(subject.anatomy.family)
    seen = []
    for path in subject.anatomy.block:
        module = model.get_submodule(path.removesuffix(".output"))
        module.register_forward_hook(lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple) else out))
    for pole, responses in enumerate((POSITIVE, NEGATIVE)):
        for row, response in enumerate(responses):
            seen.clear()
            with torch.no_grad():
                model(torch.tensor([[*response.prompt_ids, *response.fed_ids]]))
            if response.fed_ids:
                expected = torch.stack([out[0, len(response.prompt_ids) :].mean(0) for out in seen])
                assert torch.allclose(made[row, pole], expected, atol=1e-5)


def test_products_equal_autograd(subject):
    """Gradient × activation of the whole response's log-likelihood, at the tokens that decoding feeds.

    Catches labels that are one off, a likelihood of the prompt, gradients of other rows, tokens that do not count.
    """
    made = gather_per_response(subject, POSITIVE, NEGATIVE, "products", READING, batch_tokens=100)
    model = tiny.model(subject.anatomy.family)
    seen = []

    def keep(_module, args):
        args[0].retain_grad()
        seen.append(args[0])

    for path in subject.anatomy.down_in:
        model.get_submodule(path.removesuffix(".input")).register_forward_pre_hook(keep)
    for pole, responses in enumerate((POSITIVE, NEGATIVE)):
        for row, response in enumerate(responses):
            seen.clear()
            logits = model(torch.tensor([[*response.prompt_ids, *response.fed_ids]])).logits[0].log_softmax(-1)
            n = len(response.token_ids)
            end = len(response.prompt_ids)
            sum(logits[end - 1 + place, token] for place, token in enumerate(response.token_ids[:n])).backward()
            products = [(kept.grad * kept).reshape(-1, kept.shape[-1])[end:].sum(0).detach() for kept in seen]
            assert torch.allclose(made[row, pole], torch.stack(products), atol=1e-5)


def test_what_is_done_is_not_done_again(llama, tmp_path, monkeypatch):
    """An interrupted run goes on; a batch that is kept is read back as it was."""
    settings = {"kind": "means", "reading": READING, "batch_tokens": 60}
    whole = gather_per_response(llama, POSITIVE, NEGATIVE, **settings)
    original, calls = vectors.vectors_of_batches, []

    def failing(*given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return original(*given)

    monkeypatch.setattr(vectors, "vectors_of_batches", failing)
    with Journal(tmp_path / "work", {}) as journal, pytest.raises(KeyboardInterrupt):
        gather_per_response(llama, POSITIVE, NEGATIVE, **settings, journal=journal)
    again = []
    monkeypatch.setattr(vectors, "vectors_of_batches", lambda *given: again.append(1) or original(*given))
    with Journal(tmp_path / "work", {}) as journal:
        made = gather_per_response(llama, POSITIVE, NEGATIVE, **settings, journal=journal)
    assert (made == whole).all()
    assert again
    monkeypatch.setattr(vectors, "vectors_of_batches", lambda *_: pytest.fail("it was all there"))
    with Journal(tmp_path / "work", {}) as journal:
        assert (gather_per_response(llama, POSITIVE, NEGATIVE, **settings, journal=journal) == whole).all()


def test_the_buffer_is_bounded(llama, monkeypatch):
    one = 2 * tiny.LAYERS * tiny.WIDTH * 4
    monkeypatch.setattr(vectors, "MOST_BYTES", 5 * one)
    made = gather_per_response(llama, POSITIVE, NEGATIVE, "means", READING)
    assert len(made) == 4  # even: where both texts are read, two rows belong together
    assert (made == gather_per_response(llama, POSITIVE[:4], NEGATIVE[:4], "means", READING)).all()


def test_nan_and_unknown_kinds_are_refused(llama):
    with pytest.raises(UnknownNameError, match="kind of vector"):
        gather_per_response(llama, POSITIVE, NEGATIVE, "medians", READING)
    broken = tiny.model("llama")
    broken.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="NaN"):
        gather_per_response(open_model(broken, tokenizer=tiny.tokenizer()), POSITIVE, NEGATIVE, "means", READING)


def test_a_response_without_tokens_adds_nothing(llama):
    empty = [Response("", (5, 6), (), "", False)]
    for kind in ("means", "products"):
        assert not gather_per_response(llama, empty, empty, kind, READING).any()


def test_frozen_weights_do_and_stay_as_they_were(llama):
    """A user's model may be frozen, and must not be thawed by a measurement; nor the other way round."""
    made = gather_per_response(llama, POSITIVE, NEGATIVE, "products", READING)
    model = tiny.model("llama")
    for number, weight in enumerate(model.parameters()):
        weight.requires_grad_(number == 3)
    subject = open_model(model, tokenizer=tiny.tokenizer())
    assert torch.allclose(gather_per_response(subject, POSITIVE, NEGATIVE, "products", READING), made, atol=1e-6)
    assert [weight.requires_grad for weight in model.parameters()].count(True) == 1


def test_a_rehearsal_of_the_remote_path_gives_the_same(llama):
    """nnsight rebuilds the session's source there: a statement over two lines is not found again."""
    there = open_model(tiny.model("llama"), tokenizer=tiny.tokenizer(), remote="dry-run")
    for kind in ("means", "residuals"):
        here = gather_per_response(llama, POSITIVE, NEGATIVE, kind, READING, batch_tokens=100)
        assert torch.equal(gather_per_response(there, POSITIVE, NEGATIVE, kind, READING, batch_tokens=100), here)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2"])
def test_output_weights_are_what_a_neuron_adds_to_the_residual_stream(family):
    """Raise one neuron in plain transformers: the stream after its layer moves along the neuron's row.

    Catches GPT-2's transpose, and the norm after the MLP of Gemma and OLMo 2, whose scale goes through zero here.
    """
    model = tiny.model(family)
    for name, weight in model.named_parameters():
        if "post_feedforward_layernorm" in name:
            weight.data = torch.linspace(-2, 2, len(weight)) - (1 if family == "gemma2" else 0)
    subject = open_model(model, tokenizer=tiny.tokenizer())
    gathering = Gathering(subject, None, {}, {}, [], False, [], None, None, None)
    down = model.get_submodule(subject.anatomy.down_in[1].removesuffix(".input"))
    block = model.get_submodule(subject.anatomy.block[1].removesuffix(".output"))
    ids, seen, raised = torch.tensor([[5, 6, 7]]), [], []
    block.register_forward_hook(lambda _m, _i, out: seen.append((out[0] if isinstance(out, tuple) else out)[0, -1]))

    def raise_one(_module, given):
        moved = given[0].clone()
        moved[0, -1, 3] += raised[0]
        return (moved, *given[1:])

    down.register_forward_pre_hook(raise_one)
    expected = gathering._output_weights(1)[3].double()
    for step in (0.0, 1e-3):
        raised[:] = [step]
        with torch.no_grad():
            model.double()(ids)
    moved = seen[1] - seen[0]
    likeness = torch.nn.functional.cosine_similarity(moved, expected, dim=0)
    # A norm after the MLP also takes out what lies along the MLP's whole output; without one it is exact.
    assert likeness > (0.9 if family in ("gemma2", "olmo2") else 0.9999)
