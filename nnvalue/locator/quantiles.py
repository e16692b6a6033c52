"""Exact 95th percentiles of the chosen neurons, by a pass for each digit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.errors import DatasetError, InvalidInputError
from nnvalue.locator.collect import gather_digit_counts
from nnvalue.locator.readings import Reading
from nnvalue.models import Response, Subject
from nnvalue.progress import Progress, silent
from nnvalue.traces import from_sortable_bits

_MANY_NEURONS = 8192  # with more of them, narrower digits keep a table under 130 MiB


def exact_quantiles(
    subject: Subject,
    responses: Sequence[Response],
    site: str,
    neurons: Tensor,
    quantile: float = 0.95,
    *,
    tokens: str = "response",
    dtype: str | None = None,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "quantiles",
    progress: Progress = silent,
) -> Tensor:
    """The order statistic of rank ⌈quantile · tokens⌉ of each chosen neuron over all counted tokens.

    An activation that occurred, not an interpolation; as in NPTI all counted tokens enter, non-positive ones too. Takes
    three passes over the responses in float32 (four for more than 8,192 neurons) and two in half precision; memory
    does not depend on how many tokens there are.

    Args:
        neurons: int64 `[k, 2]` of (layer, neuron).
        tokens: which tokens count, one of `TOKENS`.
        dtype: that of the activations, where the model is not here to tell it.

    Returns:
        float32 `[k]`.

    Raises DatasetError if no token counts.
    """
    dtype = dtype or subject.dtype
    if dtype is None:
        raise InvalidInputError("The dtype of a remote model's activations must be given: dtype=moments.dtype.")
    reading = Reading(site, tokens).check()
    counted = sum(reading.count(response) for response in responses)
    if not counted:
        raise DatasetError("All responses are empty, so there is no percentile; does the model answer prompts?")
    kind = getattr(torch, dtype)
    bits = 11 if kind == torch.float32 and len(neurons) <= _MANY_NEURONS else 8
    passes = math.ceil(8 * kind.itemsize / bits)
    places = {layer: (neurons[:, 0] == layer).nonzero().flatten() for layer in neurons[:, 0].unique().tolist()}
    chosen = {layer: neurons[place, 1] for layer, place in places.items()}
    prefixes = {layer: torch.zeros_like(indices) for layer, indices in chosen.items()}
    ranks = {
        layer: torch.full_like(indices, math.ceil(quantile * counted)) for layer, indices in chosen.items()
    }  # from 1
    for number in reversed(range(passes)):
        tables = gather_digit_counts(
            subject, responses, site, chosen, prefixes, number * bits, bits, dtype,
            tokens=tokens, batch_tokens=batch_tokens, journal=journal, journal_key=f"{journal_key}-digit{number}",
            progress=progress,
        )  # fmt: skip
        for layer, table in tables.items():
            below = table.cumsum(1)
            digit = torch.searchsorted(below, ranks[layer].unsqueeze(1))
            ranks[layer] = ranks[layer] - (below - table).gather(1, digit).squeeze(1)
            prefixes[layer] = (prefixes[layer] << bits) | digit.squeeze(1)
    found = torch.empty(len(neurons), dtype=torch.float32)
    for layer, place in places.items():
        found[place] = from_sortable_bits(prefixes[layer], kind).float()
    return found
