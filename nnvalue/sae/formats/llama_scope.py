"""Llama Scope (He et al. 2024, arXiv 2410.20526): `hyperparams.json` and `checkpoints/final.safetensors`."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from nnvalue.errors import ArtifactError, UnknownNameError
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.formats.reading import assemble, number, read_config, read_weights, refusal

NAME = "Llama Scope"
FILES = ("hyperparams.json", "checkpoints/final.safetensors")
_FUNCTIONS = ("jumprelu", "topk")
"""Trained with top-k, and published with a threshold that takes its place."""


def looks_like(place: Path) -> bool:
    """Whether the format's files lie in a folder."""
    return all((place / name).is_file() for name in FILES)


def read(place: Path) -> SparseAutoencoder:
    """The SAE of a folder such as `Llama3_1-8B-Base-L15R-8x`.

    Inputs are scaled so that they have the length √d on average. The threshold is in units of the model's own
    activations, and where the config says so it is one of activation times length of the decoder row.

    Raises ArtifactError for damaged files or a missing tensor, InvalidInputError for a transcoder or a scale that
    depends on the token, UnknownNameError for another activation function.
    """
    path = place / FILES[0]
    config, weights = read_config(path), read_weights(place / FILES[1])
    if config.get("act_fn") not in _FUNCTIONS:
        raise UnknownNameError("architecture", str(config.get("act_fn")), _FUNCTIONS, f"(in {path})")
    hook = config.get("hook_point_in")
    if config.get("hook_point_out", hook) != hook:
        raise refusal(place, "is a transcoder: what it reads and what it writes are two places")
    if config.get("use_glu_encoder") or config.get("norm_activation", "dataset-wise") != "dataset-wise":
        raise refusal(place, "has a gated linear encoder or scales each token by its own length")
    norms = config.get("dataset_average_activation_norm")
    if not isinstance(norms, dict):
        raise ArtifactError(f"'dataset_average_activation_norm' in {path} should name norms and is {norms!r}.")
    scale = math.sqrt(number(config, "d_model", path)) / number(norms, "in", path)
    encoder, decoder = weights.take("encoder.weight").T, weights.take("decoder.weight").T
    threshold = torch.full((encoder.shape[1],), number(config, "jump_relu_threshold", path) * scale)
    if config.get("sparsity_include_decoder_norm") and len(decoder) == len(threshold):
        threshold = threshold / decoder.float().norm(dim=-1).clamp(min=1e-8)
    return assemble(
        weights, NAME, inputs=config["d_model"], features=config.get("d_sae"), hook=hook,
        architecture="jumprelu", encoder=encoder, decoder=decoder, encoder_bias=weights.take("encoder.bias"),
        decoder_bias=weights.take("decoder.bias"), threshold=threshold, input_scale=scale,
        subtract_bias=bool(config.get("apply_decoder_bias_to_pre_encoder", False)),
    )  # fmt: skip
