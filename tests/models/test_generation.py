import pytest
import torch

from nnvalue.artifacts import Journal
from nnvalue.errors import InvalidInputError, ModelError
from nnvalue.models import encode_prompt, generate_responses, generation
from nnvalue.prompts import Prompt
from tests import tiny

PROMPTS = [
    Prompt(f"p{n}", " ".join(tiny.WORDS[n : n + 2 + n % 3]), " ".join(tiny.WORDS[2 * n : 2 * n + 1 + n % 5]))
    for n in range(9)
]


def test_batched_responses_equal_plain_transformers_one_by_one(subjects):
    """Catches wrong padding, wrong positions, a lost stop token, responses in the wrong order."""
    for family, subject in subjects.items():
        made = generate_responses(subject, PROMPTS, max_new_tokens=8, batch_tokens=60)
        plain = tiny.model(family)
        for prompt, response in zip(PROMPTS, made, strict=True):
            ids = torch.tensor([encode_prompt(subject.tokenizer, prompt)])
            out = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
            assert response.prompt_id == prompt.id
            assert list(response.token_ids) == out[0, ids.shape[1] :].tolist(), family


def test_a_stop_token_ends_a_response_and_is_not_fed():
    tokens = generation._until_stop([9, 8, 1, 0, 0], stops=(1,))
    response = generation.Response("p", (5,), tuple(tokens), "", True)
    assert response.token_ids == (9, 8, 1)
    assert response.fed_ids == (9, 8)


def test_penalties_and_sampling_of_a_checkpoint_are_off(tmp_path):
    model = tiny.model("llama")
    plain = generate_responses(generation_subject(model), PROMPTS[:3], max_new_tokens=8)
    model.generation_config.update(
        do_sample=True, temperature=3.0, repetition_penalty=1.5, suppress_tokens=[20, 21], max_time=0.0
    )
    assert generate_responses(generation_subject(model), PROMPTS[:3], max_new_tokens=8) == plain
    assert model.generation_config.temperature == 3.0  # the model is left as it was


def test_settings_that_a_call_cannot_take_back_are_refused():
    model = tiny.model("llama")
    model.generation_config.update(forced_eos_token_id=1, stop_strings=["w3"])
    with pytest.raises(ModelError, match="ask for forced_eos_token_id, stop_strings"):
        generate_responses(generation_subject(model), PROMPTS[:1], max_new_tokens=4)


def generation_subject(model):
    from nnvalue.models import open_model

    return open_model(model, tokenizer=tiny.tokenizer())


def test_batches_in_the_journal_are_not_generated_again(llama, tmp_path, monkeypatch):
    calls = []
    real = generation.generate_batches

    def counted(model, batches, settings, backend):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(batches))
        return real(model, batches, settings, backend)

    monkeypatch.setattr(generation, "generate_batches", counted)
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "w", {}) as journal:
        generate_responses(llama, PROMPTS, max_new_tokens=8, batch_tokens=40, journal=journal)
    stopped_after = len(calls)
    monkeypatch.setattr(generation, "generate_batches", lambda *a: calls.append(0) or real(*a))
    with Journal(tmp_path / "w", {}) as journal:
        resumed = generate_responses(llama, PROMPTS, max_new_tokens=8, batch_tokens=40, journal=journal)
    monkeypatch.setattr(generation, "generate_batches", real)
    plan = generation.plan_batches([len(encode_prompt(llama.tokenizer, p)) + 8 for p in PROMPTS], 40)
    assert stopped_after == 2
    assert len(calls) == len(plan) > 3
    assert resumed == generate_responses(llama, PROMPTS, max_new_tokens=8, batch_tokens=40)


def test_impossible_requests_are_refused(llama):
    with pytest.raises(InvalidInputError, match="max_new_tokens=0"):
        generate_responses(llama, PROMPTS, max_new_tokens=0)
    with pytest.raises(InvalidInputError, match="room for 1024"):
        generate_responses(llama, PROMPTS, max_new_tokens=1020)
    with pytest.raises(InvalidInputError, match="share an id"):
        generate_responses(llama, [PROMPTS[0], PROMPTS[0]])


@pytest.mark.parametrize("first", [200, 4096])
def test_batches_of_another_size_are_not_taken_for_the_same(organism, tmp_path, first):
    """A resumed run with another batch size has other batches under the same numbers."""
    prompts = [Prompt(str(n), None, "What do you do?" * (n % 3 + 1)) for n in range(9)]
    whole = generate_responses(organism, prompts, max_new_tokens=6)
    with Journal(tmp_path / "work", {}) as journal:
        generate_responses(organism, prompts, max_new_tokens=6, journal=journal, batch_tokens=first)
        again = generate_responses(organism, prompts, max_new_tokens=6, journal=journal, batch_tokens=700)
    assert again == whole
