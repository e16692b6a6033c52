"""Reducing activations to per-neuron sums inside a trace. Nothing per token leaves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from nnvalue.traces.sites import read_activation


def per_neuron_sums(activation: Tensor, mask: Tensor, scratch: Tensor | None = None) -> Tensor:
    """Per row and neuron: how many counted tokens fired (a > 0), the sum of a, the sum of a².

    Counts are exact and sums are accumulated in float32 whatever the dtype of the activation (up to 2^24 tokens a row),
    under autocast too. One masked matrix product a statistic: much cheaper than indexing or boolean sums. What stands
    at tokens that do not count has no influence, even NaN or infinity.

    >>> a = torch.tensor([[[1.0, -1.0], [2.0, 0.0], [9.0, 9.0]]])
    >>> per_neuron_sums(a, torch.tensor([[1, 1, 0]])).tolist()  # the third token is padding
    [[[2.0, 0.0]], [[3.0, -1.0]], [[5.0, 1.0]]]

    Args:
        activation: `[batch, token, neuron]`, floating point; or flat `[batch * token, neuron]`, as OPT has it.
        mask: `[batch, token]`, 1 (or True) where a token counts.
        scratch: optional float32 buffer of the activation's shape, reused over layers to save allocations.

    Returns:
        float32 `[3, batch, neuron]` on the activation's device: fired, sum, sum of squares.
    """
    activation = by_row(activation, mask)
    if scratch is None:
        scratch = torch.empty(activation.shape, dtype=torch.float32, device=activation.device)
    weight = mask.to(activation.device, torch.float32).unsqueeze(1)  # [batch, 1, token]
    with torch.autocast(activation.device.type, enabled=False):
        sums = _masked_products(activation, weight, scratch)
        if not sums.isfinite().all():
            # Zero times NaN is NaN: only now is it worth the cost to blank what does not count.
            sums = _masked_products(activation.masked_fill(weight.transpose(1, 2) == 0, 0), weight, scratch)
    return sums


def by_row(activation: Tensor, mask: Tensor) -> Tensor:
    """The activation as `[batch, token, neuron]`, also where the model flattens it to `[batch * token, neuron]`."""
    return activation.unflatten(0, mask.shape) if activation.dim() == 2 else activation


def _masked_products(activation: Tensor, weight: Tensor, scratch: Tensor) -> Tensor:
    fired = torch.bmm(weight, torch.gt(activation, 0, out=scratch))
    if activation.dtype == torch.float32:
        total = torch.bmm(weight, activation)
        squares = torch.bmm(weight, torch.mul(activation, activation, out=scratch))
    else:
        total = torch.bmm(weight, scratch.copy_(activation))
        squares = torch.bmm(weight, scratch.square_())
    return torch.cat((fired, total, squares), dim=1).transpose(0, 1)


def collect_moments(model: Any, sites: Sequence[str], mask: Tensor, groups: Tensor, first: int = 0) -> Tensor:
    """`per_neuron_sums` at every site of the pass under way, summed over the rows of each group.

    Call it inside a trace, save what it returns, and stop the pass after it:

    >>> groups = torch.ones(1, len(ids))  # all rows are one group
    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False) as tracer:
    ...     moments = nnsight.save(collect_moments(model, sites, mask, groups))
    ...     tracer.stop()
    >>> moments.shape == (3, 1, len(sites), width)
    True

    Args:
        model: the nnsight model that is being traced.
        sites: one site a layer, in forward order, all of one width.
        mask: `[batch, token]`, 1 where a token counts.
        groups: float32 `[group, batch]`, 1 where a row belongs to a group (a fold, a pole, a value).
        first: tokens before this column are known to be uncounted and are not looked at.

    Returns:
        float32 `[3, group, layer, neuron]`: fired, sum, sum of squares. It is on the device of the first site.
    """
    sums: Any = None
    for number, (rows, _) in enumerate(_sums_by_site(model, sites, mask, first)):
        if sums is None:
            sums = rows.new_zeros(3, len(groups), len(sites), rows.shape[-1])
        with torch.autocast(rows.device.type, enabled=False):
            sums[:, :, number] = (groups.to(rows.device) @ rows).to(sums.device)
    return sums


def collect_contrasts(
    model: Any, sites: Sequence[Sequence[str]], masks: Sequence[Tensor], readings: Sequence[tuple[int, int]] = ((0, 0),)
) -> tuple[Tensor, str]:
    """Sums of both poles, and of their paired differences, for every reading of the pass under way.

    The first half of the rows belong to the positive pole, the second half to the same contrasts under the negative
    one. A reading is a site and a choice of tokens. Of each contrast two differences are taken, that of its two firing
    rates and that of its two means, each over its own counted tokens; a contrast with nothing to count on either side
    has none.

    >>> gates = [[site] for site in sites]  # of each layer one site
    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False) as tracer:
    ...     sums, dtype = collect_contrasts(model, gates, [mask])
    ...     sums, dtype = nnsight.save(sums), nnsight.save(dtype)
    ...     tracer.stop()
    >>> sums.shape == (1, 10, len(sites), width), dtype
    (True, 'float32')

    Args:
        sites: of each layer the sites that are read, in forward order; as many in every layer, all of one width.
        masks: choices of tokens, each `[2 * contrast, token]` with 1 where a token counts.
        readings: (number of a site within its layer, number of a mask).

    Returns:
        float32 `[reading, 10, layer, neuron]`: fired, sum and sum of squares of the positive pole, the same of the
        negative one, Σd and Σd² of firing rates, Σd and Σd² of means; and the name of the activations' dtype.
    """
    sums: Any = None
    dtype = ""
    windows = [_window(mask) for mask in masks]
    scratch: list[Any] = [None] * len(masks)
    for number, layer in enumerate(sites):
        activations = [by_row(read_activation(model, site), masks[0]) for site in layer]
        for place, (site, choice) in enumerate(readings):
            activation, mask = activations[site][:, windows[choice]], masks[choice][:, windows[choice]]
            if scratch[choice] is None or scratch[choice].device != activation.device:
                scratch[choice] = torch.empty(activation.shape, dtype=torch.float32, device=activation.device)
            paired = _paired_sums(per_neuron_sums(activation, mask, scratch[choice]), mask)
            if sums is None:
                dtype = str(activation.dtype).removeprefix("torch.")
                sums = paired.new_zeros(len(readings), 10, len(sites), paired.shape[-1])
            sums[place, :, number] = paired.to(sums.device)
    return sums, dtype


def _paired_sums(rows: Tensor, mask: Tensor) -> Tensor:
    """From `[3, 2 * contrast, neuron]` of `per_neuron_sums`, float32 `[10, neuron]` as `collect_contrasts` has them."""
    poles = rows.unflatten(1, (2, -1))  # [3, pole, contrast, neuron]
    tokens = mask.to(rows.device, torch.float32).sum(1).unflatten(0, (2, -1)).unsqueeze(-1)
    averages = poles[:2] / tokens.clamp(min=1)  # firing rates and means
    differences = (averages[:, 0] - averages[:, 1]) * (tokens > 0).all(0)  # [2, contrast, neuron]
    paired = torch.stack((differences.sum(1), differences.square().sum(1)), dim=1)
    return torch.cat((poles[:, 0].sum(1), poles[:, 1].sum(1), paired.flatten(0, 1)))


def _window(mask: Tensor) -> slice:
    """The columns from the first to the last counted token: what lies outside is not looked at."""
    columns = mask.any(0).nonzero().flatten().tolist() or [0]
    return slice(columns[0], columns[-1] + 1)


def count_loudest(model: Any, sites: Sequence[str], mask: Tensor, k: int) -> Tensor:
    """How many rows have a neuron among the k loudest of its layer, by |a| at the last token of the pass under way.

    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False) as tracer:
    ...     counts = nnsight.save(count_loudest(model, sites, mask, 3))
    ...     tracer.stop()
    >>> counts.shape == (len(sites), width), counts.sum(1).tolist() == [3 * len(ids)] * len(sites)
    (True, True)

    Args:
        sites: one site a layer, in forward order, all of one width.
        mask: `[batch, token]`, of rows that are padded on the left.

    Returns:
        int32 `[layer, neuron]` in main memory.
    """
    counts = []
    for site in sites:
        last = by_row(read_activation(model, site), mask)[:, -1].abs()
        loudest = last.topk(min(k, last.shape[-1])).indices.flatten()
        counts.append(torch.bincount(loudest, minlength=last.shape[-1]).to("cpu", torch.int32))
    return torch.stack(counts)


def add_up(total: Tensor | None, part: Tensor) -> Tensor:
    """A running sum over batches, kept in float64 in main memory; start it with None.

    >>> add_up(add_up(None, torch.tensor([1.5])), torch.tensor([2.0]))
    tensor([3.5000], dtype=torch.float64)
    """
    part = part.detach().to("cpu", torch.float64)
    return part if total is None else total + part


def _sums_by_site(model: Any, sites: Sequence[str], mask: Tensor, first: int) -> Iterator[tuple[Tensor, torch.dtype]]:
    """`per_neuron_sums` and the activations' dtype, site by site, with one scratch buffer for all."""
    scratch = None
    for site in sites:
        activation = by_row(read_activation(model, site), mask)[:, first:]
        if scratch is None or scratch.device != activation.device:
            scratch = torch.empty(activation.shape, dtype=torch.float32, device=activation.device)
        yield per_neuron_sums(activation, mask[:, first:], scratch), activation.dtype
