"""Steering by features of a sparse autoencoder: only the rows that are used travel, never the dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnvalue.artifacts import digest
from nnvalue.errors import InvalidInputError, ModelError, UnknownNameError
from nnvalue.models import Anatomy
from nnvalue.sae import SparseAutoencoder, ValueFeatures, sae_facts
from nnvalue.steering.in_trace import InTrace
from nnvalue.steering_protocol import Edits, checked_dose, checked_scope

FEATURE_MODES = ("add", "clamp", "min_clamp", "scale")
"""`add`: x + d·cₖ·dₖ. `clamp`: a′ = d·tₖ, at a dose below 1 that share of the way. `min_clamp`: a′ = max(a, d·tₖ).
`scale`: a′ = (1 + d·(cₖ − 1))·a, 0 at a dose of 1 and a factor of 0. In all but the first, the autoencoder's error is
kept: x + Σ (a′ₖ − aₖ)·dₖ."""


@dataclass(frozen=True, eq=False)
class FeatureSteering(InTrace):
    """Some features of a sparse autoencoder, moved where it reads.

    site: dotted path of what it reads and what is edited.
    features: their numbers; mode: one of `FEATURE_MODES`.
    amounts: float32 `[feature]`, what a dose of 1 means: coefficients of `add`, in units of the input; activations of
        `clamp` and `min_clamp`; factors of `scale`.
    decoder: float32 `[feature, input]`, their directions.
    encoder, encoder_bias, threshold: float32 `[feature, input]` and `[feature]` twice; None for `add`, which reads
        nothing. See `encoder_rows`.
    """

    site: str
    features: tuple[int, ...]
    mode: str
    amounts: Tensor
    decoder: Tensor
    encoder: Tensor | None = None
    encoder_bias: Tensor | None = None
    threshold: Tensor | None = None
    dose: float = 1.0
    scope: Any = "answer"
    model: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose", checked_dose(self.dose))
        object.__setattr__(self, "scope", checked_scope(self.scope))
        object.__setattr__(self, "features", tuple(map(int, self.features)))
        if self.mode not in FEATURE_MODES:
            raise UnknownNameError("mode of features", str(self.mode), FEATURE_MODES)
        count, width = len(self.features), self.decoder.shape[-1]
        wanted = {"amounts": (count,), "decoder": (count, width)}
        if self.mode != "add":
            wanted |= {"encoder": (count, width), "encoder_bias": (count,), "threshold": (count,)}
        for name, shape in wanted.items():
            given = getattr(self, name)
            if given is None or tuple(given.shape) != shape or given.isnan().any():
                raise InvalidInputError(f"'{name}' of a feature steering must be {list(shape)} and without NaN.")
        if not count or len(set(self.features)) != count:
            raise InvalidInputError("A feature steering needs features, each of them once.")
        if self.dose < 0 and self.mode != "add":
            raise InvalidInputError(
                f"The mode '{self.mode}' has no dose below 0, {self.dose:g} given; take the other pole's features."
            )

    def edits(self, anatomy: Anatomy) -> Edits:
        """Compiled edits; none at dose 0. Raises ModelError for a site or width that the model has not."""
        if not self.dose:
            return []
        if self.site not in anatomy.forward_order():
            raise ModelError(f"These features are read at {self.site}, and this model has no such place.")
        if self.site in anatomy.block and anatomy.hidden not in (None, self.decoder.shape[1]):
            raise ModelError(
                f"These features have {self.decoder.shape[1]} entries, and this model's residual stream has "
                f"{anatomy.hidden}; take an SAE of the model at hand."
            )
        scope = {} if self.scope == "answer" else {"scope": self.scope}
        return [(self.site, [self._edit() | scope])]

    def _edit(self) -> dict[str, Any]:
        amounts = self.amounts.float().unsqueeze(0)
        if self.mode == "add":
            return {"add": self.dose * amounts @ self.decoder.float()}
        encoder, bias, threshold = (_there(one) for one in (self.encoder, self.encoder_bias, self.threshold))
        rows = {
            "features": torch.tensor(self.features),
            "dictionary": digest([self.site, self.decoder[:, :8].tolist()])[:12],  # tells rows of two SAEs apart
            "encoder": encoder.float().unsqueeze(0), "decoder": self.decoder.float().unsqueeze(0),
            "encoder_bias": bias.float(), "threshold": threshold.float(),
        }  # fmt: skip
        if self.mode == "scale":
            return rows | {"feature_scale": 1 + self.dose * (amounts - 1)}
        if self.mode == "min_clamp":
            return rows | {"feature_floor": self.dose * amounts}
        share = torch.full_like(amounts, min(self.dose, 1.0))
        return rows | {"feature_set": max(self.dose, 1.0) * amounts, "feature_share": share}

    def describe(self) -> dict[str, Any]:
        """What it is and does, as JSON data."""
        return {
            **self.about, "kind": "features", "mode": self.mode, "site": self.site, "features": list(self.features),
            "amounts": [round(one, 6) for one in self.amounts.tolist()], "dose": self.dose, "scope": self.scope,
        }  # fmt: skip

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Settings and tensors that it can be made of again."""
        names = ("site", "mode", "dose", "scope", "model", "about")
        settings = {**{name: getattr(self, name) for name in names}, "features": list(self.features)}
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return settings, {name: one for name, one in tensors.items() if one is not None}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FeatureSteering:
        """The inverse of `state`."""
        held: dict[str, Any] = {name: tensors.get(name) for name in _TENSORS}
        return cls(**held, **settings)


_TENSORS = ("amounts", "decoder", "encoder", "encoder_bias", "threshold")


