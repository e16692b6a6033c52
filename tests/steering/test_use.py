"""The verb `generate`, what a run under steering keeps, and what a trace does to a model meanwhile."""

import pytest
import torch
from nnsight.intervention.source import Controller

import nnvalue
from nnvalue import generate
from nnvalue.artifacts import Journal
from nnvalue.errors import InvalidInputError
from nnvalue.models import generate_responses, next_token_logits, open_model
from nnvalue.models.decoding import only_reporting
from nnvalue.prompts import Prompt
from nnvalue.steering import DirectionSteering, NeuronSteering, Sampling
from tests import tiny

LOUD = NeuronSteering.from_edits([("add", 1, 3, 60.0), ("add", 1, 5, -60.0)])
ASKED = "w1 w2 w3"


def texts(responses):
    return [response.text for response in responses]


def test_equal_texts_draw_alike_under_different_steerings_and_apart_under_one(llama):
    drawn = {"temperature": 1.5, "max_new_tokens": 12}
    arms = texts(generate(llama, [ASKED] * 3, steering=[None, LOUD.at(0), LOUD], **drawn))
    assert arms[0] == arms[1]
    one, again = texts(generate(llama, [ASKED] * 2, **drawn))
    assert one == arms[0]
    assert one != again


def test_top_k_without_a_temperature_is_refused(llama):
    with pytest.raises(InvalidInputError, match="give a temperature too"):
        generate(llama, ASKED, top_k=5)


def test_a_journal_tells_steerings_and_samplings_apart(llama, tmp_path):
    """One journal and one key: what was generated under another dose or seed must not pass for this one's."""
    prompt = [Prompt("p", None, ASKED)]
    kinds = [{}, {"steering": LOUD}, {"steering": LOUD.at(0.5)}, {"sampling": Sampling(1.5)}, {"sampling": Sampling(1)}]
    with Journal(tmp_path / "w", {}) as journal:
        for _ in range(2):
            for kind in kinds:
                kept = texts(generate_responses(llama, prompt, max_new_tokens=12, journal=journal, **kind))
                assert kept == texts(generate_responses(llama, prompt, max_new_tokens=12, **kind))
        assert len(journal.json_keys("responses")) == len(kinds)


def test_a_model_whose_weights_have_changed_is_another_one(llama):
    subject = open_model(tiny.model("llama"), tokenizer=tiny.tokenizer())
    before = subject.identity()
    assert before["weights_sample_sha256"] == llama.identity()["weights_sample_sha256"]
    next(subject.model._module.parameters()).data.mul_(2)
    assert subject.identity()["weights_sample_sha256"] != before["weights_sample_sha256"]
    subject.tokenizer.chat_template = "{{ messages }}"
    assert subject.identity()["chat_template_sha256"] != before["chat_template_sha256"]


def instrumented(model):
    return [type(module.__dict__.get("forward")) is Controller for module in model._module.modules()]


def test_only_the_modules_that_are_read_stop_for_a_trace_and_all_do_again_afterwards(llama):
    model, site = llama.model, llama.anatomy.down_in[1]
    assert all(instrumented(model))

    def interrupted():
        with only_reporting(model, [site]):
            meanwhile.extend(instrumented(model))
            meanwhile.append(type(model._module.get_submodule(site.rpartition(".")[0]).forward) is Controller)
            raise KeyboardInterrupt

    meanwhile = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sum(meanwhile[:-1]) == 1
    assert meanwhile[-1]
    assert all(instrumented(model))
    with only_reporting(model, [site], backend=object()):
        assert all(instrumented(model))  # a server's model is not ours to change


def test_a_hook_of_somebody_elses_still_acts(llama):
    """Hooks are no part of a module's forward, which is what is exchanged meanwhile."""
    seen = []
    handle = llama.model._module.get_submodule("model.layers.0").register_forward_hook(lambda *_: seen.append(1))
    try:
        made = generate_responses(llama, [Prompt("p", None, ASKED)], steering=LOUD, max_new_tokens=4)
    finally:
        handle.remove()
    assert len(seen) == len(made[0].token_ids)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_edits_are_computed_in_float32_whatever_the_model_is_in(dtype):
    """In half precision a factor of 1.003 would be 1, a target of 7e4 would spoil its neighbours with NaN."""
    subject = open_model(tiny.model("llama").to(dtype), tokenizer=tiny.tokenizer())
    prompt = [Prompt("p", None, ASKED)]
    site = subject.anatomy.down_in[1]
    kept = {}

    def seen(steering):
        mask = torch.ones(1, 3, dtype=torch.long)
        edits = steering.edits(subject.anatomy)
        with torch.no_grad(), subject.model.trace(torch.tensor([[7, 8, 9]]), attention_mask=mask) as tracer:
            nnvalue.traces.apply_edits(subject.model, edits, mask)
            kept["a"] = nnvalue.traces.read_activation(subject.model, site).clone().save()
            tracer.stop()
        return kept["a"][0, -1]

    plain = seen(NeuronSteering.from_edits([]))
    scaled = seen(NeuronSteering.from_edits([("scale", 1, n, 1.003) for n in range(tiny.WIDTH)]))
    assert torch.equal(scaled, (plain.float() * 1.003).to(dtype))
    mixed = seen(NeuronSteering.from_edits([("set", 1, 0, 3e4), ("scale", 1, 1, 1.0)]))
    assert mixed[1:].equal(plain[1:])
    small = torch.full((1, 32), 1e-4)
    goal = DirectionSteering("residual", (1,), small, torch.zeros(1), goal=0.99)
    assert next_token_logits(subject, prompt, steering=goal).isfinite().all()
