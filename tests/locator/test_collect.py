"""Statistics against plain transformers with forward hooks, and against watching the decoder step by step."""

import pytest
import torch

from nnvalue.errors import DatasetError, InvalidInputError, NumericalError, UnknownNameError
from nnvalue.locator import Reading, exact_quantiles, gather_contrasts, gather_readings, universal_neurons
from nnvalue.locator.readings import TeacherForcedBatches, teacher_forced
from nnvalue.models import Response, open_model
from tests import tiny

FOLDS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
POSITIVE = tiny.random_responses(len(FOLDS))
NEGATIVE = tiny.random_responses(len(FOLDS), seed=5)


def hooked(family, batch_inputs, site, anatomy, dtype=torch.float32):
    """Activations `[layer][batch, token, neuron]` of plain transformers, by forward hooks."""
    model = tiny.model(family).to(dtype)
    seen = []
    shape = batch_inputs["input_ids"].shape  # OPT flattens rows and tokens
    for path in getattr(anatomy, site):
        module = model.get_submodule(path.rpartition(".")[0])
        if site == "gate":
            module.register_forward_hook(lambda _m, _i, out: seen.append(out.reshape(*shape, -1).clone()))
        else:
            module.register_forward_pre_hook(lambda _m, args: seen.append(args[0].reshape(*shape, -1).clone()))
    with torch.no_grad():
        model(**batch_inputs)
    return seen


def activations(family, anatomy, responses, site, dtype=torch.float32, tokens="response"):
    """Counted activations `[layer, token, neuron]` of each response, every text alone and unpadded, in float64."""
    found = []
    for response in responses:
        ids = torch.tensor([[*response.prompt_ids, *response.token_ids[:-1]]])
        seen = hooked(family, {"input_ids": ids}, site, anatomy, dtype)
        end = len(response.prompt_ids)
        chosen = {"response": slice(end, None), "last_prompt": slice(end - 1, end), "prompt": slice(0, end)}[tokens]
        found.append(torch.stack(seen)[:, 0, chosen].double())
    return found


def sums(found, folds):
    """Fired, sum and sum of squares `[3, fold, layer, neuron]`, counted token by token."""
    total = torch.zeros(3, max(folds) + 1, *found[0].shape[::2], dtype=torch.float64)
    for kept, fold in zip(found, folds, strict=True):
        total[0, fold] += (kept > 0).sum(1)
        total[1, fold] += kept.sum(1)
        total[2, fold] += kept.square().sum(1)
    return total


@pytest.mark.parametrize("site", ["gate", "down_in"])
def test_statistics_equal_hooks(subject, site):
    """Left-padded batches that mix poles against every text alone and unpadded, by plain transformers with hooks.

    Catches positions or attention that padding disturbs, tokens that do not count, exchanged poles or folds.
    """
    made = gather_contrasts(subject, POSITIVE, NEGATIVE, FOLDS, site, batch_tokens=100)
    for pole, responses in ((made.positive, POSITIVE), (made.negative, NEGATIVE)):
        expected = sums(activations(subject.anatomy.family, subject.anatomy, responses, site), FOLDS)
        assert (pole.fired.double() - expected[0]).abs().sum() <= 2e-5 * pole.fired.sum()
        n = pole.tokens.double().clamp(min=1)[:, None, None]
        scale = expected[1].abs().max() / n.min()
        assert ((pole.total - expected[1]) / n).abs().max() < 1e-5 * max(1.0, scale)
        assert torch.allclose(pole.squares, expected[2], rtol=1e-4)


def test_paired_differences_equal_those_worked_out_one_by_one(llama):
    """d = difference of the two responses' own firing rates; the first contrast has an empty response and no d."""
    made = gather_contrasts(llama, POSITIVE, NEGATIVE, FOLDS, "gate", batch_tokens=100)
    rates = [
        [(kept > 0).double().mean(1) for kept in activations("llama", llama.anatomy, responses, "gate")]
        for responses in (POSITIVE, NEGATIVE)
    ]
    d = [plus - minus for plus, minus in zip(*rates, strict=True)]
    folds = [[d[n] for n in range(1, len(FOLDS)) if FOLDS[n] == fold] for fold in range(3)]
    assert made.firing.contrasts.tolist() == [3, 4, 3]
    assert torch.allclose(made.firing.total.double(), torch.stack([sum(fold) for fold in folds]), atol=1e-5)
    assert torch.allclose(
        made.firing.squares.double(), torch.stack([sum(x * x for x in fold) for fold in folds]), atol=1e-5
    )
    every = torch.stack(d[1:])
    assert torch.allclose(made.firing.mean(), every.mean(0), atol=1e-6)
    assert torch.allclose(made.firing.standard_error(), every.std(0) / len(every) ** 0.5, atol=1e-6)
    assert torch.allclose(made.firing.fold_means(), torch.stack([sum(fold) / len(fold) for fold in folds]), atol=1e-6)


