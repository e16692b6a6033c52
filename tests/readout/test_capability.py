"""Held-out likelihood and the harness's tasks, with and without a steering."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from nnvalue.dataset.contrast import SENTENCE_QUESTION
from nnvalue.errors import DatasetError, InvalidInputError
from nnvalue.models import encode_prompt
from nnvalue.prompts import Prompt
from nnvalue.readout.capability import held_out_nll, lm_eval_tasks
from nnvalue.steering import NeuronSteering, value_prompt

BREAKING = NeuronSteering.from_edits([("add", 3, n, 3.0) for n in range(40)], scope="all")
TEXTS = ["I keep the old custom.", "My family matters to me.", "I would take a position of influence.", "I share."]


def by_transformers(subject, before, text):
    with torch.no_grad():
        logits = subject.model._module(torch.tensor([[*before, *text]])).logits[0, len(before) - 1 : -1]
    return cross_entropy(logits, torch.tensor(text), reduction="sum").item()


def test_texts_that_stand_alone(organism):
    found = held_out_nll(organism, TEXTS, batch_tokens=20)
    ids = [organism.tokenizer(text)["input_ids"] for text in TEXTS]
    lost = sum(by_transformers(organism, one[:1], one[1:]) for one in ids)
    assert found.tokens == sum(map(len, ids)) - len(ids)
    assert found.nll == pytest.approx(lost / found.tokens, rel=1e-4)
    assert found.steered_nll is found.difference is found.steering is None


def test_the_datasets_own_sentences_as_answers(organism, edition):
    few = edition.sentences.select([n for n, part in enumerate(edition.sentences["split"]) if part == "test"][:6])
    found = held_out_nll(organism, edition=replace(edition, sentences=few), steering=BREAKING.at(8))
    before = encode_prompt(organism.tokenizer, Prompt("", None, SENTENCE_QUESTION))
    said = [row[pole] for row in few for pole in ("positive", "negative")]
    ids = [organism.tokenizer(text, add_special_tokens=False)["input_ids"] for text in said]
    assert found.n == 12
    assert found.question == SENTENCE_QUESTION
    assert found.nll == pytest.approx(
        sum(by_transformers(organism, before, one) for one in ids) / found.tokens, rel=1e-4
    )
    assert found.difference == pytest.approx(found.steered_nll - found.nll)
    assert 0 < found.low < found.difference < found.high
    assert found.steering["scope"] == "all"
    none = replace(edition, sentences=edition.sentences.select([]))
    with pytest.raises(DatasetError):
        held_out_nll(organism, edition=none)


def test_dose_0_costs_nothing_and_words_go_before_the_question(organism, edition):
    nothing = held_out_nll(organism, TEXTS, steering=BREAKING.at(0))
    assert (nothing.difference, nothing.low, nothing.high) == (0, 0, 0)
    words = value_prompt(edition, "tradition")
    found = held_out_nll(organism, TEXTS, steering=words, question="What do you do?")
    asked = words.speak(Prompt("", None, "What do you do?"))
    before = encode_prompt(organism.tokenizer, asked)
    ids = [organism.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    lost = sum(by_transformers(organism, before, one) for one in ids)
    assert found.steered_nll == pytest.approx(lost / found.tokens, rel=1e-4)


def test_bad_input(organism, edition):
    with pytest.raises(InvalidInputError, match="decode"):
        held_out_nll(organism, TEXTS, steering=NeuronSteering.from_edits([("add", 1, 1, 1.0)], scope="decode"))
    with pytest.raises(InvalidInputError, match="give question"):
        held_out_nll(organism, TEXTS, steering=value_prompt(edition, "power"))
    with pytest.raises(InvalidInputError, match="none given"):
        held_out_nll(organism, [])
    with pytest.raises(InvalidInputError, match="at least one token"):
        held_out_nll(organism, [""])


def test_without_the_harness_one_sentence_names_the_extra(organism, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InvalidInputError, match="nnvalue\\[lm-eval\\]"):
        lm_eval_tasks(organism, ["arc_easy"])


def tasks_in(folder):
    """A multiple choice, a perplexity and a generation task of three examples, from a file."""
    rows = [
        ("What do you do on the holiday?", (" I keep the old custom.", " I drop the old custom."), 0),
        ("Do you take the lead?", (" I take a position of influence.", " No."), 1),
        ("How do you spend a day off?", (" y", " z z"), 0),
    ]
    file = folder / "tasks.jsonl"
    lines = [json.dumps({"q": question, "choices": choices, "gold": gold}) for question, choices, gold in rows]
    file.write_text("\n".join(lines))
    base = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}}, "test_split": "test"}
    stop = {"until": ["."], "max_gen_toks": 12, "do_sample": False}
    return [
        {**base, "task": "choice", "output_type": "multiple_choice", "doc_to_text": "{{q}}",
         "doc_to_choice": "{{choices}}", "doc_to_target": "gold", "metric_list": [{"metric": "acc"}]},
        {**base, "task": "rolling", "output_type": "loglikelihood_rolling", "doc_to_text": "",
         "doc_to_target": "{{q}}{{choices[0]}}", "metric_list": [{"metric": "word_perplexity"}]},
        {**base, "task": "saying", "output_type": "generate_until", "doc_to_target": "{{choices[0]}}",
         "doc_to_text": "<user>{{q}}<assistant>", "generation_kwargs": stop,
         "metric_list": [{"metric": "exact_match"}]},
    ]  # fmt: skip


def said(result):
    return {
        task: [one[0] if isinstance(one, tuple | list) else one for row in rows for one in row["resps"][0]]
        for task, rows in result["samples"].items()
    }


def test_the_harness_gives_the_numbers_of_its_own_model(organism, tmp_path, monkeypatch):
    """The same tasks through lm_eval's HFLM on the bare module, batched there on the right."""
    lm_eval = pytest.importorskip("lm_eval")
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    tasks = tasks_in(tmp_path)
    theirs = huggingface.HFLM(pretrained=organism.model._module, tokenizer=organism.tokenizer, batch_size=2)
    expected = lm_eval.simple_evaluate(theirs, tasks=tasks, bootstrap_iters=0)
    found = lm_eval_tasks(organism, tasks, bootstrap_iters=0)
    for task, rows in said(expected).items():
        for one, other in zip(said(found)[task], rows, strict=True):
            assert one == (other if isinstance(other, str | bool) else pytest.approx(other, rel=1e-4)), task
    assert found["results"]["choice"]["acc,none"] == expected["results"]["choice"]["acc,none"]
    steered = lm_eval_tasks(organism, tasks, steering=BREAKING, bootstrap_iters=0)
    assert steered["results"]["rolling"]["word_perplexity,none"] > found["results"]["rolling"]["word_perplexity,none"]
    assert said(steered)["saying"] != said(found)["saying"]
    assert steered["steering"]["scope"] == "all"
    at_0 = lm_eval_tasks(organism, tasks, steering=BREAKING.at(0), bootstrap_iters=0)
    assert said(at_0) == said(found)
    assert len(np.unique(list(at_0["n-samples"]["choice"].values()))) == 1


def test_the_harness_refuses_words(organism, edition):
    pytest.importorskip("lm_eval")
    with pytest.raises(InvalidInputError, match="steer by edits"):
        lm_eval_tasks(organism, ["arc_easy"], steering=value_prompt(edition, "power"))
