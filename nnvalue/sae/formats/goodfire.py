"""Goodfire: one `.pth` or `.pt` file such as `Llama-3.1-8B-Instruct-SAE-l19.pth`, whose name says what is read."""

from __future__ import annotations

import re
from pathlib import Path

from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import assemble, read_weights

NAME = "Goodfire"
FILES = ("*.pth",)
_NAME = re.compile(r"(.*)-SAE-l(\d+)\.pth?")


def looks_like(place: Path) -> bool:
    """Whether a file is called as one of the format."""
    return place.is_file() and (place.suffix == ".pth" or _NAME.fullmatch(place.name) is not None)


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a file. Raises ArtifactError where it is damaged, lacks a tensor or is a pickle of more than those."""
    weights, named = read_weights(place), _NAME.fullmatch(place.name)
    return assemble(
        weights, NAME, hook=f"blocks.{named[2]}.hook_resid_post" if named else None,
        facts={"model_name": named[1]} if named else {}, architecture="standard",
        encoder=weights.take("encoder_linear.weight").T, decoder=weights.take("decoder_linear.weight").T,
        encoder_bias=weights.take("encoder_linear.bias"), decoder_bias=weights.take("decoder_linear.bias"),
    )  # fmt: skip
