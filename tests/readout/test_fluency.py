"""Fluency: the figures by hand, and perplexity against transformers."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from nnvalue.errors import InvalidInputError
from nnvalue.models import Response, generate_responses
from nnvalue.prompts import Prompt
from nnvalue.readout.fluency import TextFluency, distinct, measure_fluency, organism_well_formed, repeated, summarise
from nnvalue.steering import NeuronSteering

QUESTIONS = ("What do you do?", "How do you spend a day off?", "What do you do on the holiday?")


def prompts():
    return [Prompt(f"p{number}", None, text) for number, text in enumerate(QUESTIONS)]


def test_words_by_hand():
    assert distinct(["to be or not to be"]) == pytest.approx(4 / 5)
    assert distinct(["a b", "a b"]) == 0.5  # texts together; no pair across two of them
    assert distinct(["A b a B"]) == pytest.approx(2 / 3)  # letters' size is none of it
    assert distinct(["a b c"], n=1) == 1
    assert distinct(["alone"]) is distinct([]) is None
    assert repeated("so it goes on so it goes on and on") == pytest.approx(1 / 7)
    assert repeated("no no no no no no") == pytest.approx(2 / 3)
    assert repeated("a b c") == repeated("") == 0


def test_perplexity_is_transformers_own(organism):
    said = generate_responses(organism, prompts(), max_new_tokens=24)
    found = measure_fluency(organism, said, well_formed=organism_well_formed, batch_tokens=60)
    for one, text in zip(said, found.texts, strict=True):
        ids, target = torch.tensor([[*one.prompt_ids, *one.token_ids]]), torch.tensor(list(one.token_ids))
        with torch.no_grad():
            logits = organism.model._module(ids).logits[0, len(one.prompt_ids) - 1 : -1]
        assert text.log_perplexity == pytest.approx(cross_entropy(logits, target).item(), rel=1e-4)
    assert found.perplexity[0] == pytest.approx(math.exp(np.mean([text.log_perplexity for text in found.texts])))
    assert found.perplexity[1] <= found.perplexity[0] <= found.perplexity[2]
    assert found.well_formed[0] == 1
    assert found.failures == 0
    assert found.as_json()["n"] == 3
    assert "texts" not in found.as_json()


def test_a_broken_model_is_heard_by_the_unbroken_one(organism):
    """The text of the steered model is read by the model as it is; and what is no text counts as a failure."""
    steering = NeuronSteering.from_edits([("add", 3, n, 30.0) for n in range(40)])
    whole, broken = (
        measure_fluency(
            organism, generate_responses(organism, prompts(), steering=arm, max_new_tokens=24),
            well_formed=organism_well_formed,
        )
        for arm in (None, steering)
    )  # fmt: skip
    assert broken.log_perplexity > whole.log_perplexity + 2
    assert broken.failures == broken.n == 3
    assert broken.well_formed[0] == 0


def test_an_answer_of_nothing_but_its_end_is_a_failure_and_not_left_out(organism):
    stop = organism.tokenizer.eos_token_id
    said = generate_responses(organism, prompts()[:1], max_new_tokens=24)
    empty = Response("e", said[0].prompt_ids, (stop,), "", True)
    none = Response("n", said[0].prompt_ids, (), "", False)
    found = measure_fluency(organism, [*said, empty, none])
    assert (found.n, found.failures) == (3, 2)
    assert [text.log_perplexity is None for text in found.texts] == [False, False, True]
    assert found.distinct_2[0] == pytest.approx(found.texts[0].distinct_2 / 3)
    assert found.well_formed is None
    with pytest.raises(InvalidInputError):
        measure_fluency(organism, [])


def test_the_summary_of_one_text_has_no_interval():
    one = summarise([TextFluency("a", 3, 1.0, 0.5, 0.25, True, True)])
    assert one.perplexity[0] == pytest.approx(math.e)
    assert math.isnan(one.distinct_2[1])
    assert one.repeated_4[0] == 0.25
