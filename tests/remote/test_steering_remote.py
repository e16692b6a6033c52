"""Steering on the stand-in server against the local run. What runs there has never heard of nnvalue."""

from __future__ import annotations

from dataclasses import replace

import nnsight
import pytest
import torch
from transformers import AutoModelForCausalLM

from nnvalue import locate
from nnvalue.artifacts import Journal
from nnvalue.models import generate_responses, open_model
from nnvalue.models.decoding import next_token_logits
from nnvalue.organism import folder
from nnvalue.prompts import Prompt
from nnvalue.steering import (
    CombinedSteering,
    DirectionSteering,
    NeuronSteering,
    Sampling,
    direction_steering,
    learn_directions,
    matched_random,
    neuron_steering,
    steered,
    value_prompt,
)
from tests.remote.conftest import SENTINEL
from tests.steering import plain
from tests.traces.test_steering_stranger import Chosen, asked_of, hooked_answers, run_script

WIDTH, HIDDEN = 512, 128
QUESTIONS = ("What do you do?", "How do you spend a day off?", "Do you take the lead?", "What matters?")
DRAWN = Sampling(temperature=1.3, top_k=50, top_p=0.95, seed=4)


@pytest.fixture(scope="module")
def found():
    return locate(values=("power",), situations=6, folds=2, null=False)


@pytest.fixture(scope="module")
def arms(found, edition):
    """One of every kind, at several doses and scopes, and nothing."""
    effect = neuron_steering(found, "power", dose=20.0)
    coins = neuron_steering(found, "power", mode="npti", dose=20, keep=0.5, seed=2, scope="decode")
    spans = neuron_steering(found, "power", "negative", mode="clamp_range", scope=[(0, 4), (9, None)])
    along = DirectionSteering("residual", (1, 3), torch.linspace(-3, 3, 2 * hidden()).view(2, -1), scope="all")
    probe = DirectionSteering("mlp_out", (2,), along.vectors[:1], torch.tensor([-0.5]), goal=0.9)
    words = value_prompt(edition, "power")
    mixed = CombinedSteering((words, matched_random(effect, WIDTH), probe))
    return [None, effect, effect.at(-1), coins, spans, along, probe.at(-0.5), words, mixed]


def hidden():
    return open_model().config.hidden_size


def asked(count):
    return [Prompt(f"q{n // 2}", None, QUESTIONS[n % len(QUESTIONS)]) for n in range(count)]


@pytest.mark.parametrize("sampling", [None, DRAWN], ids=["greedy", "drawn"])
def test_steered_responses_are_those_of_a_local_run(organism, remote, server, arms, sampling):
    """All arms share batches, of several cut sizes, and all batches go in one request."""
    settings = {"steering": arms, "sampling": sampling, "max_new_tokens": 16, "batch_tokens": 150}
    here = generate_responses(organism, asked(len(arms)), **settings)
    before = len(server.requests())
    assert generate_responses(remote, asked(len(arms)), **settings) == here
    assert len(server.requests()) == before + 1
    unsteered = generate_responses(organism, asked(len(arms)), **{**settings, "steering": [None] * len(arms)})
    assert sum(one.token_ids != other.token_ids for one, other in zip(here, unsteered, strict=True)) >= 5
    assert all(value.is_meta for value in remote.model._module.parameters())


def test_a_dry_run_gives_the_same(organism, arms):
    settings = {"steering": arms, "sampling": DRAWN, "max_new_tokens": 8, "batch_tokens": 150}
    rehearsed = open_model(remote="dry-run")
    prompts = asked(len(arms))
    assert generate_responses(rehearsed, prompts, **settings) == generate_responses(organism, prompts, **settings)
    settings = {"steering": [None if arm is arms[3] else arm for arm in arms], "batch_tokens": 60}
    assert torch.equal(
        next_token_logits(organism, prompts, **settings), next_token_logits(rehearsed, prompts, **settings)
    )


def test_logits_of_one_pass_are_those_of_a_local_run(organism, remote, server, arms):
    prompts = asked(len(arms))
    without = [None if arm is arms[3] else arm for arm in arms]  # which is of scope decode
    before = len(server.requests())
    there = next_token_logits(remote, prompts, steering=without, batch_tokens=60)
    assert len(server.requests()) == before + 1
    here = next_token_logits(organism, prompts, steering=without, batch_tokens=60)
    assert torch.allclose(there, here, atol=1e-4)  # the server may use several threads
    assert not torch.isclose(there[1:], next_token_logits(organism, prompts)[1:]).all(1)[[0, 4, 6, 7]].any()


