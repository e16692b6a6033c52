"""SAEs of every format, written by hand as their makers document them, with what they do in plain torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

INPUTS, FEATURES, K = 6, 16, 3


class Shelved(NamedTuple):
    """Where an SAE lies, and what it makes of `[token, input]` and of `[token, feature]`."""

    place: Path
    encode: Callable
    decode: Callable


def weights(seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "W_enc": (INPUTS, FEATURES), "W_dec": (FEATURES, INPUTS), "b_enc": (FEATURES,), "b_dec": (INPUTS,),
        "b_gate": (FEATURES,), "b_mag": (FEATURES,), "r_mag": (FEATURES,),
    }  # fmt: skip
    made = {name: torch.randn(shape, generator=random) / 2 for name, shape in shapes.items()}
    return made | {"threshold": torch.rand(FEATURES, generator=random)}


def inputs(tokens=50, seed=1):
    return torch.randn(tokens, INPUTS, generator=torch.Generator().manual_seed(seed)) * 2


def write(folder, config, tensors, names):
    """A JSON config and tensors, at two places below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(json.dumps(config))
    if names[1].endswith(".safetensors"):
        save_file({name: one.contiguous() for name, one in tensors.items()}, folder / names[1])
    else:
        torch.save(tensors, folder / names[1])
    return folder


def picked(w, *names):
    return {name: w[name] for name in names}


def relu(x):
    return x.clamp(min=0)


def topk(before, k=K):
    least = relu(before).sort(dim=-1, descending=True).values[:, k - 1 : k]
    return relu(before) * (relu(before) >= least)


PLAIN = ("W_enc", "W_dec", "b_enc", "b_dec")


def saelens_config(architecture, **changes):
    return {
        "architecture": architecture, "d_in": INPUTS, "d_sae": FEATURES, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "model_name": "tiny", "hook_name": "blocks.1.hook_resid_post"},
        **changes,
    }  # fmt: skip


SAELENS = ("cfg.json", "sae_weights.safetensors")


def saelens_standard(folder):
    w = weights()
    write(folder, saelens_config("standard"), picked(w, *PLAIN), SAELENS)
    return Shelved(
        folder, lambda x: relu((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]), lambda a: a @ w["W_dec"] + w["b_dec"]
    )


def saelens_jumprelu(folder):
    w = weights()
    config = saelens_config("jumprelu", apply_b_dec_to_input=False)
    write(folder, config, picked(w, *PLAIN, "threshold"), SAELENS)

    def encode(x):
        before = x @ w["W_enc"] + w["b_enc"]
        return torch.where(before > w["threshold"], relu(before), 0.0)

    return Shelved(folder, encode, lambda a: a @ w["W_dec"] + w["b_dec"])


