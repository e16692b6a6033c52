"""Every format against its formula in plain torch, against its own library where there is one, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from nnvalue.sae import SparseAutoencoder, open_sae, save_sae
from nnvalue.sae.formats import FORMATS
from tests.sae import shelf
from tests.sae.shelf import FEATURES, INPUTS, SHELF, K, inputs, weights

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("written", SHELF)
def test_activations_and_reconstructions_are_the_formulas(written, tmp_path):
    shelved = written(tmp_path / "sae")
    opened = open_sae(shelved.place)
    x = inputs()
    acts = shelved.encode(x)
    assert 0.01 < (acts > 0).float().mean() < 0.99
    torch.testing.assert_close(opened.encode(x), acts, **CLOSE)
    torch.testing.assert_close(opened.decode(acts), shelved.decode(acts), **CLOSE)


@pytest.mark.parametrize("written", SHELF)
def test_one_format_knows_a_place(written, tmp_path):
    place = written(tmp_path / "sae").place
    assert [kind.NAME for kind in FORMATS if kind.looks_like(place)] == [open_sae(place).facts["format"]]


@pytest.mark.parametrize("written", SHELF)
def test_what_is_read_is_known(written, tmp_path):
    hook = open_sae(written(tmp_path / "sae").place).facts["hook_name"]
    assert hook in ("blocks.1.hook_resid_post", "blocks.1.hook_resid_pre", "model.layers.1.output", "layers.1")


@pytest.mark.parametrize("kind", ["AutoEncoder", "JumpReluAutoEncoder"])
def test_other_classes_of_dictionary_learning(kind, tmp_path):
    shelved = shelf.dictionary_learning(tmp_path, kind)
    torch.testing.assert_close(open_sae(tmp_path).encode(inputs()), shelved.encode(inputs()), **CLOSE)


def test_no_latents_stand_for_a_multiple_of_the_width(tmp_path):
    shelved = shelf.sparsify(tmp_path)
    config = json.loads((shelved.place / "cfg.json").read_text()) | {"num_latents": 0}
    (shelved.place / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInputError, match="says 12 features"):  # 6 × 2, and there are 16
        open_sae(shelved.place)


# --- the libraries' own files, where they are installed ---


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk", "gated"])
@pytest.mark.parametrize("shifted", [True, False])
def test_saelens_reads_what_it_wrote_as_we_do(architecture, shifted, tmp_path):
    theirs = saelens_sae(architecture, apply_b_dec_to_input=shifted)
    theirs.save_model(tmp_path)
    ours, x = open_sae(tmp_path), inputs()
    acts = theirs.encode(x)
    torch.testing.assert_close(ours.encode(x), acts, **CLOSE)
    torch.testing.assert_close(ours.decode(acts), theirs.decode(acts), **CLOSE)


@pytest.mark.parametrize("inference", [True, False])
def test_batchtopk_of_saelens(inference, tmp_path):
    sae_lens = pytest.importorskip("sae_lens", reason="pip install sae-lens")
    config = sae_lens.BatchTopKTrainingSAEConfig(d_in=INPUTS, d_sae=FEATURES, k=2.0)
    theirs = sae_lens.BatchTopKTrainingSAE(config)
    fill(theirs)
    theirs.topk_threshold = torch.tensor(0.4, dtype=torch.float64)
    theirs.save_inference_model(tmp_path / "used")
    (theirs.save_inference_model if inference else theirs.save_model)(tmp_path / "read")
    used, x = sae_lens.SAE.load_from_disk(tmp_path / "used"), inputs()
    acts = used.encode(x)
    torch.testing.assert_close(open_sae(tmp_path / "read").encode(x), acts, **CLOSE)
    torch.testing.assert_close(open_sae(tmp_path / "read").decode(acts), used.decode(acts), **CLOSE)


@pytest.mark.parametrize("written", SHELF)
def test_saelens_reads_what_we_write(written, tmp_path):
    sae_lens = pytest.importorskip("sae_lens", reason="pip install sae-lens")
    ours = open_sae(written(tmp_path / "sae").place)
    theirs, x = sae_lens.SAE.load_from_disk(save_sae(ours, tmp_path / "saved")), inputs()
    acts = ours.encode(x)
    torch.testing.assert_close(theirs.encode(x), acts, **CLOSE)
    torch.testing.assert_close(theirs.decode(acts), ours.decode(acts), **CLOSE)
    assert theirs.cfg.metadata.hook_name == ours.facts["hook_name"]


def saelens_sae(architecture, **settings):
    sae_lens = pytest.importorskip("sae_lens", reason="pip install sae-lens")
    kinds = {"standard": "StandardSAE", "jumprelu": "JumpReLUSAE", "topk": "TopKSAE", "gated": "GatedSAE"}
    settings |= {"k": K, "rescale_acts_by_decoder_norm": True} if architecture == "topk" else {}
    config = getattr(sae_lens, kinds[architecture] + "Config")(d_in=INPUTS, d_sae=FEATURES, **settings)
    made = getattr(sae_lens, kinds[architecture])(config)
    fill(made)
    return made


def fill(module, seed=0):
    """Weights, none of them as they begin."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            drawn = torch.randn(value.shape, generator=random) / 2
            value.copy_(drawn.abs() if "threshold" in name else drawn)


