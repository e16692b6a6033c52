"""`train_sae`: a small sparse autoencoder of activations that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.progress import Progress, silent
from nnvalue.sae.dictionary import SparseAutoencoder

TRAINABLE = ("standard", "topk", "batchtopk")
"""What can be trained here; a trained `batchtopk` is used as a jump-ReLU of one threshold."""
_REPORT_EVERY = 50  # steps
_AUXILIARY_WEIGHT = 1 / 32  # of the loss of dead features, as Gao et al. have it
_THRESHOLD_BATCHES = 100  # over which the threshold of `batchtopk` is averaged
_COOLDOWN = 0.3  # share of the steps over which the learning rate falls to nothing


def train_sae(
    activations: Tensor,
    features: int,
    *,
    architecture: str = "batchtopk",
    active: int = 16,
    penalty: float = 0.5,
    steps: int = 5000,
    batch: int = 1024,
    rate: float = 1e-3,
    dead_after: int = 200_000,
    seed: int = 0,
    site: str | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> SparseAutoencoder:
    """Train an SAE with Adam on the mean squared error of its reconstructions.

    - `standard`: relu, with `penalty` times the sum of a token's activations added to the error (Bricken et al. 2023).
    - `topk`: a token's `active` largest pre-activations (Gao et al. 2024, arXiv 2406.04093).
    - `batchtopk`: the `active` × `batch` largest ones of a batch, so that some tokens have more than others; afterwards
      those above a threshold, the mean of the least that was kept (Bussmann et al. 2024, arXiv 2412.06410).

    Decoder rows have unit length throughout. Features that have been silent for `dead_after` tokens learn to rebuild
    what the others leave out (the auxiliary loss of Gao et al.). Inputs are brought to a mean square of 1 an entry for
    training, and what is returned reads them as they are. On one thread of a CPU the seed decides every bit.

    Args:
        activations: float `[token, input]`, on the device where training shall run; drawn from with replacement.
        features: how many to learn.
        architecture: one of `TRAINABLE`.
        active: mean features a token of `topk` and `batchtopk`.
        penalty: of `standard`, for inputs of a mean square of 1 an entry.
        rate: Adam's learning rate; it falls to nothing over the last part.
        site, facts: for the SAE; how it was trained is added to the facts.

    Raises UnknownNameError for another architecture, InvalidInputError for numbers or activations that make no sense.
    """
    _check(activations, features, architecture, active, (steps, batch))
    scale = float(activations.float().square().mean().rsqrt())
    weights = _start(activations, features, scale, seed)
    optimizer = torch.optim.Adam(weights.values(), lr=rate)
    drawing = torch.Generator().manual_seed(seed)
    silent_for = torch.zeros(features, device=activations.device)  # tokens since a feature was last active
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (steps - step) / (_COOLDOWN * steps))
        x = _draw(activations, batch, scale, drawing)
        before = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        acts = _sparse(before, architecture, active)
        left = x - acts @ weights["W_dec"] - weights["b_dec"]
        loss = left.square().sum(-1).mean()
        if architecture == "standard":
            loss = loss + penalty * acts.sum(-1).mean()
        dead = silent_for >= dead_after
        if dead.any():
            loss = loss + _AUXILIARY_WEIGHT * _auxiliary_loss(before, left.detach(), dead, weights["W_dec"])
        optimizer.zero_grad()
        loss.backward()
        _step_on_the_sphere(optimizer, weights["W_dec"])
        silent_for = torch.where((acts > 0).any(0), 0.0, silent_for + batch)
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
            progress("training the SAE", step + 1, steps)
    trained = {
        "architecture": architecture, "steps": steps, "batch": batch, "rate": rate, "seed": seed,
        "tokens": len(activations), "dead_after": dead_after,
        **({"penalty": penalty} if architecture == "standard" else {"active": active}),
    }  # fmt: skip
    threshold = None
    if architecture == "batchtopk":
        threshold = _threshold(activations, weights, active, batch, scale, drawing)
    return _finished(weights, architecture, active, scale, threshold, site, {**(facts or {}), "training": trained})


def _check(activations: Tensor, features: int, architecture: str, active: int, numbers: tuple[int, ...]) -> None:
    if architecture not in TRAINABLE:
        raise UnknownNameError("architecture to train", architecture, TRAINABLE)
    if activations.dim() != 2 or not len(activations) or not activations.is_floating_point():
        raise InvalidInputError(f"Activations [token, input] are expected; {list(activations.shape)} given.")
    if not activations.isfinite().all() or not activations.any():
        raise InvalidInputError("The activations hold NaN or infinity, or nothing but zeros.")
    if features < 1 or not 1 <= active <= features or min(numbers) < 1:
        raise InvalidInputError(
            f"At least one feature, step and token a batch are expected, and as many features as shall be active; "
            f"{features} features and {active} active ones given."
        )


def _start(activations: Tensor, features: int, scale: float, seed: int) -> dict[str, Tensor]:
    """Random unit rows, the encoder the decoder's transpose (Gao et al.), and the inputs' mean as decoder bias."""
    device, generator = activations.device, torch.Generator().manual_seed(seed)
    rows = torch.randn(features, activations.shape[1], generator=generator).to(device)
    rows = rows / rows.norm(dim=-1, keepdim=True)
    weights = {
        "W_enc": rows.T.clone(), "W_dec": rows, "b_enc": torch.zeros(features, device=device),
        "b_dec": activations.float().mean(0) * scale,
    }  # fmt: skip
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def _draw(activations: Tensor, batch: int, scale: float, drawing: torch.Generator) -> Tensor:
    places = torch.randint(len(activations), (batch,), generator=drawing).to(activations.device)
    return activations[places].float() * scale


def _sparse(before: Tensor, architecture: str, active: int) -> Tensor:
    """Activations `[batch, feature]` of pre-activations of the same shape."""
    positive = torch.relu(before)
    if architecture == "topk":
        most = positive.topk(active, dim=-1)
        return torch.zeros_like(positive).scatter(-1, most.indices, most.values)
    if architecture == "batchtopk":
        return positive * (positive >= _least_kept(positive.detach(), active))
    return positive


def _least_kept(positive: Tensor, active: int) -> Tensor:
    """The (`active` × batch)-th largest entry of `[batch, feature]`."""
    return positive.flatten().kthvalue(positive.numel() - active * len(positive) + 1).values


def _auxiliary_loss(before: Tensor, left: Tensor, dead: Tensor, decoder: Tensor) -> Tensor:
    """How badly the dead features would rebuild what is left of the input, as a share of the error, times inputs.

    Of each token the dead features with the largest pre-activations try, half as many as there are inputs.
    """
    asked = min(left.shape[1] // 2 or 1, int(dead.sum()))
    most = before.masked_fill(~dead, -math.inf).topk(asked, dim=-1)
    rebuilt = torch.zeros_like(before).scatter(-1, most.indices, torch.relu(most.values)) @ decoder
    return left.shape[1] * (left - rebuilt).square().mean() / left.square().mean().clamp(min=1e-12)


def _step_on_the_sphere(optimizer: torch.optim.Optimizer, decoder: Tensor) -> None:
    """One step after which rows have unit length; what of the gradient would only change it is taken out before."""
    with torch.no_grad():
        gradient = decoder.grad
        assert gradient is not None  # after backward
        gradient -= (gradient * decoder).sum(-1, keepdim=True) * decoder
        optimizer.step()
        decoder /= decoder.norm(dim=-1, keepdim=True)


@torch.no_grad()
def _threshold(
    activations: Tensor, weights: Mapping[str, Tensor], active: int, batch: int, scale: float, drawing: torch.Generator
) -> Tensor:
    """Mean over batches of the least pre-activation that is kept; a scalar."""
    least = []
    for _ in range(_THRESHOLD_BATCHES):
        x = _draw(activations, batch, scale, drawing)
        before = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        least.append(_least_kept(torch.relu(before), active))
    return torch.stack(least).mean()


def _finished(
    weights: Mapping[str, Tensor],
    architecture: str,
    active: int,
    scale: float,
    threshold: Tensor | None,
    site: str | None,
    facts: Mapping[str, Any],
) -> SparseAutoencoder:
    """The SAE of inputs as they are: relu(s·x·W + b) = s·relu(x·W + b/s), so the scale goes into the biases alone."""
    own = {name: weight.detach().clone() for name, weight in weights.items()}
    return SparseAutoencoder(
        architecture, own["W_enc"], own["W_dec"], own["b_enc"] / scale, own["b_dec"] / scale,
        threshold=None if threshold is None else (threshold / scale).expand(len(own["b_enc"])).clone(),
        k=active if architecture == "topk" else None,
        subtract_bias=True, site=site, facts=facts,
    )  # fmt: skip
