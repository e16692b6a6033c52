"""Somebody else's helpers, built on nnvalue's: loudest neurons of a text, and the same with some neurons silenced."""

from __future__ import annotations

import torch

from nnvalue.traces import add_to_neurons, per_neuron_sums, read_activation


def loudest(model, sites, mask, k):
    found = []
    for site in sites:
        _, total, _ = per_neuron_sums(read_activation(model, site), mask)
        found.append(torch.topk(total.sum(0), k).indices.cpu())
    return torch.stack(found)


def push(model, site, neurons, amount):
    add_to_neurons(model, site, neurons, torch.full((len(neurons),), amount))
