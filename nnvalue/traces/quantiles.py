"""Exact quantiles of single neurons by counting digits: every pass adds up, whatever the order or the batches.

A floating-point number's bits, read as an integer after flipping the negative ones, sort like the number itself. So
the k-th smallest activation of a neuron is found digit by digit, like a word in a dictionary: one pass counts the
highest digit, the next counts the second digit of those that share the first, and so on. Memory is one table of
`[neuron, digit]` however many tokens there are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnvalue.traces.statistics import by_row

_INTEGER = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def sortable_bits(activation: Tensor) -> Tensor:
    """Non-negative int64 keys, of 32 bits for float32 and 16 for half precision, in the order of the activations.

    >>> sortable_bits(torch.tensor([-2.0, -0.5, 0.0, 1e-30, 3.0])).diff().gt(0).all().item()
    True
    """
    kind = _INTEGER[activation.dtype]
    width = torch.iinfo(kind).bits
    bits = activation.contiguous().view(kind).to(torch.int64)
    return torch.where(bits < 0, -1 - (bits + (1 << (width - 1))), bits) + (1 << (width - 1))


def from_sortable_bits(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `sortable_bits`.

    >>> from_sortable_bits(sortable_bits(torch.tensor([-2.0, 0.25])), torch.float32).tolist()
    [-2.0, 0.25]
    """
    kind = _INTEGER[dtype]
    half = 1 << (torch.iinfo(kind).bits - 1)
    shifted = keys - half
    return torch.where(shifted < 0, -1 - shifted - half, shifted).to(kind).view(dtype)


def count_digits(activation: Tensor, mask: Tensor, prefix: Tensor, shift: int, bits: int) -> Tensor:
    """Count one digit of the keys of every counted token whose higher digits equal the neuron's prefix.

    >>> a = torch.tensor([[[0.5], [2.0], [0.5]]])  # one row of three tokens, one neuron
    >>> table = count_digits(a, torch.tensor([[1, 1, 0]]), torch.zeros(1, dtype=torch.int64), shift=24, bits=8)
    >>> table.sum().item(), table.shape
    (2, torch.Size([1, 256]))

    Args:
        activation: `[batch, token, neuron]`, of the chosen neurons only.
        mask: `[batch, token]`, 1 (or True) where a token counts.
        prefix: int64 `[neuron]`, the digits known so far (`key >> (shift + bits)`).
        shift: position of the digit's lowest bit.
        bits: width of the digit.

    Returns:
        int64 `[neuron, 2**bits]` on the activation's device.
    """
    keys = sortable_bits(by_row(activation, mask)[mask.to(activation.device, torch.bool)])  # [counted token, neuron]
    neurons = keys.shape[1]
    digit = (keys >> shift) & ((1 << bits) - 1)
    place = digit + (torch.arange(neurons, device=keys.device) << bits)
    wanted = (keys >> (shift + bits)) == prefix.to(keys.device)
    return torch.bincount(place[wanted], minlength=neurons << bits).view(neurons, 1 << bits)