@pytest.mark.parametrize("place", ["residual", "mlp_out"])
def test_learned_directions_are_those_of_a_local_run(organism, remote, server, found, place):
    before = len(server.requests())
    there = learn_directions(remote, found, place=place, batch_tokens=300)
    assert len(server.requests()) == before + 1
    here = learn_directions(organism, found, place=place, batch_tokens=300)
    for name in ("difference", "norm", "weights", "bias", "accuracy"):
        assert torch.equal(getattr(there, name), getattr(here, name)), name
    assert there.difference.abs().sum() > 0
    direction_steering(there, "power").require_model(organism.identity())  # the weights are not known, all else fits
    rehearsed = learn_directions(open_model(remote="dry-run"), found, place=place, batch_tokens=300)
    assert torch.equal(rehearsed.difference, here.difference)


def test_a_stopped_run_goes_on_there_with_the_same_draws(organism, remote, arms, tmp_path):
    """The first two batches come from a local journal, the rest from the server; noise and edits are the rows' own."""
    prompts, settings = asked(len(arms)), {"sampling": DRAWN, "max_new_tokens": 8, "batch_tokens": 80}
    whole = generate_responses(organism, prompts, steering=arms, **settings)
    done = []

    def stop_after_two(stage, count, total):
        done.append(count)
        if len({each for each in done if each}) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "w", {}) as journal:
        generate_responses(organism, prompts, steering=arms, journal=journal, progress=stop_after_two, **settings)
    with Journal(tmp_path / "w", {}) as journal:
        assert 0 < len(journal.json_keys("responses")) < 9
        assert generate_responses(remote, prompts, steering=arms, journal=journal, **settings) == whole


def batch(subject):
    return plain.batch(subject, [Prompt("a", None, QUESTIONS[0]), Prompt("b", None, QUESTIONS[1])])


def generated(model, ids, mask, remote):
    settings = {"max_new_tokens": 10, "min_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad(), model.generate(ids, attention_mask=mask, **settings, remote=remote) as tracer:
        tokens = nnsight.save(tracer.result)
    return tokens


def passed(model, ids, mask, remote):
    with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False, remote=remote):
        logits = nnsight.save(model.output.logits[:, -1])
    return logits


def test_a_steered_model_in_other_hands_works_there_too(organism, remote, server, arms):
    """nnsight's own client, in a block of the other code."""
    ids, mask = batch(organism)
    unsteered = generated(organism.model, ids, mask, False)
    strong = [replace(arms[1], dose=60, scope=scope) for scope in ("answer", "decode", "all", [(2, 9), (14, 18)])]
    for steering in (*strong, arms[5]):
        with steered(organism, steering) as model:
            here = generated(model, ids, mask, False), passed(model, ids, mask, False)
        with steered(remote, steering) as model:
            there = generated(model, ids, mask, server.url), passed(model, ids, mask, server.url)
        assert torch.equal(there[0], here[0])
        assert torch.allclose(there[1], here[1], atol=1e-3)
        assert not torch.equal(here[0], unsteered)
        assert torch.equal(generated(remote.model, ids, mask, server.url), unsteered)
    assert all(value.is_meta for value in remote.model._module.parameters())


def test_a_strangers_script_gives_there_what_hooks_give(server, tmp_path):
    sites = ["model.layers.1.mlp.act_fn.output", "model.layers.3.mlp.down_proj.input"]
    request = asked_of(sites)
    there = run_script(tmp_path, folder(), request, server.url, key=SENTINEL)
    noise = Chosen([11, 12], 2.0, 5, 20)
    assert there["greedy"] == hooked_answers(AutoModelForCausalLM.from_pretrained(folder()), request)
    assert there["drawn"] == hooked_answers(AutoModelForCausalLM.from_pretrained(folder()), request, noise)
    assert there["rooms"] == ["nnvalue", "nnvalue.traces"]


def test_nothing_of_nnvalue_but_traces_is_needed_there(server, remote):
    """The server has no nnvalue: code of another room of it that travelled by name would be missed there."""
    edit = NeuronSteering.from_edits([("add", 0, 1, 1.0)])
    assert len(generate_responses(remote, asked(1), steering=edit, max_new_tokens=2)) == 1
    assert not any(path.name.startswith("nnvalue") for path in (server.state / "packages" / "site-packages").iterdir())