def test_several_readings_of_one_pass_equal_hooks(subject):
    """Sites and choices of tokens must not be mixed up, nor the padding be taken for the prompt."""
    readings = [Reading("down_in", "last_prompt"), Reading("gate"), Reading("gate", "prompt")]
    made = gather_readings(subject, POSITIVE, NEGATIVE, FOLDS, readings, batch_tokens=100)
    assert list(made) == readings
    for (site, tokens, _), found in made.items():
        means = []
        for pole, responses in ((found.positive, POSITIVE), (found.negative, NEGATIVE)):
            kept = activations(subject.anatomy.family, subject.anatomy, responses, site, tokens=tokens)
            means.append([one.mean(1) for one in kept])
            total = sums(kept, FOLDS)[1]
            n = pole.tokens.double().clamp(min=1)[:, None, None]
            scale = max(1.0, (total.abs() / n).max())
            assert pole.tokens.sum() == sum(one.shape[1] for one in kept)
            assert ((pole.total - total) / n).abs().max() < 1e-5 * scale
        d = [plus - minus for plus, minus in zip(*means, strict=True)]
        every = torch.stack([one for one in d if one.isfinite().all()])  # an empty response has no mean
        assert len(every) == found.mean.contrasts.sum() == (11 if tokens != "response" else 10)
        assert torch.allclose(found.mean.mean(), every.mean(0), atol=1e-5 * scale)
        assert torch.allclose(found.mean.standard_error(), every.std(0) / len(every) ** 0.5, atol=1e-5 * scale)


def test_universal_neurons_equal_hooks(subject):
    """Prompts of different lengths in one batch: the last token is each row's own, never padding."""
    prompts = [list(response.prompt_ids) for response in POSITIVE]
    counts = torch.zeros(subject.anatomy.layers, subject.anatomy.width, dtype=torch.int64)
    for ids in prompts:
        seen = hooked(subject.anatomy.family, {"input_ids": torch.tensor([ids])}, "down_in", subject.anatomy)
        for layer, activation in enumerate(seen):
            counts[layer, activation[0, -1].abs().topk(25).indices] += 1
    made = universal_neurons(subject, prompts, "down_in", batch_tokens=40, loudest=25)
    assert torch.equal(made, counts >= 0.8 * len(prompts))
    assert made.any()
    assert not made.all()


def test_unknown_readings_are_refused(llama):
    for reading, message in (
        (Reading("gates"), "site 'gates'"),
        (Reading("gate", "last"), "choice of tokens 'last'"),
        (Reading("gate", texts="all"), "choice of texts 'all'"),
    ):
        with pytest.raises(UnknownNameError, match=message):
            gather_readings(llama, POSITIVE, NEGATIVE, FOLDS, [reading])


