"""A steered model in the hands of other code, against `generate_responses` and hooks."""

import warnings

import nnsight
import pytest
import torch

from nnvalue.errors import InvalidInputError, ModelError
from nnvalue.models import generate_responses
from nnvalue.prompts import Prompt
from nnvalue.steering import CombinedSteering, DirectionSteering, NeuronSteering, PromptSteering, role_prompt, steered
from tests.steering import plain

FAMILIES = ("llama", "gpt2", "opt", "gemma2")
STRONG = [("set", layer, neuron, 4.0) for layer in (0, 2) for neuron in range(layer, 40, 3)]
SCOPES = ("answer", "decode", "all", [(1, 3), (7, 11)])
SETTINGS = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}


@pytest.fixture(autouse=True)
def loud():
    """No warning goes unseen, whoever gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def steerings():
    add = DirectionSteering("residual", (1,), torch.linspace(-4, 4, 32).view(1, -1))
    both = CombinedSteering((NeuronSteering.from_edits([("add", 0, n, 3.0) for n in range(9)], site="gate"), add))
    return {str(scope): NeuronSteering.from_edits(STRONG, scope=scope) for scope in SCOPES} | {"both": both}


def two_prompts(subject):
    """Of different length, so that one is padded."""
    asked = [Prompt("short", None, "w3"), Prompt("long", None, "w4 w5 w6 w7")]
    return asked, *plain.batch(subject, asked)


def answers(subject, asked, steering):
    made = generate_responses(subject, asked, steering=steering, max_new_tokens=12)
    return [list(each.token_ids) for each in made]


@pytest.mark.parametrize("kind", steerings())
@pytest.mark.parametrize("family", FAMILIES)
def test_generate_without_a_block_equals_the_generator(family, kind):
    """Tokens of plain code that calls `generate`; the subject's own model is as it was, during and after."""
    subject, steering = plain.subject(family), steerings()[kind]
    asked, ids, mask = two_prompts(subject)
    unsteered = answers(subject, asked, None)
    expected = answers(subject, asked, steering)
    with steered(subject, steering) as model, torch.no_grad():
        made = model.generate(ids, attention_mask=mask, **SETTINGS)[:, ids.shape[1] :].tolist()
        again = model.generate(ids, attention_mask=mask, **SETTINGS)[:, ids.shape[1] :].tolist()
        meanwhile = answers(subject, asked, None)
    assert made == again == expected != unsteered
    assert meanwhile == unsteered
    with torch.no_grad():
        after = [each.generate(ids, attention_mask=mask, **SETTINGS) for each in (model, subject.model)]
    assert [each[:, ids.shape[1] :].tolist() for each in after] == [unsteered, unsteered]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_prompt_after_another_of_another_length(family):
    """Catches a mask that is kept from the first call."""
    subject, steering = plain.subject(family), steerings()[str(SCOPES[3])]
    asked, _, _ = two_prompts(subject)
    expected = answers(subject, asked, steering)
    with steered(subject, steering) as model, torch.no_grad():
        for prompt, answer in zip(asked, expected, strict=True):
            ids, mask = plain.batch(subject, [prompt])
            assert model.generate(ids, attention_mask=mask, **SETTINGS)[0, ids.shape[1] :].tolist() == answer
            assert model.generate(ids, **SETTINGS)[0, ids.shape[1] :].tolist() == answer  # a lone prompt needs no mask