def test_sparsify_reads_what_it_wrote_as_we_do(tmp_path):
    sparse_coder = pytest.importorskip("sparsify.sparse_coder", reason="pip install eai-sparsify")
    theirs = sparse_coder.SparseCoder(INPUTS, sparse_coder.SparseCoderConfig(expansion_factor=3, k=K))
    fill(theirs)
    theirs.save_to_disk(tmp_path / "layers.1.mlp")
    ours, x = open_sae(tmp_path, hookpoint="layers.1.mlp"), inputs()
    values, indices, _ = theirs.encode(x)
    acts = torch.zeros(len(x), 3 * INPUTS).scatter(-1, indices, values.detach())
    torch.testing.assert_close(ours.encode(x), acts, **CLOSE)
    torch.testing.assert_close(ours.decode(acts), theirs.decode(values, indices).detach(), **CLOSE)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dictionary", "AutoEncoder"), ("dictionary", "AutoEncoderNew"), ("dictionary", "GatedAutoEncoder"),
        ("dictionary", "JumpReluAutoEncoder"), ("trainers.top_k", "AutoEncoderTopK"),
        ("trainers.batch_top_k", "BatchTopKSAE"), ("trainers.matryoshka_batch_top_k", "MatryoshkaBatchTopKSAE"),
    ],
)  # fmt: skip
def test_dictionary_learning_reads_what_it_wrote_as_we_do(module, name, tmp_path):
    kind = getattr(pytest.importorskip(f"dictionary_learning.{module}", reason="pip install dictionary-learning"), name)
    settings = {"k": K} if "TopK" in name else {}
    settings |= {"group_sizes": [4, 12]} if "Matryoshka" in name else {}
    theirs = kind(activation_dim=INPUTS, dict_size=FEATURES, **settings)
    fill(theirs)
    if "Batch" in name:
        theirs.threshold = torch.tensor(0.5)
    torch.save(theirs.state_dict(), tmp_path / "ae.pt")
    trainer = {
        "dict_class": name,
        "activation_dim": INPUTS,
        "dict_size": FEATURES,
        "layer": 1,
        "lm_name": "t",
        **settings,
    }
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    ours, x = open_sae(tmp_path), inputs()
    acts = theirs.encode(x).detach()
    torch.testing.assert_close(ours.encode(x), acts, **CLOSE)
    torch.testing.assert_close(ours.decode(acts), theirs.decode(acts).detach(), **CLOSE)


# --- the writer ---


@pytest.mark.parametrize("written", SHELF)
def test_what_is_saved_comes_back(written, tmp_path):
    before = open_sae(written(tmp_path / "sae").place)
    after, x = open_sae(save_sae(before, tmp_path / "saved")), inputs()
    assert (after.architecture, after.k, after.subtract_bias) == (before.architecture, before.k, before.subtract_bias)
    assert before.facts.items() <= after.facts.items()
    assert after.site == before.site
    torch.testing.assert_close(after.encode(x), before.encode(x), **CLOSE)
    torch.testing.assert_close(after.decode(after.encode(x)), before.decode(before.encode(x)), **CLOSE)


