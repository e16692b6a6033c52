"""Published summary statistics of people's values, to hold a model's against. No individual answers, no wording.

The matrices are rounded to three decimals and, because scores are centred within the person, singular but for that:
their smallest eigenvalue is about 0 and may fall below it. Never invert them. People are no perfect circle either:
their matrices correlate .78 to .87 with that of the ideal one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from nnvalue.errors import UnknownNameError


@dataclass(frozen=True, eq=False)
class HumanSample:
    """Centred scores of the ten values in one sample of n people; higher = more important. Arrays are float64.

    source, licence, instrument, centring: where the figures come from, and how scores were centred, in words.
    values: names, in the order of every array: that of the framework `schwartz`.
    mean, sd: `[value]`. Scales differ between instruments: compare means of the PVQ samples only.
    correlations: `[value, value]`.
    mds_angles: degrees `[value]` about the centroid of a metric MDS in the plane (dissimilarity sqrt(2 (1 − r)), best
        of 30 random starts), from self-direction towards stimulation.
    stress1: of that MDS.
    """

    name: str
    source: str
    licence: str
    instrument: str
    centring: str
    n: int
    values: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    correlations: np.ndarray
    mds_angles: np.ndarray
    stress1: float


@dataclass(frozen=True, eq=False)
class HumanProfile:
    """Central centred scores of the nineteen values over many groups of people.

    statistic: what "central" is, as far as it is known.
    values: names, in the order of the framework `schwartz19`.
    scores: float64 `[value]`.
    """

    name: str
    source: str
    licence: str
    instrument: str
    statistic: str
    values: tuple[str, ...]
    scores: np.ndarray


def human_samples() -> tuple[str, ...]:
    """Names of the samples, largest first."""
    return tuple(_figures()["samples"])


def human_reference(sample: str | None = None) -> HumanSample:
    """One sample's figures; None takes the largest. Raises UnknownNameError."""
    figures = _figures()
    name = next(iter(figures["samples"])) if sample is None else str(sample)
    if name not in figures["samples"]:
        raise UnknownNameError("human sample", name, figures["samples"])
    fields = figures["samples"][name]
    arrays: dict[str, Any] = {
        field: np.array(fields.pop(field)) for field in ("mean", "sd", "correlations", "mds_angles")
    }
    return HumanSample(name=name, values=tuple(figures["values"]), **fields, **arrays)


def human_profile19() -> HumanProfile:
    """The nineteen values over 49 cultural groups."""
    fields = _figures()["profile19"]
    scores = fields.pop("scores")
    return HumanProfile(values=tuple(scores), scores=np.array(list(scores.values())), **fields)


def _figures() -> dict[str, Any]:
    # Read anew at each call, so that nobody's change to an array reaches the next caller.
    return json.loads(resources.files(__package__).joinpath("human_reference.json").read_text(encoding="utf-8"))
