"""Statistics against plain transformers with forward hooks, and against watching the decoder step by step."""

import pytest
import torch

from nnvalue.errors import DatasetError, NumericalError
from nnvalue.locator import exact_quantiles, gather_moments
from nnvalue.locator.collect import TeacherForcedBatches
from nnvalue.models import Response, open_model
from tests import tiny

FOLDS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
RESPONSES = tiny.random_responses(len(FOLDS))


def hooked(family, batch_inputs, site, anatomy, dtype=torch.float32):
    """Activations `[layer][batch, token, neuron]` of plain transformers, by forward hooks."""
    model = tiny.model(family).to(dtype)
    seen = []
    for path in getattr(anatomy, site):
        module = model.get_submodule(path.rpartition(".")[0])
        if site == "gate":
            module.register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
        else:
            module.register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
    with torch.no_grad():
        model(**batch_inputs)
    return seen


def reference(family, anatomy, responses, folds, site, batch_tokens=None, dtype=torch.float32):
    """Fired, sum and sum of squares `[fold, layer, neuron]`, counted token by token in float64.

    With `batch_tokens`, left-padded batches with mask-derived positions; without, each text alone and unpadded.
    """
    sums = torch.zeros(3, max(folds) + 1, anatomy.layers, anatomy.width, dtype=torch.float64)
    batches = [[row] for row in range(len(responses))]
    if batch_tokens:
        batches = TeacherForcedBatches(responses, batch_tokens, 0).plan
    for rows in batches:
        texts = [[*responses[row].prompt_ids, *responses[row].token_ids[:-1]] for row in rows]
        width = max(map(len, texts))
        ids = torch.tensor([[0] * (width - len(text)) + text for text in texts])
        mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts])
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        for layer, activation in enumerate(hooked(family, inputs, site, anatomy, dtype)):
            for place, row in enumerate(rows):
                n_counted = len(responses[row].token_ids) - 1
                kept = activation[place, width - n_counted :].double()
                sums[0, folds[row], layer] += (kept > 0).sum(0)
                sums[1, folds[row], layer] += kept.sum(0)
                sums[2, folds[row], layer] += kept.square().sum(0)
    return sums


@pytest.mark.parametrize("site", ["gate", "down_in"])
def test_statistics_equal_hooks_on_the_same_left_padded_batches(subject, site):
    made = gather_moments(subject, RESPONSES, FOLDS, site, batch_tokens=50)
    expected = reference(subject.anatomy.family, subject.anatomy, RESPONSES, FOLDS, site, batch_tokens=50)
    assert len(TeacherForcedBatches(RESPONSES, 50, 0)) > 3
    assert torch.equal(made.fired.double(), expected[0])
    n = made.tokens.double().clamp(min=1)[:, None, None]
    scale = expected[1].abs().max() / n.min()
    assert ((made.total - expected[1]) / n).abs().max() < 1e-5 * max(1.0, scale)
    assert torch.allclose(made.squares, expected[2], rtol=1e-5)


def test_padding_changes_nothing(subject):
    """Against every text alone and unpadded: catches positions or attention that padding disturbs."""
    made = gather_moments(subject, RESPONSES, FOLDS, "gate", batch_tokens=200)
    expected = reference(subject.anatomy.family, subject.anatomy, RESPONSES, FOLDS, "gate")
    assert (made.fired.double() - expected[0]).abs().sum() <= 2e-5 * made.fired.sum() + 1
    assert torch.allclose(made.total, expected[1], rtol=1e-4, atol=1e-3)


def test_the_counted_tokens_are_those_that_decoding_feeds(llama):
    made = gather_moments(llama, RESPONSES, FOLDS, "gate", batch_tokens=50)
    expected = [0, 0, 0]
    for response, fold in zip(RESPONSES, FOLDS, strict=True):
        expected[fold] += len(response.token_ids) - 1
    assert made.tokens.tolist() == expected


