"""SAELens: `cfg.json` and `sae_weights.safetensors`, of version 6 and of those before; and a writer of version 6."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnvalue.artifacts import canonical_json, plain, tensor_bytes, write_folder
from nnvalue.errors import UnknownNameError
from nnvalue.sae.dictionary import ARCHITECTURES, SparseAutoencoder
from nnvalue.sae.formats.reading import Weights, assemble, number, read_config, read_weights, refusal
from nnvalue.sae.hooks import hook_name

NAME = "SAELens"
FILES = ("cfg.json", "sae_weights.safetensors")
KIND = "sparse-autoencoder"
_SCALER = "activation_scaler.json"
_OWN = "nnvalue"  # the key of what SAELens has no word for


def looks_like(place: Path) -> bool:
    """Whether the format's files lie in a folder."""
    return all((place / name).is_file() for name in FILES)


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a folder. Raises ArtifactError for damaged files, InvalidInputError for what cannot be an SAE here."""
    config, weights = read_config(place / FILES[0]), read_weights(place / FILES[1])
    scale = 1.0
    if config.get("normalize_activations") in ("expected_average_only_in", True) and (place / _SCALER).is_file():
        scale = number(read_config(place / _SCALER), "scaling_factor", place / _SCALER)
        config["normalize_activations"] = "none"
    return from_parts(config, weights, scale)


def from_parts(config: Mapping[str, Any], weights: Weights, input_scale: float = 1.0) -> SparseAutoencoder:
    """The SAE that SAELens would make of a config and tensors. Raises as `read`."""
    metadata = config.get("metadata")
    told = dict(metadata) if isinstance(metadata, Mapping) else {"hook_name": config.get("hook_point"), **config}
    own = told.pop(_OWN, None)
    architecture, k = _architecture(config, weights)
    if config.get("normalize_activations") not in ("none", None, False):
        raise refusal(
            weights.path, f"normalises its inputs ('{config['normalize_activations']}') with figures it lacks"
        )
    if not (weights.tensors.get("scaling_factor", torch.ones(1)) == 1).all():
        raise refusal(weights.path, "scales its activations after the fact (scaling_factor)")
    encoder, decoder = weights.take("W_enc"), weights.take("W_dec")
    parts: dict[str, Any] = {"encoder": encoder, "decoder": decoder, "decoder_bias": weights.take("b_dec"), "k": k}
    if architecture == "gated":
        parts |= {"encoder_bias": weights.take("b_mag"), "gate_bias": weights.take("b_gate"),
                  "gate_scale": weights.take("r_mag")}  # fmt: skip
    else:
        parts["encoder_bias"] = weights.take("b_enc")
    if architecture in ("jumprelu", "batchtopk"):
        threshold = weights.take("threshold", "topk_threshold")
        parts["threshold"] = threshold.expand_as(parts["encoder_bias"]) if threshold.dim() == 0 else threshold
    if architecture in ("topk", "batchtopk") and config.get("rescale_acts_by_decoder_norm", False):
        parts |= _unit_rows(encoder, parts["encoder_bias"], decoder)
    if isinstance(own, Mapping):  # written by `save_sae`
        architecture, parts["k"] = own.get("architecture", architecture), own.get("k", k)
    return assemble(
        weights, NAME, inputs=config.get("d_in"), features=config.get("d_sae"), hook=told.get("hook_name"), facts=told,
        architecture=architecture, subtract_bias=bool(config.get("apply_b_dec_to_input", True)),
        input_scale=input_scale, site=_site(told), **parts,
    )  # fmt: skip


def _architecture(config: Mapping[str, Any], weights: Weights) -> tuple[str, int | None]:
    """Its name and, of `topk`, k. Before version 6 a top-k SAE was a standard one with another activation function."""
    architecture = config.get("architecture", "standard")
    function = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    kept = config
    if architecture == "standard" and function == "topk":
        architecture, kept = "topk", config.get("activation_fn_kwargs") or {}
    elif function not in ("relu", "topk"):
        raise refusal(weights.path, f"has the activation function '{function}'")
    if architecture not in ARCHITECTURES:
        raise UnknownNameError("architecture", str(architecture), ARCHITECTURES, f"(in {weights.path.parent})")
    return architecture, int(number(kept, "k", weights.path.parent / FILES[0])) if architecture == "topk" else None


def _unit_rows(encoder: Tensor, encoder_bias: Tensor, decoder: Tensor) -> dict[str, Tensor]:
    """The length of decoder rows, by which SAELens multiplies activations and divides them again, in the encoder."""
    length = decoder.float().norm(dim=-1).clamp(min=1e-8)
    return {"encoder": encoder * length, "encoder_bias": encoder_bias * length, "decoder": decoder / length[:, None]}


def _site(told: Mapping[str, Any]) -> str | None:
    for name in ("hf_hook_name", "hook_name"):
        if str(told.get(name)).endswith((".output", ".input")):
            return told[name]
    return None


def save_sae(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE as SAELens 6 has it, as a whole or not at all; `open_sae` and SAELens read it back.

    A scale of the input goes into the weights: activations and reconstructions stay what they are. `batchtopk` becomes
    a `jumprelu`, as SAELens saves it, and is one again when nnvalue reads it.

    Raises ArtifactError where the folder holds something else or cannot be written.
    """
    scale = sae.input_scale
    tensors: dict[str, Any] = {
        "W_enc": sae.encoder * scale,
        "W_dec": sae.decoder / scale,
        "b_dec": sae.decoder_bias / scale,
    }
    if sae.architecture == "gated":
        tensors |= {"b_gate": sae.gate_bias, "b_mag": sae.encoder_bias, "r_mag": sae.gate_scale}
    else:
        tensors["b_enc"] = sae.encoder_bias
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    told = {"sae_lens_version": "6.0.0", "sae_lens_training_version": None, **plain(sae.facts)}
    if sae.site is not None:
        told = {"hook_name": hook_name(sae.site), **told, "hf_hook_name": sae.site}
    config = {
        "architecture": "jumprelu" if sae.architecture == "batchtopk" else sae.architecture,
        "d_in": sae.inputs, "d_sae": sae.features, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_bias, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": told,
    }  # fmt: skip
    if sae.architecture == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    if sae.architecture == "batchtopk":
        told[_OWN] = {"architecture": sae.architecture, "k": sae.k}
    write_folder(Path(folder), KIND, {FILES[0]: canonical_json(config), FILES[1]: tensor_bytes(tensors)})
    return Path(folder)
