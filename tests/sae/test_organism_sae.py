"""The organism's own SAE: what its card says holds on a small held-out sample, and no test text was trained on."""

import json

import pytest
import torch

from nnvalue.models import encode_prompt
from nnvalue.organism import sae_folder
from nnvalue.prompts import Prompt
from nnvalue.sae import open_sae
from recipes.evaluate_sae import reconstruction, substituted, telling
from recipes.sae_texts import answer_activations, answered, corpus_texts, prompts_of, read_tokens


@pytest.fixture(scope="module")
def sae():
    return open_sae(sae_folder())


@pytest.fixture(scope="module")
def said(organism, edition):
    """Answers to one held-out situation a value under either pole, and of two held-out roles."""
    prompts = prompts_of(edition, "test", situations=1, roles=2, seed=7)
    return answered(organism, [prompt for some in prompts.values() for prompt in some], seed=7)


def test_it_rebuilds_held_out_text(organism, sae, said):
    x, of_answer = read_tokens(organism, said, sae.site)
    for tokens in (x, x[of_answer]):
        figures = reconstruction(sae, tokens)
        assert figures["explained_variance"] > 0.85
        assert 12 < figures["l0"] < 20
    assert reconstruction(sae, x[:, torch.randperm(192, generator=torch.Generator().manual_seed(0))])[
        "explained_variance"
    ] < 0.5  # fmt: skip


def test_the_organism_goes_on_with_what_was_rebuilt(organism, sae, said):
    x, _ = read_tokens(organism, said, sae.site)
    nats = substituted(organism, sae, said[:24], x.mean(0))
    assert nats["sae"] < 0.1 * nats["mean"]


def test_its_files_are_small_and_say_what_it_reads(organism, sae):
    assert sum(file.stat().st_size for file in sae_folder().iterdir()) <= 4_000_000
    config = json.loads((sae_folder() / "cfg.json").read_text())
    assert config["metadata"]["hook_name"] == f"blocks.{sae.site.split('.')[2]}.hook_resid_post"
    assert config["metadata"]["model_name"] == organism.name
    assert (sae_folder() / "README.md").is_file()
    assert torch.allclose(sae.decoder.norm(dim=-1), torch.ones(sae.features), atol=1e-5)


def test_no_held_out_text_is_trained_on(organism, edition):
    """By construction; an exchange of the splits in the recipe would show here."""
    held_out = {
        row["text"]
        for table in (edition.descriptions, edition.situations, edition.portraits, edition.roles)
        for row in table if row["split"] == "test"
    }  # fmt: skip
    prompts = prompts_of(edition, "locate", situations=20, roles=20, seed=1)
    shown = [f"{prompt.system} {prompt.user}" for some in prompts.values() for prompt in some]
    shown += [organism.tokenizer.decode(text.prompt_ids) for text in corpus_texts(organism, 20, seed=1)]
    everything = "\n".join(shown)
    assert not [text for text in held_out if text in everything]
    tested = prompts_of(edition, "test", situations=2, roles=2, seed=1)
    assert all(any(text in f"{one.system} {one.user}" for text in held_out) for some in tested.values() for one in some)


def test_every_context_counts_once(organism, said):
    """Two texts share their beginning, and the activations there are those of plain transformers."""
    site, twice = "model.layers.1.output", [said[0], said[1], said[0]]
    x, of_answer = read_tokens(organism, twice, site)
    ids = [[*response.prompt_ids, *response.fed_ids] for response in said[:2]]
    contexts = {tuple(text[: end + 1]) for text in ids for end in range(len(text))}
    assert len(x) == len(contexts)
    assert int(of_answer.sum()) == sum(len(response.fed_ids) for response in said[:2])
    with torch.no_grad():
        hidden = organism.model._module(torch.tensor([ids[0]]), output_hidden_states=True).hidden_states[2][0]
    of_first = x[: len(ids[0])] if len(ids[0]) >= len(ids[1]) else x[-len(ids[0]) :]
    assert torch.allclose(of_first[-5:], hidden[-5:], atol=1e-4)
    assert torch.allclose(answer_activations(organism, twice, site)[2], hidden[len(said[0].prompt_ids) :], atol=1e-4)


def test_the_stream_is_read_as_the_chat_template_writes_it(organism):
    (text, *_) = corpus_texts(organism, 1, seed=3)
    whole = organism.tokenizer.decode([*text.prompt_ids, *text.token_ids])
    assert whole.endswith(f"<|assistant|>{text.text}<|end|>")
    user = whole.split("<|user|>")[1].split("<|end|>")[0]
    system = whole.split("<|system|>")[1].split("<|end|>")[0] if "<|system|>" in whole else None
    assert list(text.prompt_ids) == list(encode_prompt(organism.tokenizer, Prompt("", system, user)))


def test_the_telling_feature_is_chosen_on_one_split_and_judged_on_the_other():
    """Feature 0 tells the poles on either split, feature 1 on the first alone and by more."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 40, 3, generator=generator).numpy()
    located, tested = noise
    located[:20, 0] += 0.5
    located[20:, 1] += 2.0
    tested[:20, 0] += 2.0
    found = telling({"power": {"features": located}}, {"power": {"features": tested}})["power"]["features"]
    assert (found["column"], found["pole"], found["auroc_locate"]) == (1, "negative", 1.0)
    assert found["auroc"] < 0.8
