"""Gradient × activation: what a neuron contributes to the likelihood of a text, to first order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnvalue.traces.statistics import by_row


def gradient_products(activations: Sequence[Tensor], logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Σ over counted tokens of a · ∂L/∂a, where L is the log-likelihood of each row's labelled tokens, in nats.

    Call it inside a trace whose pass keeps its graph; rows do not influence one another.

    >>> with model.trace(ids, attention_mask=mask, use_cache=False):
    ...     activations = [read_activation(model, site) for site in sites]
    ...     products = nnsight.save(gradient_products(activations, model.output.logits, ids, mask))
    >>> products.shape == (len(ids), len(sites), width)
    True

    Args:
        activations: `[batch, token, neuron]` of each layer, read in this pass.
        logits: `[batch, position, vocabulary]`, of all positions or of some.
        labels: int64 `[batch, position]`, the token that each of them should predict; below 0 where none counts.
        mask: `[batch, token]`, 1 at tokens whose activations count.

    Returns:
        float32 `[batch, layer, neuron]` in main memory.
    """
    labels, mask = labels.to(logits.device), mask.to(logits.device, torch.float32)
    likelihood = torch.log_softmax(logits.float(), -1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    gradients = torch.autograd.grad((likelihood * (labels >= 0)).sum(), list(activations))
    rows = []
    for activation, gradient in zip(activations, gradients, strict=True):
        weight = mask.to(activation.device).unsqueeze(-1)
        product = by_row(activation.detach().float() * gradient.float(), mask)
        rows.append((product * weight).sum(1).to("cpu"))
    return torch.stack(rows, dim=1)
