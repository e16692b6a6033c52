"""Probabilities of options against plain transformers: no nnvalue on the other side."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nnvalue.artifacts import Journal
from nnvalue.errors import InvalidInputError
from nnvalue.models import encode_prompt, next_token_logits, open_model, option_log_probabilities, render_prompt
from nnvalue.models.options import option_tokens
from nnvalue.prompts import Prompt
from nnvalue.steering import NeuronSteering
from nnvalue.values.forms import forms
from tests import tiny

OPTIONS = ("w3", "w7", "w11")


def prompts():
    lengths = (2, 9, 5, 1, 7)
    words = [" ".join(f"w{(3 * n + k) % 58}" for k in range(length)) for n, length in enumerate(lengths)]
    return [Prompt(f"p{n}", "w1 w2" if n % 2 else None, text) for n, text in enumerate(words)]


def alone(subject, prompt):
    """log-softmax of plain transformers behind one prompt, without a batch and its padding."""
    ids = torch.tensor([encode_prompt(subject.tokenizer, prompt)])
    with torch.no_grad():
        return subject.model._module(ids).logits[0, -1].float().log_softmax(-1)


def test_options_are_those_of_plain_transformers(subject):
    """A softmax over the options alone, a gather shifted by one, or a padded row read elsewhere would differ."""
    found = option_log_probabilities(subject, prompts(), OPTIONS, batch_tokens=24)
    places = [subject.tokenizer.convert_tokens_to_ids(option) for option in OPTIONS]
    expected = torch.stack([alone(subject, prompt)[places] for prompt in prompts()])
    assert torch.allclose(found, expected, atol=2e-3)
    assert found.dtype == torch.float32


def test_steered_options_are_those_of_the_steered_logits(llama):
    """The scope acts where the answer is read; without that the steering would do nothing here."""
    steering = NeuronSteering.from_edits([("add", 2, n, 9.0) for n in range(9)], site="down_in")
    steered = option_log_probabilities(llama, prompts(), OPTIONS, steering=steering, batch_tokens=24)
    places = [llama.tokenizer.convert_tokens_to_ids(option) for option in OPTIONS]
    logits = next_token_logits(llama, prompts(), steering=steering)
    assert torch.allclose(steered, logits.log_softmax(-1)[:, places], atol=1e-5)
    assert (steered - option_log_probabilities(llama, prompts(), OPTIONS)).abs().min() > 1e-3
    decode = NeuronSteering.from_edits([("add", 2, 0, 1.0)], scope="decode")
    with pytest.raises(InvalidInputError, match="scope 'decode'"):
        option_log_probabilities(llama, prompts(), OPTIONS, steering=decode)


@pytest.mark.parametrize("name", ["rating", "choice", "importance"])
def test_an_option_counts_with_a_space_and_without(organism, name):
    """Models answer "4" and " 4"; one of them alone would lose half of the answers of some."""
    form = forms(name)[0]
    prompt = Prompt("p", None, form.ask("This person sings."))
    likely = alone(organism, prompt).exp()
    text = render_prompt(organism.tokenizer, prompt)
    before = organism.tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = []
    for option in form.options:
        behind = [
            organism.tokenizer(text + put, add_special_tokens=False)["input_ids"] for put in (option, f" {option}")
        ]
        first = {ids[len(before)] for ids in behind}
        assert len(first) == 2
        expected.append(sum(likely[token] for token in first))
    found = option_log_probabilities(organism, [prompt], form.options).exp()[0]
    assert torch.allclose(found, torch.stack(expected), atol=1e-6)


def spaced_tokenizer(words):
    """Cuts off a space as a token of its own, as sentencepiece does before a digit."""
    vocabulary = {word: number for number, word in enumerate(("<pad>", "<unk>", " ", ":", *words))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>")


def test_a_space_that_begins_every_option_tells_nothing():
    """Counted, it would give every option the same probability."""
    tokenizer = spaced_tokenizer(["a", "b", "Question:", "x\nAnswer:", "y"])
    tokenizer.chat_template = "{{ messages[0]['content'] }} "
    found = option_tokens(tokenizer, [Prompt("p", None, "y")], ("a", "b"))
    assert found.tolist() == [[[4], [5]]]


def test_a_base_model_is_asked_behind_its_own_template(llama):
    """Behind "Answer:" a word needs the space that this tokenizer cuts at; without it the text is another one."""
    subject = open_model(tiny.model("llama"), tokenizer=tiny.tokenizer(chat_template=None))
    found = option_log_probabilities(subject, prompts(), OPTIONS)
    places = [subject.tokenizer.convert_tokens_to_ids(option) for option in OPTIONS]
    assert torch.allclose(found, torch.stack([alone(subject, p)[places] for p in prompts()]), atol=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("w1 w2", "w1 w3"), "'w1 w2' begins like 'w1 w3'"),
        (("w1", "loud"), "'loud' is not known to it"),
        (("w1", "w1"), "two different texts"),
        (("w1",), "two different texts"),
    ],
)
def test_options_that_cannot_be_told_apart_are_refused(llama, options, message):
    with pytest.raises(InvalidInputError, match=message):
        option_log_probabilities(llama, prompts(), options)


def test_what_is_in_the_journal_is_not_asked_again(llama, tmp_path):
    """A kill costs one batch, and another steering does not find these answers."""
    whole = option_log_probabilities(llama, prompts(), OPTIONS, batch_tokens=12)

    def stop(stage, done, total):
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "w", {}) as journal:
        option_log_probabilities(llama, prompts(), OPTIONS, batch_tokens=12, journal=journal, progress=stop)
    steps = []
    with Journal(tmp_path / "w", {}) as journal:
        kept = option_log_probabilities(
            llama, prompts(), OPTIONS, batch_tokens=12, journal=journal, progress=lambda *step: steps.append(step[1:])
        )
        units = {path.name for path in journal.folder.glob("*.safetensors")}
        steering = NeuronSteering.from_edits([("add", 2, 0, 9.0)])
        moved = option_log_probabilities(llama, prompts(), OPTIONS, steering=steering, batch_tokens=12, journal=journal)
        assert {path.name for path in journal.folder.glob("*.safetensors")} > units
    assert torch.equal(kept, whole)
    assert not torch.equal(moved, whole)
    assert steps[0] == (0, 5)
    assert steps[-1] == (5, 5)
