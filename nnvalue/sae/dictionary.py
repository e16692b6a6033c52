"""`SparseAutoencoder`: a small one, of torch alone, whatever format it came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError
from nnvalue.traces import encode_features

ARCHITECTURES = ("standard", "jumprelu", "topk", "batchtopk", "gated")
"""`batchtopk` is used with a threshold that its training has left behind, as a jump-ReLU."""


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """Features of one place in a model: x ≈ Σ aₖ dₖ + b. Weights are float32.

    architecture: one of `ARCHITECTURES`.
    encoder: `[input, feature]`; decoder: `[feature, input]`, whose rows are the features' directions.
    encoder_bias: `[feature]`; decoder_bias: `[input]`.
    threshold: `[feature]`, of `jumprelu` and `batchtopk`: a pre-activation at or below it is 0.
    k: of `topk`: how many features of a token are kept.
    gate_bias, gate_scale: `[feature]`, of `gated`: the gate opens where x·W + gate_bias > 0, and the size is
        relu(x·W·exp(gate_scale) + encoder_bias) (Rajamanoharan et al. 2024, arXiv 2404.16014, weights shared).
    subtract_bias: whether decoder_bias is taken off the input before encoding.
    input_scale: the input is multiplied by it before encoding, and reconstructions are divided by it.
    site: the dotted path of what it reads, as `nnvalue.traces` names it, such as `model.layers.3.output`; None if the
        format does not say.
    facts: JSON data on where it is from: format, release, hook name, model name, training.
    """

    architecture: str
    encoder: Tensor
    decoder: Tensor
    encoder_bias: Tensor
    decoder_bias: Tensor
    threshold: Tensor | None = None
    k: int | None = None
    gate_bias: Tensor | None = None
    gate_scale: Tensor | None = None
    subtract_bias: bool = False
    input_scale: float = 1.0
    site: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise InvalidInputError(
                f"The SAE's architecture is '{self.architecture}'; known are {', '.join(ARCHITECTURES)}."
            )
        if self.encoder.dim() != 2 or self.decoder.shape != self.encoder.shape[::-1]:
            raise InvalidInputError(
                f"The encoder of an SAE is [input, feature] and its decoder [feature, input]; they are "
                f"{list(self.encoder.shape)} and {list(self.decoder.shape)}. Is one of them transposed?"
            )
        inputs, features = self.encoder.shape
        wanted = {"encoder_bias": features, "decoder_bias": inputs}
        wanted |= {
            name: features for name in ("threshold", "gate_bias", "gate_scale") if getattr(self, name) is not None
        }
        for name, size in wanted.items():
            given = getattr(self, name)
            if given.shape != (size,):
                raise InvalidInputError(f"'{name}' of an SAE must be [{size}]; it is {list(given.shape)}.")
        needs = {"jumprelu": ("threshold",), "batchtopk": ("threshold",), "topk": ("k",),
                 "gated": ("gate_bias", "gate_scale")}  # fmt: skip
        for name in needs.get(self.architecture, ()):
            if getattr(self, name) is None:
                raise InvalidInputError(f"An SAE of the architecture '{self.architecture}' needs '{name}'.")
        if self.k is not None and not 1 <= self.k <= features:
            raise InvalidInputError(f"k must lie between 1 and the {features} features, {self.k} given.")
        for name in ("encoder", "decoder", *wanted):
            given = getattr(self, name)
            if not torch.isfinite(given).all():
                raise InvalidInputError(f"'{name}' of this SAE has NaN or infinite entries; fetch it again.")
            object.__setattr__(self, name, given.float())

    @property
    def inputs(self) -> int:
        """Width of what it reads."""
        return self.encoder.shape[0]

    @property
    def features(self) -> int:
        """How many features it has."""
        return self.encoder.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Activations float32 `[..., feature]` of inputs `[..., input]`."""
        return encode_features(x.to(self.encoder.device), self.plain())

    def plain(self) -> dict[str, Any]:
        """What it takes to encode, as `nnvalue.traces.encode_features` takes it: plain, so that it travels."""
        names = ("architecture", "encoder", "encoder_bias", "threshold", "k", "gate_bias", "gate_scale", "input_scale")
        made = {name: getattr(self, name) for name in names}
        made["subtracted"] = self.decoder_bias if self.subtract_bias else None
        return {name: one for name, one in made.items() if one is not None}

    def decode(self, activations: Tensor) -> Tensor:
        """Reconstructions float32 `[..., input]` of activations `[..., feature]`."""
        return (
            activations.to(self.decoder.device, torch.float32) @ self.decoder + self.decoder_bias
        ) / self.input_scale

    def error(self, x: Tensor) -> Tensor:
        """What it leaves out: x − decode(encode(x)), `[..., input]`."""
        return x.to(self.encoder.device, torch.float32) - self.decode(self.encode(x))

    def directions(self, features: Sequence[int]) -> Tensor:
        """Decoder rows of some features in units of the input, float32 `[feature, input]`.

        Raises InvalidInputError for a feature that it lacks.
        """
        numbers = [int(one) for one in features]
        if wrong := [one for one in numbers if not 0 <= one < self.features]:
            raise InvalidInputError(f"There is no feature {wrong[0]}; this SAE has 0 to {self.features - 1}.")
        return self.decoder[numbers] / self.input_scale