def test_the_counted_tokens_are_those_that_decoding_feeds(llama):
    made = gather_contrasts(llama, POSITIVE, NEGATIVE, FOLDS, "gate", batch_tokens=100)
    expected = [0, 0, 0]
    for response, fold in zip(POSITIVE, FOLDS, strict=True):
        expected[fold] += len(response.token_ids) - 1
    assert made.positive.tokens.tolist() == expected
    assert made.dtype == "float32"


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
                    sums[0, layer] += (activation.flatten() > 0).double()
                    sums[1, layer] += activation.flatten().double()
    made = gather_contrasts(subject, responses[:20], responses[20:], [0] * 20, "gate")
    firings = int(made.positive.fired.sum() + made.negative.fired.sum())
    assert firings > 50_000
    counted = made.positive.fired.sum(0) + made.negative.fired.sum(0)
    assert (counted.double() - sums[0]).abs().sum() <= 2e-5 * firings
    n = made.positive.tokens.sum() + made.negative.tokens.sum()
    gap = (made.positive.total.sum(0) + made.negative.total.sum(0) - sums[1]) / n
    assert gap.abs().max() < 1e-4 * max(1.0, (sums[1] / n).abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_with_long_responses_counts_exactly(dtype):
    model = tiny.model("llama")
    subject = open_model(model.to(dtype), tokenizer=tiny.tokenizer())
    random = torch.Generator().manual_seed(0)
    tokens = tuple(torch.randint(6, 64, (701,), generator=random).tolist())
    responses = [Response("a", (7, 8), tokens, "", True), Response("b", (9,), tokens[:400], "", True)]
    made = gather_contrasts(subject, responses, responses[::-1], [0, 1], "gate")
    for fold in (0, 1):  # the same left-padded batches through plain transformers
        ids, mask, counted = teacher_forced([responses[fold], responses[1 - fold]], 0)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        seen = torch.stack(hooked("llama", inputs, "gate", subject.anatomy, dtype)).double()
        for row, pole in enumerate((made.positive, made.negative)):
            kept = seen[:, row][:, counted[row].bool()]
            assert pole.tokens[fold] == kept.shape[1]
            assert torch.equal(pole.fired[fold], (kept > 0).sum(1))
            assert torch.allclose(pole.total[fold], kept.sum(1), rtol=1e-5, atol=1e-3)
            assert torch.allclose(pole.squares[fold], kept.square().sum(1), rtol=1e-5)
    assert made.positive.tokens.tolist() == [700, 399]
    assert made.positive.fired.max() > 256  # more than bfloat16 can count one by one
    assert made.dtype == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize(
    ("dtype", "tokens"), [(torch.float32, "response"), (torch.bfloat16, "response"), (torch.float32, "prompt")]
)
def test_quantiles_are_the_order_statistic(dtype, tokens):
    subject = open_model(tiny.model("llama").to(dtype), tokenizer=tiny.tokenizer())
    neurons = torch.tensor([[2, 5], [0, 1], [2, 0], [0, 39]])
    made = exact_quantiles(subject, POSITIVE, "gate", neurons, tokens=tokens, batch_tokens=50)
    values = [[] for _ in neurons]
    for _rows, ids, mask, counted in TeacherForcedBatches(POSITIVE, 50, 0, tokens):
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        seen = hooked("llama", inputs, "gate", subject.anatomy, dtype)
        for place, (layer, neuron) in enumerate(neurons.tolist()):
            values[place] += seen[layer][counted.bool()][:, neuron].tolist()
    size = {"response": lambda r: len(r.token_ids) - 1, "prompt": lambda r: len(r.prompt_ids)}[tokens]
    for place, column in enumerate(values):
        assert len(column) == sum(map(size, POSITIVE))
        rank = -(-95 * len(column) // 100)
        assert made[place].item() == sorted(column)[rank - 1]


def test_batches_do_not_change_counts(llama):
    made = [gather_contrasts(llama, POSITIVE, NEGATIVE, FOLDS, "gate", batch_tokens=n) for n in (20, 60, 4000)]
    for other in made[1:]:
        assert torch.equal(made[0].positive.fired, other.positive.fired)
        assert torch.equal(made[0].negative.tokens, other.negative.tokens)


def test_nan_in_activations_names_the_layer():
    model = tiny.model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight[3, 2] = float("nan")
    subject = open_model(model, tokenizer=tiny.tokenizer())
    with pytest.raises(NumericalError, match=r"site 'gate' hold NaN or infinity in layer 1"):
        gather_contrasts(subject, POSITIVE, NEGATIVE, FOLDS, "gate")


def test_contrasts_that_do_not_pair_up_are_refused(llama):
    with pytest.raises(InvalidInputError, match="11 positive and 10 negative ones and 11 folds"):
        gather_contrasts(llama, POSITIVE, NEGATIVE[1:], FOLDS, "gate")


def test_only_empty_responses_are_said_so(llama):
    empty = [Response("a", (5, 6), (1,), "", True)]
    with pytest.raises(DatasetError, match="All responses are empty"):
        gather_contrasts(llama, empty, empty, [0], "gate")