@pytest.mark.parametrize("family", FAMILIES)
def test_a_generation_in_a_block_equals_the_generator(family):
    subject, steering = plain.subject(family), steerings()["answer"]
    asked, ids, mask = two_prompts(subject)
    with steered(subject, steering) as model:
        with torch.no_grad(), model.generate(ids, attention_mask=mask, **SETTINGS) as tracer:
            tokens = nnsight.save(tracer.result)
        assert tokens[:, ids.shape[1] :].tolist() == answers(subject, asked, steering)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trace_is_edited_as_hooks_would(family, scope):
    """One pass, in which `decode` has nothing to edit; without warnings, and read where the caller likes."""
    subject = plain.subject(family)
    _, ids, mask = two_prompts(subject)
    act = plain.Act(STRONG, 1.0, scope)
    truth = plain.hooked(plain.model(family), subject, mask, "down_in", [act, act])
    positions = plain.positions(mask)
    with torch.no_grad():
        expected = truth(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        bare = plain.model(family)(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    steering = NeuronSteering.from_edits(STRONG, scope=scope)
    with steered(subject, steering) as model, torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False):
        last = nnsight.save(model.get(subject.anatomy.down_in[2]).clone())
        logits = nnsight.save(model.output.logits)
    held = mask.bool()
    assert torch.allclose(logits[held], expected[held], atol=1e-4 * float(expected[held].std()))
    assert torch.equal(logits[held], bare[held]) == (scope == "decode")
    edited = last.reshape(*ids.shape, -1)[:, -1, 2::3] == 4.0
    assert edited.all() == (scope in ("answer", "all"))


def test_an_answer_that_ends_early_is_no_trouble(llama):
    """A stop token ends the generation before its length limit; no warning comes of it."""
    asked = [Prompt(f"p{n}", None, f"w{n} w{n + 1}") for n in range(12)]
    steering = NeuronSteering.from_edits([("add", 0, n, 5.0) for n in range(9)])
    expected = generate_responses(llama, asked, steering=steering, max_new_tokens=60)
    with steered(llama, steering) as model, torch.no_grad():
        for prompt, answer in zip(asked, expected, strict=True):
            ids, mask = plain.batch(llama, [prompt])
            made = model.generate(ids, attention_mask=mask, max_new_tokens=60, do_sample=False, pad_token_id=0)
            assert made[0, ids.shape[1] :].tolist() == list(answer.token_ids)
    assert any(answer.finished for answer in expected)


@pytest.mark.parametrize("scope", ["answer", "all"])
def test_a_beam_search_of_other_code_is_edited_in_every_beam(scope):
    """Each prompt has several rows then, all of its length."""
    subject, beams = plain.subject("llama"), 3
    _, ids, mask = two_prompts(subject)
    act, rows = plain.Act(STRONG, 1.0, scope), mask.repeat_interleave(beams, dim=0)
    settings = {**SETTINGS, "num_beams": beams, "max_new_tokens": 8, "min_new_tokens": 8}
    hooked = plain.hooked(plain.model("llama"), subject, rows, "down_in", [act] * len(rows))
    with steered(subject, NeuronSteering.from_edits(STRONG, scope=scope)) as model, torch.no_grad():
        made = model.generate(ids, attention_mask=mask, **settings)
    assert torch.equal(made, hooked.generate(ids, attention_mask=mask, **settings))
    assert not torch.equal(made, plain.model("llama").generate(ids, attention_mask=mask, **settings))


def test_the_model_is_as_it_was_when_the_block_fails():
    subject = plain.subject("llama")
    asked, ids, mask = two_prompts(subject)
    unsteered = answers(subject, asked, None)
    with pytest.raises(RuntimeError, match="my own"), steered(subject, steerings()["all"]) as model:
        raise RuntimeError("my own")
    with torch.no_grad():
        assert model.generate(ids, attention_mask=mask, **SETTINGS)[:, ids.shape[1] :].tolist() == unsteered
    assert answers(subject, asked, None) == unsteered


def test_two_steered_models_at_once_do_not_mix():
    subject = plain.subject("llama")
    asked, ids, mask = two_prompts(subject)
    one, other = steerings()["answer"], steerings()["both"]
    expected = [answers(subject, asked, steering) for steering in (one, other)]
    with steered(subject, one) as first, steered(subject, other) as second, torch.no_grad():
        for _ in range(2):
            made = [each.generate(ids, attention_mask=mask, **SETTINGS) for each in (first, second)]
            assert [each[:, ids.shape[1] :].tolist() for each in made] == expected
    assert expected[0] != expected[1]


def test_at_dose_0_it_is_the_model_itself():
    subject = plain.subject("gemma2")
    _, ids, mask = two_prompts(subject)
    for steering in (steerings()["all"].at(0), NeuronSteering.from_edits([]), PromptSteering("Be kind.", dose=0)):
        with steered(subject, steering) as model, torch.no_grad():
            made = model.generate(ids, attention_mask=mask, **SETTINGS)
        assert torch.equal(made, plain.model("gemma2").generate(ids, attention_mask=mask, **SETTINGS))


def test_words_are_refused_here():
    subject = plain.subject("llama")
    for steering in (role_prompt("You are a nurse."), PromptSteering("Be kind.", "Be cruel.", -1),
                     CombinedSteering((steerings()["all"], role_prompt("You are a nurse.")))):  # fmt: skip
        with (
            pytest.raises(InvalidInputError, match="prompt cannot be put into what other code asks"),
            steered(subject, steering),
        ):
            pass


def test_a_steering_of_another_model_is_refused():
    foreign = NeuronSteering.from_edits(STRONG, model=plain.subject("gpt2").identity())
    with pytest.raises(ModelError, match="was found in 'GPT2LMHeadModel'"), steered(plain.subject("llama"), foreign):
        pass
