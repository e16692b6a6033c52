"""Qwen-Scope: a file `layer{n}.sae.pt` for each layer, in a repository whose name has k: `SAE-Res-…-W32K-L0_50`."""

from __future__ import annotations

import re
from pathlib import Path

from nnvalue.errors import InvalidInputError
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import assemble, read_weights

NAME = "Qwen-Scope"
FILES = ("layer*.sae.pt",)
_NAME = re.compile(r"layer(\d+)\.sae\.pt")
_REPOSITORY = re.compile(r"SAE-Res-(.+)-W\d+K-L0_(\d+)")


def looks_like(place: Path) -> bool:
    """Whether a file is called as one of the format."""
    return place.is_file() and _NAME.fullmatch(place.name) is not None


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a file.

    Raises ArtifactError where it is damaged, lacks a tensor, or is a pickle of more than those, InvalidInputError where
    the path does not say k.
    """
    named, repository = _NAME.fullmatch(place.name), _REPOSITORY.search(place.absolute().as_posix())
    if repository is None or named is None:
        raise InvalidInputError(
            f"How many features of a token {place} keeps is said by its repository's name alone; keep the file in a "
            f"folder of that name, such as SAE-Res-Qwen3-8B-Base-W64K-L0_50."
        )
    weights = read_weights(place)
    return assemble(
        weights, NAME, hook=f"model.layers.{named[1]}.output", facts={"model_name": f"Qwen/{repository[1]}"},
        architecture="topk", encoder=weights.take("W_enc").T, decoder=weights.take("W_dec").T,
        encoder_bias=weights.take("b_enc"), decoder_bias=weights.take("b_dec"), k=int(repository[2]),
    )  # fmt: skip
