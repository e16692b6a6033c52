"""EleutherAI sparsify: `cfg.json` and `sae.safetensors`, in a folder that is called as the module that is read."""

from __future__ import annotations

from pathlib import Path

from nnvalue.errors import UnknownNameError
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import assemble, number, read_config, read_weights, refusal
from nnvalue.sae.hooks import read_hook

NAME = "sparsify"
FILES = ("cfg.json", "sae.safetensors")


def looks_like(place: Path) -> bool:
    """Whether the format's files lie in a folder."""
    return all((place / name).is_file() for name in FILES)


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a folder such as `layers.3`.

    Raises ArtifactError for damaged files or a missing tensor, InvalidInputError for a transcoder, UnknownNameError for
    another activation function than top-k.
    """
    path = place / FILES[0]
    config, weights = read_config(path), read_weights(place / FILES[1])
    if config.get("transcode") or config.get("skip_connection") or "W_skip" in weights:
        raise refusal(place, "is a transcoder: what it reads and what it writes are two places")
    if (function := config.get("activation", "topk")) != "topk":
        raise UnknownNameError("architecture", str(function), ("topk",), f"(in {path})")
    if config.get("signed"):
        raise refusal(place, "has features below 0 (signed)")
    inputs = number(config, "d_in", path)
    # 0 latents stand for a multiple of the input's width.
    features = config.get("num_latents") or inputs * number(config, "expansion_factor", path)
    return assemble(
        weights, NAME, inputs=inputs, features=features, hook=place.name if read_hook(place.name) else None,
        architecture="topk", encoder=weights.take("encoder.weight").T, decoder=weights.take("W_dec"),
        encoder_bias=weights.take("encoder.bias"), decoder_bias=weights.take("b_dec"),
        k=int(number(config, "k", path)), subtract_bias=True,
    )  # fmt: skip
