"""Judged text, fluency, capability and a local judge on the stand-in server, against the local run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnvalue.dataset import generate_roles, neutral_prompt
from nnvalue.llm import CompletionClient, LocalModel, Request
from nnvalue.models import generate_responses, negative_log_likelihoods, open_model
from nnvalue.readout.autodose import largest_dose
from nnvalue.readout.capability import held_out_nll
from nnvalue.readout.fluency import measure_fluency, organism_well_formed
from nnvalue.readout.judging import ParserJudge, Text
from nnvalue.readout.ranking import RankingJudge, sentence_anchors
from nnvalue.readout.rating import LLMJudge
from nnvalue.readout.rubrics import Rubrics
from nnvalue.readout.text import judged_profile
from nnvalue.steering import DirectionSteering, NeuronSteering
from nnvalue.steering_protocol import Sampling
from nnvalue.values import load_framework

FRAMEWORK = load_framework("schwartz")
SCOPES = ("answer", "all", [(0, 3), (6, None)])
TEXTS = ["I keep the old custom.", "My family matters to me.", "I share.", "I would take a position of influence."]


def push(scope="answer", dose=1.0):
    edits = [("add", 2, n, 1.5 * (-1) ** n) for n in range(30)] + [("scale", 3, 5, 0.0), ("set", 1, 9, 2.0)]
    return NeuronSteering.from_edits(edits, scope=scope, dose=dose)


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_likelihoods_are_those_of_a_local_run(organism, remote, server, scope):
    encode = organism.tokenizer
    texts = [(encode("What do you do?")["input_ids"], encode(text)["input_ids"]) for text in TEXTS]
    along = DirectionSteering("residual", (1,), torch.linspace(-3, 3, 192).view(1, -1), scope=scope)
    for steering in (None, push(scope), along):
        here = negative_log_likelihoods(organism, texts, steering=steering, batch_tokens=30)
        before = len(server.requests())
        there = negative_log_likelihoods(remote, texts, steering=steering, batch_tokens=30)
        assert len(server.requests()) == before + 1  # all batches in one request
        assert torch.allclose(there, here, atol=1e-3)
        rehearsed = negative_log_likelihoods(open_model(remote="dry-run"), texts, steering=steering, batch_tokens=30)
        assert torch.equal(rehearsed, here)
    assert all(value.is_meta for value in remote.model._module.parameters())


def test_judged_profiles_are_those_of_a_local_run(organism, remote, edition):
    settings = {
        "steering": push(), "sampling": Sampling(0.8, seed=1), "situations": 4, "max_new_tokens": 32,
        "batch_tokens": 900,
    }  # fmt: skip
    voices = generate_roles(2, seed=5)
    here, there = (
        judged_profile(subject, ParserJudge(FRAMEWORK), edition, ["power", "tradition"], voices, **settings)
        for subject in (organism, remote)
    )
    for name in ("scores", "low", "high", "n"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
    assert here.answers == there.answers
    assert len({row["answer"] for row in here.answers}) > 8
    assert there.readout["model"]["runs_on"] != here.readout["model"]["runs_on"]


def test_a_judge_on_a_server_says_what_it_says_here(organism, remote, edition):
    texts = [Text(f"t{n}", "What do you do?", text, "power") for n, text in enumerate(TEXTS)]
    rubrics, anchors = Rubrics(FRAMEWORK), sentence_anchors(edition, ["power"], pairs=1)
    for make in (
        lambda client: LLMJudge(client, rubrics, samples=2),
        lambda client: LLMJudge(client, rubrics, samples=2, log_probabilities=False),
        lambda client: RankingJudge(client, rubrics, anchors),
    ):
        here, there = (make(CompletionClient(LocalModel(subject))).judge(texts) for subject in (organism, remote))
        assert [one.outcome for one in here] == [one.outcome for one in there]
        for one, other in zip(here, there, strict=True):
            assert one.stance == (None if other.stance is None else pytest.approx(other.stance, abs=1e-4))
            assert len(one.raw) == len(other.raw)


def test_log_probabilities_are_those_of_a_local_run(organism, remote):
    requests = [Request((("user", text),), 0, 1, top_logprobs=4) for text in ("What do you do?", *TEXTS)]
    here, there = (CompletionClient(LocalModel(subject)).complete(requests) for subject in (organism, remote))
    for one, other in zip(here, there, strict=True):
        assert one.text == other.text
        assert [token for token, _ in one.logprobs[0]] == [token for token, _ in other.logprobs[0]]
        assert [v for _, v in one.logprobs[0]] == pytest.approx([v for _, v in other.logprobs[0]], abs=1e-4)


def test_fluency_capability_and_the_largest_dose_are_those_of_a_local_run(organism, remote, edition):
    prompts = [neutral_prompt(row) for row in edition.situations if row["split"] == "locate"][:4]
    said = generate_responses(organism, prompts, steering=push(), max_new_tokens=24)
    found = [
        {
            "fluency": measure_fluency(subject, said, well_formed=organism_well_formed).as_json(),
            "held out": held_out_nll(subject, TEXTS, steering=push("all"), question="What do you do?").as_json(),
            "dose": largest_dose(subject, push(), prompts, 0.3, most=1, steps=2, max_new_tokens=24).as_json(),
        }
        for subject in (organism, remote)
    ]
    assert flat(found[0]) == pytest.approx(flat(found[1]), abs=1e-4)
    assert found[0]["dose"]["dose"] == found[1]["dose"]["dose"]
    assert found[0]["held out"]["difference"] != 0


def flat(data):
    """Every number in it, in order."""
    if isinstance(data, dict):
        return [number for value in data.values() for number in flat(value)]
    if isinstance(data, list | tuple):
        return [number for value in data for number in flat(value)]
    return [float(data)] if isinstance(data, int | float) else []
