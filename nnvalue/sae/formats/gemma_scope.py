"""Gemma Scope (Lieberum et al. 2024, arXiv 2408.05147), of Gemma 2: `params.npz`; folders' names say what is read."""

from __future__ import annotations

import re
from pathlib import Path

from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import Weights, assemble, read_weights, refusal

NAME = "Gemma Scope"
FILES = ("params.npz",)
_REPOSITORY = re.compile(r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att)")
_LAYER = re.compile(r"layer_(\d+)")
_HOOKS = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}


def looks_like(place: Path) -> bool:
    """Whether the format's file lies in a folder."""
    return (place / FILES[0]).is_file()


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a folder such as `layer_20/width_16k/average_l0_71`.

    What it reads is known where the path has the repository's name, as a snapshot of the hub has.
    Raises ArtifactError for a damaged file or a missing tensor, InvalidInputError for one of the embedding.
    """
    held = read_weights(place / FILES[0])
    weights = Weights(held.path, {name.lower(): tensor for name, tensor in held.tensors.items()})
    path = place.absolute().as_posix()
    if "/embedding/" in path:
        raise refusal(place, "reads the embedding")
    layer, repository = _LAYER.search(path), _REPOSITORY.search(path)
    hook, facts = None, {}
    if layer and repository:
        hook = f"blocks.{layer[1]}.{_HOOKS[repository[3]]}"
        facts = {"model_name": f"google/gemma-2-{repository[1]}" + ("-it" if repository[2] == "it" else "")}
    return assemble(
        weights, NAME, hook=hook, facts=facts, architecture="jumprelu", encoder=weights.take("w_enc"),
        decoder=weights.take("w_dec"), encoder_bias=weights.take("b_enc"), decoder_bias=weights.take("b_dec"),
        threshold=weights.take("threshold"),
    )  # fmt: skip
