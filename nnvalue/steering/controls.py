"""Matched random controls: other neurons with the same amounts, other directions of the same length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from nnvalue.errors import InvalidInputError
from nnvalue.steering.along import DirectionSteering
from nnvalue.steering.neurons import NeuronSteering
from nnvalue.steering.recipes import Recipe

MOST = 0.2
"""Share of a layer's neurons above which there is no matched control: too few are left that are not in the set."""


NEAREST = 10
"""Of so many free neurons that fire about as often one is drawn, where rates are matched."""


def matched_random(
    steering: NeuronSteering, width: int, seed: int = 0, rates: np.ndarray | None = None
) -> NeuronSteering:
    """The same edits at neurons drawn at random from the same layers, none of them in the set.

    Both directions use the same neurons in place of the same ones, so the control has doses as the set has.

    Args:
        width: neurons in each layer of the model.
        rates: firing rates `[layer, neuron]`. Each neuron is then replaced by one of the free ones that fire nearly as
            often, so that a control does not differ by how busy its neurons are.

    Raises InvalidInputError for a set that takes more than a fifth of a layer: the control would be drawn from what
    little is left, and would not be a random set.
    """
    recipes = [recipe for recipe in (steering.forth, steering.back) if recipe is not None]
    pairs = np.unique(np.concatenate([np.stack((r.layer, r.neuron), axis=1) for r in recipes]), axis=0)
    random = np.random.default_rng(seed)
    instead: dict[tuple[int, int], int] = {}
    for layer in np.unique(pairs[:, 0]):
        taken = pairs[pairs[:, 0] == layer, 1]
        if len(taken) > MOST * width:
            raise InvalidInputError(
                f"The set has {len(taken)} of the {width} neurons of layer {layer} ({len(taken) / width:.0%}); a "
                f"matched random control is drawn from the others and makes sense up to {MOST:.0%} of a layer. Take "
                "fewer (top)."
            )
        free = np.setdiff1d(np.arange(width), taken)
        if rates is None:
            drawn = random.choice(free, len(taken), replace=False).tolist()
        else:
            drawn = _as_busy(taken, free, np.asarray(rates)[layer], random)
        instead |= {(int(layer), int(old)): int(new) for old, new in zip(taken, drawn, strict=True)}

    def moved(recipe: Recipe) -> Recipe:
        at = zip(recipe.layer.tolist(), recipe.neuron.tolist(), strict=True)
        return recipe.moved(np.array([instead[pair] for pair in at], np.int64))

    kind = "matched_random" if rates is None else "matched_random, same firing rates"
    about = {**steering.about, "control": kind, "control_seed": seed}
    return replace(
        steering, forth=moved(steering.forth), back=None if steering.back is None else moved(steering.back), about=about
    )


def random_direction(steering: DirectionSteering, seed: int = 0) -> DirectionSteering:
    """A direction drawn evenly from all, as long as the given one in each of its layers.

    Raises InvalidInputError for a steering with a goal: what its probe sees says nothing of another direction.
    """
    if steering.goal is not None:
        raise InvalidInputError("A steering with a goal follows a probe, and a random direction has none.")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(steering.vectors.shape, generator=random)
    lengths = steering.vectors.float().norm(dim=1, keepdim=True)
    about = {**steering.about, "control": "random direction", "control_seed": seed}
    return replace(steering, vectors=drawn / drawn.norm(dim=1, keepdim=True) * lengths, about=about)


def _as_busy(taken: np.ndarray, free: np.ndarray, rates: np.ndarray, random: np.random.Generator) -> list[int]:
    """For each neuron one of the free ones nearest in rate, none twice."""
    left, drawn = list(free), {}
    for neuron in random.permutation(taken):
        nearest = np.argsort(np.abs(rates[left] - rates[neuron]), kind="stable")[:NEAREST]
        drawn[int(neuron)] = left.pop(int(random.choice(nearest)))
    return [int(drawn[int(neuron)]) for neuron in taken]
