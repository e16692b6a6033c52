"""Vectors aimed at one feature of an SAE with as little of others as can be: SAE-targeted steering.

After Chalnev, Siu and Conmy (SAE-TS, arXiv 2411.02193): what vectors do to features is measured, a linear map is fitted
to it, and a vector is chosen by that map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError
from nnvalue.models import Subject, generate_responses
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.sae import SparseAutoencoder, place_sae
from nnvalue.sae.locating import read_responses
from nnvalue.steering.along import DirectionSteering


def measured_effects(
    subject: Subject,
    sae: SparseAutoencoder,
    vectors: Tensor,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 24,
    batch_tokens: int = 8192,
    progress: Progress = silent,
) -> Tensor:
    """What adding each vector at every answering position does to features; float32 `[vector, feature]`.

    The mean activation over the tokens that are generated, minus that without it, over all prompts.

    Args:
        vectors: float32 `[vector, input]`, in the units of what the SAE reads.

    Raises InvalidInputError for an SAE that does not read the residual stream after a layer, or vectors of other width.
    """
    site = str(place_sae(subject, sae).site)
    if site not in subject.anatomy.block or vectors.dim() != 2 or vectors.shape[1] != sae.inputs:
        raise InvalidInputError(
            f"Vectors are [vector, {sae.inputs}] and are added to the residual stream after a layer; "
            f"{list(vectors.shape)} given, and the SAE reads {site}."
        )
    layer = subject.anatomy.block.index(site)
    arms: list[Any] = [None, *(DirectionSteering("residual", (layer,), one.unsqueeze(0)) for one in vectors)]
    put = [(prompt, arm) for arm in arms for prompt in prompts]
    said = generate_responses(
        subject, [prompt for prompt, _ in put], steering=[arm for _, arm in put], max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens, progress=progress,
    )  # fmt: skip
    means = torch.from_numpy(read_responses(subject, sae, site, said, batch_tokens, progress)[0])
    by_arm = means.view(len(arms), len(prompts), -1).mean(1)
    return by_arm[1:] - by_arm[0]


def effect_map(vectors: Tensor, effects: Tensor, ridge: float = 1e-3) -> tuple[Tensor, Tensor]:
    """The linear map from vectors to effects, W `[input, feature]` and b `[feature]`, by ridge regression.

    Args:
        vectors: `[vector, input]`; effects: `[vector, feature]`; ridge: in units of the vectors' mean square.
    """
    if len(vectors) != len(effects) or len(vectors) < 2:
        raise InvalidInputError(
            f"{len(vectors)} vectors and {len(effects)} effects given; two of each at least, as many."
        )
    x, y = vectors.double(), effects.double()
    middle, level = x.mean(0), y.mean(0)
    centred = x - middle
    gram = centred.T @ centred
    penalty = ridge * gram.diagonal().mean().clamp(min=1e-30) * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram + penalty, centred.T @ (y - level))
    return weights.float(), (level - middle @ weights).float()


def targeted_vector(weights: Tensor, bias: Tensor, feature: int, spare: float = 1.0) -> Tensor:
    """A vector of unit length that moves a feature and not what every vector moves; float32 `[input]`.

    v = normalise(W e/|W e| − λ W b/|W b|), the paper's rule, with e the feature and b what happens whatever is added.

    Args:
        weights, bias: of `effect_map`; spare: λ.

    Raises InvalidInputError for a feature that the map lacks or does not reach.
    """
    if not 0 <= feature < weights.shape[1]:
        raise InvalidInputError(f"There is no feature {feature}; the map has 0 to {weights.shape[1] - 1}.")
    towards, always = weights[:, feature], weights @ bias
    if not towards.norm() > 0:
        raise InvalidInputError(f"No vector that was measured moves feature {feature}; measure others.")
    aimed = towards / towards.norm() - spare * always / always.norm().clamp(min=1e-30)
    return aimed / aimed.norm().clamp(min=1e-30)