def saelens_topk(folder):
    """Its activations are multiplied by the decoder rows' lengths before the largest are kept."""
    w = weights()
    config = saelens_config("topk", k=K, rescale_acts_by_decoder_norm=True)
    write(folder, config, picked(w, *PLAIN), SAELENS)
    length = w["W_dec"].square().sum(1).sqrt()
    return Shelved(
        folder,
        lambda x: topk(((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * length),
        lambda a: (a / length) @ w["W_dec"] + w["b_dec"],
    )


def saelens_batchtopk(folder):
    """A checkpoint of training, with the one threshold that it has learned so far."""
    w = weights()
    config = saelens_config("batchtopk", k=2.5, rescale_acts_by_decoder_norm=True)
    tensors = picked(w, *PLAIN) | {"topk_threshold": torch.tensor(0.7, dtype=torch.float64)}
    write(folder, config, tensors, SAELENS)
    length = w["W_dec"].square().sum(1).sqrt()

    def encode(x):
        before = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * length
        return torch.where(before > 0.7, before, 0.0)

    return Shelved(folder, encode, lambda a: (a / length) @ w["W_dec"] + w["b_dec"])


def saelens_gated(folder):
    w = weights()
    write(folder, saelens_config("gated"), picked(w, "W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag"), SAELENS)

    def encode(x):
        x = x - w["b_dec"]
        open_gate = (x @ w["W_enc"] + w["b_gate"]) > 0
        return torch.where(open_gate, relu(x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]), 0.0)

    return Shelved(folder, encode, lambda a: a @ w["W_dec"] + w["b_dec"])


def saelens_before_6(folder):
    w = weights()
    config = {
        "architecture": "standard", "d_in": INPUTS, "d_sae": FEATURES, "dtype": "torch.float32", "model_name": "tiny",
        "hook_name": "blocks.1.hook_resid_pre", "hook_layer": 1, "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K}, "apply_b_dec_to_input": True, "normalize_activations": "none",
        "finetuning_scaling_factor": False, "sae_lens_training_version": "3.9.0",
    }  # fmt: skip
    write(folder, config, picked(w, *PLAIN) | {"scaling_factor": torch.ones(FEATURES)}, SAELENS)
    return Shelved(
        folder, lambda x: topk((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]), lambda a: a @ w["W_dec"] + w["b_dec"]
    )


def saelens_scaled(folder):
    """A checkpoint whose input scale lies beside it."""
    w = weights()
    write(
        folder, saelens_config("standard", normalize_activations="expected_average_only_in"), picked(w, *PLAIN), SAELENS
    )
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.4}))
    return Shelved(
        folder,
        lambda x: relu((0.4 * x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]),
        lambda a: (a @ w["W_dec"] + w["b_dec"]) / 0.4,
    )


def gemma_scope(folder, upper=False):
    w = weights()
    place = folder / "models--google--gemma-scope-2b-pt-res" / "snapshots" / "0f" / "layer_1/width_16k/average_l0_71"
    place.mkdir(parents=True)
    names = {name: name if upper else name.lower() for name in (*PLAIN, "threshold")}
    np.savez(place / "params.npz", **{names[name]: w[name].numpy() for name in names})

    def encode(x):
        before = x @ w["W_enc"] + w["b_enc"]
        return relu(before) * (before > w["threshold"])

    return Shelved(place, encode, lambda a: a @ w["W_dec"] + w["b_dec"])


def gemma_scope_upper(folder):
    return gemma_scope(folder, upper=True)


def gemma_scope_2(folder):
    w = weights()
    config = {
        "hf_hook_point_in": "model.layers.1.output", "hf_hook_point_out": "model.layers.1.output", "width": FEATURES,
        "model_name": "google/gemma-3-tiny", "architecture": "jump_relu", "l0": 20, "affine_connection": False,
    }  # fmt: skip
    tensors = {name.lower(): w[name] for name in (*PLAIN, "threshold")}
    write(folder, config, tensors, ("config.json", "params.safetensors"))

    def encode(x):
        before = x @ w["W_enc"] + w["b_enc"]
        return relu(before) * (before > w["threshold"])

    return Shelved(folder, encode, lambda a: a @ w["W_dec"] + w["b_dec"])


def llama_scope(folder):
    """As its makers use it: the scale goes into the biases, decoder rows to unit length, then a threshold.

    Its activations are given in units of the scaled input, divided by the lengths of the decoder rows as they lie.
    """
    w = weights()
    config = {
        "d_model": INPUTS, "d_sae": FEATURES, "act_fn": "jumprelu", "jump_relu_threshold": 0.3, "top_k": 50,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 4.0, "out": 4.0},
        "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False, "sparsity_include_decoder_norm": True,
        "hook_point_in": "blocks.1.hook_resid_post", "hook_point_out": "blocks.1.hook_resid_post",
        "use_glu_encoder": False,
    }  # fmt: skip
    tensors = {
        "encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T,
        "decoder.bias": w["b_dec"],
    }  # fmt: skip
    write(folder, config, tensors, ("hyperparams.json", "checkpoints/final.safetensors"))
    scale, length = INPUTS**0.5 / 4.0, w["W_dec"].norm(dim=1)

    def encode(x):
        score = (x @ w["W_enc"] + w["b_enc"] / scale) * length
        return torch.where(score > 0.3, score, 0.0) / length * scale

    return Shelved(folder, encode, lambda a: (a / scale * length) @ (w["W_dec"] / length[:, None]) + w["b_dec"] / scale)