def test_teacher_forcing_equals_watching_the_decoder(subject):
    """One forward a token with the cache, as decoding does; prompt tokens and the last token are never counted."""
    anatomy = subject.anatomy
    sums = torch.zeros(2, anatomy.layers, anatomy.width, dtype=torch.float64)
    model = tiny.model(anatomy.family)
    responses = tiny.random_responses(40, seed=1, longest=60)
    for response in responses:
        with torch.no_grad():
            past = model(torch.tensor([response.prompt_ids]), use_cache=True).past_key_values
            for token in response.token_ids[:-1]:
                seen = []
                hooks = [
                    model.get_submodule(path.rpartition(".")[0]).register_forward_hook(
                        lambda _m, _i, out, s=seen: s.append(out)
                    )
                    for path in anatomy.gate
                ]
                past = model(torch.tensor([[token]]), past_key_values=past, use_cache=True).past_key_values
                for hook in hooks:
                    hook.remove()
                for layer, activation in enumerate(seen):
                    sums[0, layer] += (activation[0, 0] > 0).double()
                    sums[1, layer] += activation[0, 0].double()
    made = gather_moments(subject, responses, [0] * len(responses), "gate")
    firings = int(made.fired.sum())
    assert firings > 50_000
    assert (made.fired.sum(0).double() - sums[0]).abs().sum() <= 2e-5 * firings
    n = made.tokens.sum()
    assert ((made.total.sum(0) - sums[1]) / n).abs().max() < 1e-4 * max(1.0, (sums[1] / n).abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_with_long_responses_counts_exactly(dtype):
    model = tiny.model("llama")
    subject = open_model(model.to(dtype), tokenizer=tiny.tokenizer())
    random = torch.Generator().manual_seed(0)
    tokens = tuple(torch.randint(6, 64, (701,), generator=random).tolist())
    responses = [Response("a", (7, 8), tokens, "", True), Response("b", (9,), tokens[:400], "", True)]
    made = gather_moments(subject, responses, [0, 1], "gate")
    expected = reference("llama", subject.anatomy, responses, [0, 1], "gate", batch_tokens=8192, dtype=dtype)
    assert made.tokens.tolist() == [700, 399]
    assert torch.equal(made.fired.double(), expected[0])
    assert made.fired.max() > 256  # more than bfloat16 can count one by one
    assert torch.allclose(made.total, expected[1], rtol=1e-5, atol=1e-3)
    assert torch.allclose(made.squares, expected[2], rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantiles_are_the_order_statistic(dtype):
    subject = open_model(tiny.model("llama").to(dtype), tokenizer=tiny.tokenizer())
    neurons = torch.tensor([[2, 5], [0, 1], [2, 0], [0, 39]])
    made = exact_quantiles(subject, RESPONSES, "gate", neurons, batch_tokens=50)
    values = [[] for _ in neurons]
    for _rows, ids, mask, counted in TeacherForcedBatches(RESPONSES, 50, 0):
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        seen = hooked("llama", inputs, "gate", subject.anatomy, dtype)
        for place, (layer, neuron) in enumerate(neurons.tolist()):
            values[place] += seen[layer][counted.bool()][:, neuron].tolist()
    for place, column in enumerate(values):
        rank = -(-95 * len(column) // 100)
        assert made[place].item() == sorted(column)[rank - 1]


def test_batches_do_not_change_counts(llama):
    made = [gather_moments(llama, RESPONSES, FOLDS, "gate", batch_tokens=size) for size in (20, 60, 4000)]
    for other in made[1:]:
        assert torch.equal(made[0].fired, other.fired)
        assert torch.equal(made[0].tokens, other.tokens)


def test_nan_in_activations_names_the_layer():
    model = tiny.model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight[3, 2] = float("nan")
    subject = open_model(model, tokenizer=tiny.tokenizer())
    with pytest.raises(NumericalError, match=r"site 'gate' hold NaN or infinity in layer 1"):
        gather_moments(subject, RESPONSES, FOLDS, "gate")


def test_only_empty_responses_are_said_so(llama):
    with pytest.raises(DatasetError, match="All responses are empty"):
        gather_moments(llama, [Response("a", (5, 6), (1,), "", True)], [0], "gate")
