"""Editing neurons inside a trace. Rows of a batch may be edited differently; zeros leave a row as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nnvalue.traces.sites import read_activation


def add_to_neurons(
    model: Any, site: str, neurons: Tensor, amounts: Tensor, positions: slice | Tensor = slice(None)
) -> None:
    """Add to the activation of some neurons, in place: `a ← a + amount`.

    Call it inside a trace, in forward order. To edit every step of a generation:

    >>> neurons, amounts = torch.tensor([3, 7]), torch.tensor([0.5, -0.5])
    >>> with torch.no_grad(), model.generate(max_new_tokens=2, min_new_tokens=2, do_sample=False) as tracer:
    ...     with tracer.invoke(ids, attention_mask=mask):
    ...         for step in tracer.iter[:2]:
    ...             add_to_neurons(model, sites[0], neurons, amounts)
    ...     with tracer.invoke():
    ...         out = tracer.result.save()
    >>> out.shape[1] - ids.shape[1]
    2

    Args:
        model: the nnsight model that is being traced.
        site: where the neurons are, e.g. `model.layers.3.mlp.down_proj.input`.
        neurons: int64 `[k]`, indices over the site's width.
        amounts: `[k]` for all rows alike, or `[batch, k]` for each row its own (`[1, k]` is a batch of one row).
        positions: tokens to edit, counted in the pass under way (a decode step has one); all of them by default.

    Raises ValueError for a model that flattens rows and tokens (OPT) if `positions` are limited and `amounts` do not
    tell how many rows there are; give them as `[batch, k]`.
    """
    activation = _by_row(read_activation(model, site), amounts, positions)
    chosen, change = _prepare(activation, neurons, amounts)
    part = activation[:, positions, :]
    part[..., chosen] += change
    activation[:, positions, :] = part


def set_neurons(
    model: Any, site: str, neurons: Tensor, amounts: Tensor, positions: slice | Tensor = slice(None)
) -> None:
    """Set the activation of some neurons, in place: `a ← amount`, or leave it where the amount is NaN.

    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask) as tracer:
    ...     set_neurons(model, sites[0], torch.tensor([3]), torch.tensor([0.0]))
    ...     activation = nnsight.save(model.get(sites[0]))
    ...     tracer.stop()
    >>> activation[..., 3].any().item()
    False

    Arguments as for `add_to_neurons`; with NaN in `[batch, k]` amounts a row keeps its own activation.
    """
    activation = _by_row(read_activation(model, site), amounts, positions)
    chosen, target = _prepare(activation, neurons, amounts)
    part = activation[:, positions, :]
    old = part[..., chosen]
    part[..., chosen] = torch.where(target.isnan(), old, target.expand_as(old))
    activation[:, positions, :] = part


def _by_row(activation: Tensor, amounts: Tensor, positions: slice | Tensor) -> Tensor:
    """The activation, or a view of a flat one, as `[batch, token, neuron]`; without a need to know rows, as one row."""
    if activation.dim() == 3:
        return activation
    everywhere = isinstance(positions, slice) and positions == slice(None)
    if amounts.dim() == 1 and not everywhere:
        raise ValueError("This model flattens rows and tokens: to edit some positions, give amounts as [batch, k].")
    return activation.unflatten(0, (1 if amounts.dim() == 1 else len(amounts), -1))


def _prepare(activation: Tensor, neurons: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
    """Indices and amounts on the activation's device and in its dtype; amounts as `[batch or 1, 1, k]`."""
    amounts = amounts.to(activation.device, activation.dtype)
    return neurons.to(activation.device), amounts.reshape(-1, 1, amounts.shape[-1])
