"""Gemma Scope 2, of Gemma 3: `config.json` and `params.safetensors`."""

from __future__ import annotations

from pathlib import Path

from nnvalue.errors import UnknownNameError
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import Weights, assemble, read_config, read_weights, refusal

NAME = "Gemma Scope 2"
FILES = ("config.json", "params.safetensors")
_ARCHITECTURES = ("jump_relu", "jumprelu")


def looks_like(place: Path) -> bool:
    """Whether the format's files lie in a folder."""
    return all((place / name).is_file() for name in FILES)


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a folder.

    Raises ArtifactError for damaged files or a missing tensor, InvalidInputError for a transcoder, UnknownNameError for
    another architecture than jump-ReLU.
    """
    config, held = read_config(place / FILES[0]), read_weights(place / FILES[1])
    weights = Weights(held.path, {name.lower(): tensor for name, tensor in held.tensors.items()})
    architecture = config.get("architecture")
    if architecture not in _ARCHITECTURES:
        raise UnknownNameError("architecture", str(architecture), _ARCHITECTURES, f"(in {place})")
    hook = config.get("hf_hook_point_in")
    if config.get("hf_hook_point_out") not in (None, hook) or "affine_skip_connection" in weights:
        raise refusal(place, "is a transcoder: what it reads and what it writes are two places")
    return assemble(
        weights, NAME, features=config.get("width"), hook=hook,
        facts={name: config[name] for name in ("model_name", "l0") if name in config},
        architecture="jumprelu", encoder=weights.take("w_enc"), decoder=weights.take("w_dec"),
        encoder_bias=weights.take("b_enc"), decoder_bias=weights.take("b_dec"), threshold=weights.take("threshold"),
    )  # fmt: skip