def _there(tensor: Tensor | None) -> Tensor:
    """A tensor that the mode or the architecture comes with: their classes saw to it."""
    assert tensor is not None
    return tensor


def encoder_rows(sae: SparseAutoencoder, features: Sequence[int]) -> dict[str, Tensor]:
    """What it takes to read some features without the rest: encoder `[feature, input]`, encoder_bias, threshold.

    Scaling of the input and the decoder's bias are folded in, and a gated one is written as the jump-ReLU that it is
    (Rajamanoharan et al. 2024, arXiv 2407.14435): f = relu(x·encoder + encoder_bias) where that is above the threshold.

    Raises InvalidInputError for a feature that it lacks, and for `topk`, where what a feature is depends on all others.
    """
    if sae.architecture == "topk":
        raise InvalidInputError(
            "In an SAE of the architecture 'topk' a feature's activation depends on all others, so it cannot be read "
            "by its own row; steer in the mode 'add'."
        )
    sae.directions(features)  # refuses what is not there
    at = [int(one) for one in features]
    rows, bias = sae.encoder[:, at].T.clone(), sae.encoder_bias[at].clone()
    threshold = torch.zeros_like(bias) if sae.threshold is None else sae.threshold[at].clone()
    if sae.architecture == "gated":
        gain = _there(sae.gate_scale)[at].exp()
        rows, threshold = rows * gain[:, None], bias - _there(sae.gate_bias)[at] * gain
    if sae.subtract_bias:
        bias = bias - rows @ sae.decoder_bias
    return {"encoder": rows * sae.input_scale, "encoder_bias": bias, "threshold": threshold}


def feature_steering(
    sae: SparseAutoencoder,
    features: Sequence[int],
    amounts: Sequence[float],
    *,
    mode: str = "add",
    site: str | None = None,
    dose: float = 1.0,
    scope: Any = "answer",
    model: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> FeatureSteering:
    """A steering by features of an SAE and what a dose of 1 does to each; see `FEATURE_MODES`.

    Args:
        amounts: one a feature.
        site: where it reads, if the SAE does not say.
        model: an identity to check against; None for any model with the site.

    Raises InvalidInputError for a feature that it lacks, a place that is not known, and modes that an SAE cannot serve.
    """
    place = site or sae.site
    if place is None:
        raise InvalidInputError("The SAE does not say where it reads; give site, such as model.layers.12.output.")
    if len(amounts) != len(features):
        raise InvalidInputError(f"{len(features)} features and {len(amounts)} amounts given; give one for each.")
    rows = {} if mode == "add" else encoder_rows(sae, features)
    return FeatureSteering(
        place, tuple(features), mode, torch.tensor(list(amounts), dtype=torch.float32),
        sae.directions(features).clone(), **rows, dose=dose, scope=scope, model=model, about=dict(about or {}),
    )  # fmt: skip


def value_features(
    found: ValueFeatures,
    sae: SparseAutoencoder,
    value: str,
    pole: str = "positive",
    *,
    mode: str = "add",
    top: int = 20,
    factor: float = 2.0,
    dose: float = 1.0,
    scope: Any = "answer",
) -> FeatureSteering:
    """A steering towards a value's pole by the strongest of its features.

    A dose of 1 adds decoder directions, weighted by score, to a shift as long as what stands there on average
    (`found.norm`), so that doses compare with those of directions; it clamps a feature to, or holds it above, its 95th
    percentile of peaks at the pole; or multiplies it by `factor`.

    Args:
        top: how many features.

    Raises UnknownNameError for a value or pole that does not exist, InvalidInputError where it has no features,
    ModelError for another SAE than the one they were found in.
    """
    if sae_facts(sae, found.config["sae"]["site"])["decoder_sha256"] != found.config["sae"]["decoder_sha256"]:
        raise ModelError("These features were found in another SAE; give the one that they are numbers of.")
    rows = found.top(value, pole, top)
    if not rows:
        raise InvalidInputError(f"'{value}' has no features at its {pole} pole.")
    numbers = [row.feature for row in rows]
    if mode == "add":
        weights = torch.tensor([abs(row.score) for row in rows])
        length = (weights @ sae.directions(numbers)).norm().clamp(min=1e-12)
        amounts = (weights * found.norm / length).tolist()
    else:
        amounts = [factor if mode == "scale" else row.q95 for row in rows]
    about = {"value": value, "pole": pole, "norm": found.norm}
    return feature_steering(
        sae, numbers, amounts, mode=mode, site=found.config["sae"]["site"], dose=dose, scope=scope,
        model=found.config["model"], about=about,
    )  # fmt: skip


def random_features(steering: FeatureSteering, sae: SparseAutoencoder, seed: int = 0) -> FeatureSteering:
    """The same at other features, drawn evenly from those that are not in the set; the shift of `add` is as long.

    Raises InvalidInputError for a set that takes more than a fifth of the SAE.
    """
    if len(steering.features) > 0.2 * sae.features:
        raise InvalidInputError(
            f"The set has {len(steering.features)} of {sae.features} features; a random control makes sense up to 20%."
        )
    rng = np.random.default_rng(seed)
    free = np.setdiff1d(np.arange(sae.features), steering.features)
    drawn = [int(one) for one in rng.choice(free, len(steering.features), replace=False)]
    amounts = steering.amounts
    if steering.mode == "add":
        old, new = (amounts @ rows for rows in (steering.decoder, sae.directions(drawn)))
        amounts = amounts * old.norm() / new.norm().clamp(min=1e-12)
    return feature_steering(
        sae, drawn, amounts.tolist(), mode=steering.mode, site=steering.site, dose=steering.dose, scope=steering.scope,
        model=steering.model, about={**steering.about, "control": "random features", "seed": seed},
    )  # fmt: skip
