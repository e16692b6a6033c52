"""Reading and writing the activation at a site, a dotted path that ends in `.output` or `.input`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def read_activation(model: Any, site: str) -> Tensor:
    """The live activation `[batch, token, neuron]` at a site of the pass that is under way.

    Call it inside a trace, and read sites in forward order. The tensor is the model's own: changing it in place changes
    what the model computes next.

    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask) as tracer:
    ...     activation = nnsight.save(read_activation(model, sites[0]))
    ...     tracer.stop()
    >>> activation.shape == (*ids.shape, width)
    True

    Args:
        model: the nnsight model that is being traced.
        site: for example `model.layers.3.mlp.act_fn.output` (gate), `model.layers.3.mlp.down_proj.input` (down_in) or
            `model.layers.3.output` (the residual stream after a layer; of what a layer returns, the first part).
    """
    activation = model.get(site)
    return activation[0] if isinstance(activation, tuple) else activation


def attention_of(model: Any) -> Tensor:
    """The attention mask `[batch, token]` of the pass under way; ones where it was given none.

    Call it inside a trace, before anything else is read.

    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask) as tracer:
    ...     attention = nnsight.save(attention_of(model))
    ...     tracer.stop()
    >>> torch.equal(attention, mask)
    True
    """
    given, named = model.inputs
    tokens = named.get("input_ids", given[0] if given else None)
    tokens = named["inputs_embeds"][..., 0] if tokens is None else tokens
    mask = named.get("attention_mask")
    return torch.ones_like(tokens, dtype=torch.long) if mask is None or mask.dim() != 2 else mask


def write_activation(model: Any, site: str, activation: Tensor) -> None:
    """Let the model go on with another activation `[batch, token, neuron]` at a site. Call it inside a trace.

    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask):
    ...     write_activation(model, sites[0], read_activation(model, sites[0]) * 0)
    ...     silenced = nnsight.save(model.output.logits)
    """
    module, _, end = site.rpartition(".")
    setattr(model.get(module), end, activation)
