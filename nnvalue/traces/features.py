"""Reading the features of a sparse autoencoder off an activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def encode_features(x: Tensor, sae: Mapping[str, Any]) -> Tensor:
    """Activations float32 `[..., feature]` of inputs `[..., input]`. Call it inside a trace, or anywhere.

    >>> sae = {"architecture": "standard", "encoder": torch.eye(2), "encoder_bias": torch.zeros(2)}
    >>> encode_features(torch.tensor([[1.5, -2.0]]), sae).tolist()
    [[1.5, 0.0]]

    Args:
        sae: plain: `architecture` (`standard`, `jumprelu`, `batchtopk`, `topk` or `gated`), `encoder` `[input,
            feature]` and `encoder_bias` `[feature]`; where they apply `threshold` `[feature]`, `k`, `gate_bias` and
            `gate_scale` `[feature]`, `subtracted` `[input]`, which is taken off the input, and `input_scale`, by which
            it is multiplied before.
    """
    given = {name: one.to(x.device) if isinstance(one, Tensor) else one for name, one in sae.items()}
    x = x.float() * given.get("input_scale", 1.0)
    if given.get("subtracted") is not None:
        x = x - given["subtracted"]
    if given["architecture"] == "gated":
        shared = x @ given["encoder"]
        size = torch.relu(shared * given["gate_scale"].exp() + given["encoder_bias"])
        return size * (shared + given["gate_bias"] > 0)
    before = x @ given["encoder"] + given["encoder_bias"]
    if given["architecture"] in ("jumprelu", "batchtopk"):
        return torch.relu(before) * (before > given["threshold"])
    if given["architecture"] == "topk":
        most = torch.relu(before).topk(int(given["k"]), dim=-1)
        return torch.zeros_like(before).scatter(-1, most.indices, most.values)
    return torch.relu(before)
