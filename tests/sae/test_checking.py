"""An SAE against a model: plain transformers with a hook say what its activations are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nnvalue.errors import InvalidInputError, ModelError, NumericalError
from nnvalue.models import encode_prompt, open_model
from nnvalue.prompts import Prompt
from nnvalue.sae import SparseAutoencoder, check_sae, place_sae
from nnvalue.sae.checking import PROMPTS
from nnvalue.sae.hooks import find_site, hook_name, read_hook
from tests import tiny
from tests.remote.conftest import remote, served, server  # noqa: F401
from tests.sae.shelf import topk

HIDDEN, FEATURES = 32, 80
TEXTS = ["w1 w2 w3 w4", "w5", "w6 w7 w8 w9 w10 w11 w12 w13", "w14 w2"]


def sae(inputs=HIDDEN, architecture="topk", seed=0, **changes):
    random = torch.Generator().manual_seed(seed)
    encoder = torch.randn(inputs, FEATURES, generator=random) / inputs**0.5
    parts = {
        "encoder": encoder, "decoder": encoder.T / 3, "encoder_bias": torch.randn(FEATURES, generator=random) - 1,
        "decoder_bias": torch.randn(inputs, generator=random), "subtract_bias": True, "input_scale": 0.5,
        "threshold": torch.rand(FEATURES, generator=random) if architecture == "jumprelu" else None,
        "k": 4 if architecture == "topk" else None,
    }  # fmt: skip
    return SparseAutoencoder(architecture, **{**parts, **changes})


def by_hooks(subject, path, texts, part=None):
    """What a module of the transformers model puts out at all tokens but the first of each text, `[token, input]`."""
    seen = []

    def keep(_module, _given, made):
        made = made[0] if isinstance(made, tuple) else made
        seen.append(made.reshape(-1, made.shape[-1])[1:])

    handle = subject.model._module.get_submodule(path).register_forward_hook(keep)
    try:
        for text in texts:
            ids = encode_prompt(subject.tokenizer, Prompt("", None, text))
            with torch.no_grad():
                subject.model._module(torch.tensor([ids]))
    finally:
        handle.remove()
    return torch.cat(seen).float()


def expected(x, one):
    before = (x * one.input_scale - one.decoder_bias) @ one.encoder + one.encoder_bias
    acts = topk(before, one.k) if one.k else before.clamp(min=0) * (before > one.threshold)
    left = x - (acts @ one.decoder + one.decoder_bias) / one.input_scale
    variance = (x - x.mean(0)).square().sum()
    return {
        "explained_variance": float(1 - left.square().sum() / variance),
        "active": float((acts > 0).sum(1).float().mean()),
        "dead": float(((acts > 0).sum(0) == 0).float().mean()),
        "tokens": len(x),
    }


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
@pytest.mark.parametrize("batch_tokens", [12, 1024])
def test_quality_is_what_hooks_and_formulas_give(subject, architecture, batch_tokens):
    one = sae(architecture=architecture, facts={"hook_name": "blocks.1.hook_resid_post"})
    found = check_sae(subject, one, TEXTS, batch_tokens=batch_tokens)
    site = subject.anatomy.block[1]
    hoped = expected(by_hooks(subject, site.removesuffix(".output"), TEXTS), one)
    assert (found.site, found.features) == (site, FEATURES)
    assert {name: getattr(found, name) for name in hoped} == pytest.approx(hoped, rel=1e-3)
    assert 0 < found.dead < 1


def test_other_places_than_the_residual_stream(llama):
    texts = TEXTS[:2]
    mlp = check_sae(llama, sae(), texts, hookpoint="layers.2.mlp")
    assert mlp.site == llama.anatomy.down_out[2]
    assert mlp.explained_variance == pytest.approx(
        expected(by_hooks(llama, "model.layers.2.mlp", texts), sae())["explained_variance"], rel=1e-3
    )
    neurons = place_sae(llama, sae(tiny.WIDTH), "blocks.0.mlp.hook_post")
    assert neurons.site == llama.anatomy.down_in[0]
    assert check_sae(llama, neurons, texts).site == neurons.site


def test_an_autoencoder_of_all_directions_explains_everything(llama):
    """Two opposite features for every entry: nothing is lost, and half of them are active."""
    both = torch.cat([torch.eye(HIDDEN), -torch.eye(HIDDEN)], 1)
    whole = SparseAutoencoder(
        "standard", both, both.T, torch.zeros(2 * HIDDEN), torch.zeros(HIDDEN), site=llama.anatomy.block[1]
    )
    found = check_sae(llama, whole)
    assert found.explained_variance == pytest.approx(1, abs=1e-6)
    assert found.active == pytest.approx(HIDDEN, rel=0.01)
    assert found.tokens >= PROMPTS


def test_a_rehearsal_of_a_server_gives_the_same():
    here = open_model()
    one = sae(here.anatomy.hidden, facts={"hook_name": "blocks.0.hook_resid_post"})
    rehearsed = open_model(remote="dry-run")
    assert check_sae(rehearsed, one, batch_tokens=256) == check_sae(here, one, batch_tokens=256)


def test_a_server_gives_the_same(remote):  # noqa: F811
    here = open_model()
    one = sae(here.anatomy.hidden, architecture="jumprelu", facts={"hook_name": "layers.1"})
    assert check_sae(remote, one, TEXTS, batch_tokens=16) == check_sae(here, one, TEXTS, batch_tokens=16)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("blocks.12.hook_resid_post", (12, "")), ("blocks.12.hook_resid_pre", (11, "")),
        ("blocks.3.hook_mlp_out", (3, "hook_mlp_out")), ("model.layers.3", (3, "")), ("model.layers.3.output", (3, "")),
        ("layers.3.mlp", (3, ".mlp")), ("transformer.h.10", (10, "")), ("h.0", (0, "")), ("layer7.sae.pt", (7, "")),
        ("model.language_model.layers.5.output", (5, "")), ("layer_20", (20, "")),
        ("embed_tokens", None), ("width_16k", None), ("players.3", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_hooks(name, known):
    assert read_hook(name) == known


def test_sites_of_every_family(subject):
    anatomy = subject.anatomy
    for name in ("blocks.1.hook_resid_post", "blocks.2.hook_resid_pre", "layers.1", "h.1", "gpt_neox.layers.1.output"):
        assert find_site(subject, name) == anatomy.block[1]
    assert find_site(subject, anatomy.gate[2]) == anatomy.gate[2]
    assert find_site(subject, anatomy.down_out[2].removesuffix(".output")) == anatomy.down_out[2]
    assert read_hook(hook_name(anatomy.block[2])) in ((2, ""), None)
    if anatomy.family in ("gemma2", "gemma3_text", "olmo2"):
        with pytest.raises(ModelError, match="after a norm"):
            find_site(subject, "blocks.1.hook_mlp_out")
    else:
        assert find_site(subject, "blocks.1.hook_mlp_out") == anatomy.down_out[1]


def test_hook_names_of_sites():
    assert hook_name("transformer.h.3.output") == "blocks.3.hook_resid_post"
    assert hook_name("model.layers.3.mlp.down_proj.output") == "model.layers.3.mlp.down_proj.output"


@pytest.mark.parametrize(
    ("hook", "error", "words"),
    [
        ("blocks.31.hook_resid_post", ModelError, "reads layer 31 .* has layers 0 to 2"),
        ("blocks.0.hook_resid_pre", ModelError, "reads the embedding"),
        ("blocks.1.attn.hook_z", ModelError, r"reads 'blocks\.1\.attn\.hook_z', and .* model\.layers\.1\.output"),
        ("model.layers.1.self_attn", ModelError, "only; take an SAE of these"),
        ("somewhere", InvalidInputError, "names no layer"),
        (None, InvalidInputError, "does not say what it reads; give hookpoint"),
    ],
)  # fmt: skip
def test_places_that_are_not_there(llama, hook, error, words):
    with pytest.raises(error, match=words):
        check_sae(llama, sae(facts={"hook_name": hook}), TEXTS)


def test_what_cannot_be_checked(llama):
    residual = {"hook_name": "layers.1"}
    with pytest.raises(ModelError, match=r"reads 24 entries, and .* has 32 at model\.layers\.1\.output"):
        check_sae(llama, sae(24, facts=residual), TEXTS)
    with pytest.raises(ModelError, match=r"has 40 at model\.layers\.1\.mlp\.down_proj\.input"):
        check_sae(llama, sae(facts={"hook_name": "blocks.1.mlp.hook_post"}), TEXTS)
    bare = open_model(tiny.model("llama"), tokenizer=tiny.tokenizer(chat_template="{{ messages[0]['content'] }}"))
    with pytest.raises(InvalidInputError, match="none has a second one"):
        check_sae(bare, sae(facts=residual), ["w1"])
    broken = tiny.model("llama")
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="NaN or infinity"):
        check_sae(open_model(broken, tokenizer=tiny.tokenizer()), sae(facts=residual), TEXTS)


def test_a_foreign_path_gives_way_to_the_models_own(llama):
    """Paths of the multimodal wrapper mean the same layer of the text model."""
    foreign = sae(facts={"hook_name": "model.language_model.layers.1.output"})
    placed = place_sae(llama, replace(foreign, site="model.language_model.layers.1.output"))
    assert placed.site == "model.layers.1.output"