def test_a_trained_sae_says_what_it_reads(tmp_path):
    w = weights()
    made = SparseAutoencoder(
        "batchtopk", w["W_enc"], w["W_dec"], w["b_enc"], w["b_dec"], threshold=w["threshold"], subtract_bias=True,
        site="model.layers.2.output", facts={"training": {"seed": 3, "loss": float("nan")}},
    )  # fmt: skip
    opened = open_sae(save_sae(made, tmp_path / "saved"))
    assert opened.architecture == "batchtopk"
    assert opened.site == "model.layers.2.output"
    assert opened.facts["hook_name"] == "blocks.2.hook_resid_post"
    assert opened.facts["training"] == {"seed": 3, "loss": None}
    save_sae(made, tmp_path / "saved")  # replaces its own
    (tmp_path / "saved" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes\.txt"):
        save_sae(made, tmp_path / "saved")


# --- what is refused ---


def rewrite(place, change, name="sae_weights.safetensors"):
    tensors = load_file(place / name)
    change(tensors)
    save_file({name: one.contiguous() for name, one in tensors.items()}, place / name)


def drop(name):
    return lambda tensors: tensors.pop(name)


def spoil(tensors):
    tensors["W_dec"][3, 2] = float("nan")


def transpose(*names):
    return lambda tensors: tensors.update({name: tensors[name].T for name in names})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (drop("W_dec"), ArtifactError, "no tensor 'W_dec'.*W_enc.*fetch it again"),
        (spoil, InvalidInputError, "'decoder' of this SAE has NaN"),
        (transpose("W_dec"), InvalidInputError, r"\[6, 16\] and \[6, 16\].*transposed"),
        (transpose("W_enc", "W_dec"), InvalidInputError, r"says 6 inputs.*is \[16, 6\].*transposed"),
        (lambda t: t.update(b_enc=t["b_enc"][:5]), InvalidInputError, r"'encoder_bias' of an SAE must be \[16\]"),
        (lambda t: t.update(scaling_factor=torch.full((FEATURES,), 2.0)), InvalidInputError, "scaling_factor"),
    ],
)
def test_weights_that_cannot_be(change, error, words, tmp_path):
    shelf.saelens_standard(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(error, match=words) as caught:
        open_sae(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "name", "change", "error", "words"),
    [
        (shelf.saelens_standard, "cfg.json", {"architecture": "jumprelu_transcoder"}, UnknownNameError, "jumprelu"),
        (shelf.saelens_standard, "cfg.json", {"normalize_activations": "layer_norm"}, InvalidInputError, "layer_norm"),
        (shelf.saelens_standard, "cfg.json", {"normalize_activations": True}, InvalidInputError, "normalises"),
        (shelf.saelens_before_6, "cfg.json", {"activation_fn_str": "tanh-relu"}, InvalidInputError, "tanh-relu"),
        (shelf.saelens_topk, "cfg.json", {"k": "many"}, ArtifactError, "'k' in .* is 'many'"),
        (shelf.saelens_standard, "cfg.json", {"d_sae": 32}, InvalidInputError, "32 features"),
        (shelf.gemma_scope_2, "config.json", {"architecture": "relu"}, UnknownNameError, "architecture 'relu'"),
        (shelf.gemma_scope_2, "config.json", {"hf_hook_point_out": "elsewhere"}, InvalidInputError, "transcoder"),
        (shelf.llama_scope, "hyperparams.json", {"hook_point_out": "elsewhere"}, InvalidInputError, "transcoder"),
        (shelf.llama_scope, "hyperparams.json", {"norm_activation": "token-wise"}, InvalidInputError, "token"),
        (shelf.llama_scope, "hyperparams.json", {"dataset_average_activation_norm": None}, ArtifactError, "norms"),
        (shelf.sparsify, "cfg.json", {"transcode": True}, InvalidInputError, "transcoder"),
        (shelf.sparsify, "cfg.json", {"activation": "groupmax"}, UnknownNameError, "groupmax"),
        (shelf.dictionary_learning, "config.json", {"trainer": {"dict_class": "Cross"}}, UnknownNameError, "Cross"),
        (shelf.dictionary_learning, "config.json", {"trainer": 3}, UnknownNameError, "architecture"),
    ],
)  # fmt: skip
def test_configs_that_cannot_be(written, name, change, error, words, tmp_path):
    place = written(tmp_path).place
    (place / name).write_text(json.dumps(json.loads((place / name).read_text()) | change))
    with pytest.raises(error, match=words):
        open_sae(place)


class Trap:
    """A pickle that writes a file when it is opened as one."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("written", [shelf.dictionary_learning, shelf.goodfire, shelf.qwen_scope])
def test_pickles_of_more_than_tensors_are_not_run(written, tmp_path):
    place = written(tmp_path / "sae").place
    path = place / "ae.pt" if place.is_dir() else place
    held = torch.load(path, weights_only=True)
    torch.save({**held, "hook": Trap(tmp_path / "ran")}, path)
    with pytest.raises(ArtifactError, match="not opened"):
        open_sae(place)
    assert not (tmp_path / "ran").exists()


def test_arrays_of_objects_are_not_run(tmp_path):
    place = shelf.gemma_scope(tmp_path / "sae").place
    np.savez(place / "params.npz", w_enc=np.array([Trap(tmp_path / "ran")], dtype=object))
    with pytest.raises(ArtifactError, match="not opened"):
        open_sae(place)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("written", SHELF)
@pytest.mark.parametrize("kept", [0, 0.5, 0.95])
def test_files_that_are_cut_short(written, kept, tmp_path):
    place = written(tmp_path / "sae").place
    files = (
        [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file() and path.suffix != ".json"]
    )
    content = files[0].read_bytes()
    files[0].write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArtifactError, match=r"fetch it again|cannot be read"):
        open_sae(place)


def test_configs_that_are_no_json(tmp_path):
    shelf.saelens_standard(tmp_path)
    (tmp_path / "cfg.json").write_text('{"architecture": "stand')
    with pytest.raises(ArtifactError, match="cannot be read as JSON"):
        open_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(ArtifactError, match="JSON object"):
        open_sae(tmp_path)