def sparsify(folder, hookpoint="layers.1"):
    w = weights()
    place = folder / hookpoint if hookpoint else folder
    config = {
        "activation": "topk", "expansion_factor": 2, "num_latents": FEATURES, "k": K, "normalize_decoder": True,
        "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": INPUTS,
    }  # fmt: skip
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    write(place, config, tensors, ("cfg.json", "sae.safetensors"))
    return Shelved(
        place, lambda x: topk((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]), lambda a: a @ w["W_dec"] + w["b_dec"]
    )


def dictionary_learning(folder, kind="BatchTopKSAE"):
    w = weights()
    config = {
        "trainer": {"dict_class": kind, "activation_dim": INPUTS, "dict_size": FEATURES, "k": K, "layer": 1,
                    "lm_name": "tiny/model", "submodule_name": "resid_post_layer_1"},
        "buffer": {"ctx_len": 128},
    }  # fmt: skip
    linear = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T}
    tensors = {
        "AutoEncoder": linear | {"encoder.bias": w["b_enc"], "bias": w["b_dec"]},
        "BatchTopKSAE": linear | {"encoder.bias": w["b_enc"], "b_dec": w["b_dec"], "k": torch.tensor(K),
                                  "threshold": torch.tensor(0.6)},
        "JumpReluAutoEncoder": picked(w, *PLAIN, "threshold"),
    }[kind]  # fmt: skip
    write(folder, config, tensors, ("config.json", "ae.pt"))
    shift = torch.zeros(INPUTS) if kind == "JumpReluAutoEncoder" else w["b_dec"]
    least = {"AutoEncoder": 0.0, "BatchTopKSAE": 0.6, "JumpReluAutoEncoder": w["threshold"]}[kind]

    def encode(x):
        before = (x - shift) @ w["W_enc"] + w["b_enc"]
        return torch.where(before > least, before, 0.0)

    return Shelved(folder, encode, lambda a: a @ w["W_dec"] + w["b_dec"])


def goodfire(folder):
    w = weights()
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "Tiny-Instruct-SAE-l1.pth"
    tensors = {
        "encoder_linear.weight": w["W_enc"].T, "encoder_linear.bias": w["b_enc"],
        "decoder_linear.weight": w["W_dec"].T, "decoder_linear.bias": w["b_dec"],
    }  # fmt: skip
    torch.save(tensors, place)
    return Shelved(place, lambda x: relu(x @ w["W_enc"] + w["b_enc"]), lambda a: a @ w["W_dec"] + w["b_dec"])


def qwen_scope(folder):
    w = weights()
    repository = folder / f"SAE-Res-Tiny-Base-W1K-L0_{K}"
    repository.mkdir(parents=True)
    torch.save(
        {**picked(w, "b_enc", "b_dec"), "W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T}, repository / "layer1.sae.pt"
    )
    return Shelved(
        repository / "layer1.sae.pt", lambda x: topk(x @ w["W_enc"] + w["b_enc"]), lambda a: a @ w["W_dec"] + w["b_dec"]
    )


SHELF = (
    saelens_standard, saelens_jumprelu, saelens_topk, saelens_batchtopk, saelens_gated, saelens_before_6,
    saelens_scaled, gemma_scope, gemma_scope_upper, gemma_scope_2, llama_scope, sparsify, dictionary_learning,
    goodfire, qwen_scope,
)  # fmt: skip
