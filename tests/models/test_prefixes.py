"""What prompts share is computed once, and nothing comes out otherwise than prompt by prompt in plain transformers."""

import pytest
import torch

from nnvalue.models import encode_prompt, next_token_logits, option_log_probabilities
from nnvalue.models.decoding import Asked
from nnvalue.models.prefixes import levels_of, plan_shared
from nnvalue.prompts import Prompt
from nnvalue.steering import NeuronSteering
from tests import tiny

OPTIONS = ("w3", "w7", "w11")
CLOSE = 2e-3  # as for whole prompts: activations of these models are far from zero


def words(start, count):
    return " ".join(f"w{(7 * start + 3 * k) % 58}" for k in range(count))


def questionnaire():
    """Two people, four items of different lengths, each with two endings; and somebody who is asked a single thing."""
    items = [(words(n, 3 + 2 * n), ending) for n in range(4) for ending in ("w1 w2", "w2 w1 w5")]
    asked = [(words(50 + who, 14 + who), item, ending) for who in range(2) for item, ending in items]
    prompts = [Prompt(f"p{n}", who, f"{item} w9 w8 w9 {ending}") for n, (who, item, ending) in enumerate(asked)]
    return [*prompts, Prompt("alone", None, "w5 w6")]


def alone(subject, prompt):
    ids = torch.tensor([encode_prompt(subject.tokenizer, prompt)])
    with torch.no_grad():
        return subject.model._module(ids).logits[0, -1].float().log_softmax(-1)


@pytest.mark.parametrize("batch_tokens", [100, 2000])
def test_every_architecture_goes_on_from_what_is_shared(subject, batch_tokens):
    """A position counted from the wrong token, a hole that is attended to, another prompt's keys."""
    found = option_log_probabilities(subject, questionnaire(), OPTIONS, batch_tokens=batch_tokens)
    places = [subject.tokenizer.convert_tokens_to_ids(option) for option in OPTIONS]
    expected = torch.stack([alone(subject, prompt)[places] for prompt in questionnaire()])
    assert torch.allclose(found, expected, atol=CLOSE)


def test_less_is_computed(llama):
    asked = Asked(llama, questionnaire(), None)
    together, apart = plan_shared(asked.encoded, asked.owners(), 2000)
    assert sorted(row for rows in together for row in rows) == list(range(16))
    assert apart == [[16]]
    computed = sum(
        int(own.sum()) for rows in together for _, own, *_ in levels_of(asked.encoded, asked.owners(), rows, 0)
    )
    assert computed < 0.55 * sum(map(len, asked.encoded[:16]))


def test_a_window_narrower_than_the_padding_rules_it_out(llama):
    """Keys that fell out of a sliding window would be missing."""
    asked = Asked(llama, questionnaire(), None)
    longest = max(map(len, asked.encoded))
    assert plan_shared(asked.encoded, asked.owners(), 2000, 3 * longest)[0]
    together, apart = plan_shared(asked.encoded, asked.owners(), 2000, longest)
    assert not together
    assert sorted(row for rows in apart for row in rows) == list(range(17))


def test_batches_hold_the_budget(llama):
    asked = Asked(llama, questionnaire(), None)
    for budget in (40, 100, 300):
        together, apart = plan_shared(asked.encoded, asked.owners(), budget)
        for rows in together + apart:
            assert len(rows) == 1 or len(rows) * max(len(asked.encoded[row]) for row in rows) <= budget
        assert sorted(row for rows in together + apart for row in rows) == list(range(17))


@pytest.mark.parametrize("scope", ["answer", "all", [[2, 6]]])
def test_edits_act_where_they_should(subject, scope):
    """Of the scope `all`, the shared beginning is edited too; of spans nothing is shared."""
    edits = [("add", 1, n, 6.0) for n in range(9)] + [("scale", 2, 3, -2.0)]
    steering = NeuronSteering.from_edits(edits, site="down_in", scope=scope)
    steerings = [steering if n % 3 else None for n in range(17)]  # neighbours with edits and without
    steered = option_log_probabilities(subject, questionnaire(), OPTIONS, steering=steerings, batch_tokens=400)
    places = [subject.tokenizer.convert_tokens_to_ids(option) for option in OPTIONS]
    logits = next_token_logits(subject, questionnaire(), steering=steerings)
    assert torch.allclose(steered, logits.log_softmax(-1)[:, places], atol=CLOSE)
    moved = steered - option_log_probabilities(subject, questionnaire(), OPTIONS, batch_tokens=400)
    assert moved[1::3].abs().max() > 0.05
    assert moved[::3].abs().max() < CLOSE


def test_a_dose_of_nothing_changes_no_bit(llama):
    steering = NeuronSteering.from_edits([("add", 1, n, 6.0) for n in range(9)]).at(0)
    found = option_log_probabilities(llama, questionnaire(), OPTIONS, steering=steering)
    assert torch.equal(found, option_log_probabilities(llama, questionnaire(), OPTIONS))


def test_families_with_a_window_are_among_those_tested(subjects):
    windows = [subjects[family].config.get_text_config() for family in tiny.FAMILIES]
    assert any(getattr(config, "sliding_window", None) for config in windows)
