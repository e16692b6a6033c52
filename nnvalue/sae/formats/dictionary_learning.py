"""dictionary_learning (Marks, Karvonen and others): `config.json` and `ae.pt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnvalue.errors import UnknownNameError
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import assemble, number, read_config, read_weights

NAME = "dictionary_learning"
FILES = ("config.json", "ae.pt")
_ARCHITECTURES = {
    "AutoEncoder": "standard", "AutoEncoderNew": "standard", "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu", "AutoEncoderTopK": "topk", "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "batchtopk",
}  # fmt: skip
_UNSHIFTED = ("AutoEncoderNew", "JumpReluAutoEncoder")
"""The classes that encode their input as it is."""


def looks_like(place: Path) -> bool:
    """Whether the format's files lie in a folder."""
    return all((place / name).is_file() for name in FILES)


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a folder such as `resid_post_layer_8/trainer_0`, with decoder rows as long as they were saved.

    Raises ArtifactError for damaged files or a missing tensor, UnknownNameError for another class of dictionaries.
    """
    config, weights = read_config(place / FILES[0]), read_weights(place / FILES[1])
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    kind = str(trainer.get("dict_class"))
    if kind not in _ARCHITECTURES:
        raise UnknownNameError("architecture", kind, _ARCHITECTURES, f"(in {place / FILES[0]})")
    architecture = _ARCHITECTURES[kind]
    encoder = weights.take("W_enc") if "W_enc" in weights else weights.take("encoder.weight").T
    decoder = weights.take("W_dec") if "W_dec" in weights else weights.take("decoder.weight").T
    parts: dict[str, Any] = {"decoder_bias": weights.take("b_dec", "bias", "decoder_bias", "decoder.bias")}
    parts["encoder_bias"] = weights.take(*(["mag_bias"] if architecture == "gated" else ["encoder.bias", "b_enc"]))
    if architecture == "gated":
        parts |= {"gate_bias": weights.take("gate_bias"), "gate_scale": weights.take("r_mag")}
    if architecture in ("jumprelu", "batchtopk"):
        threshold = weights.take("threshold")
        parts["threshold"] = threshold.expand_as(parts["encoder_bias"]) if threshold.dim() == 0 else threshold
    if architecture == "topk":
        parts["k"] = int(number(trainer, "k", place / FILES[0]))
    return assemble(
        weights, NAME, inputs=trainer.get("activation_dim"), features=trainer.get("dict_size"), hook=_hook(trainer),
        facts={"model_name": trainer["lm_name"]} if trainer.get("lm_name") else {}, architecture=architecture,
        encoder=encoder, decoder=decoder, subtract_bias=kind not in _UNSHIFTED, **parts,
    )  # fmt: skip


def _hook(trainer: Mapping[str, Any]) -> str | None:
    """The residual stream after a layer, unless the module has a name that says otherwise."""
    layer, module = (
        trainer.get("layer"),
        str(trainer.get("submodule_name") or f"resid_post_layer_{trainer.get('layer')}"),
    )
    if isinstance(layer, int) and module == f"resid_post_layer_{layer}":
        return f"blocks.{layer}.hook_resid_post"
    return module if layer is not None else None
