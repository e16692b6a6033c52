"""Ways to make a steering of value neurons: what the papers do to a neuron, with a dose whose 0 is the identity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.findings import ValueNeurons
from nnvalue.steering.neurons import NeuronSteering
from nnvalue.steering.recipes import OPS, Recipe
from nnvalue.values import POLES

PARTS = ("both", "add", "cap")
"""Of `npti` and `valuelocate`: both steps, or as a control the addition or the cap alone."""
_STEPPED = ("npti", "valuelocate")
_CENTRE, _STEEPNESS = 0.15, 10.0  # of f, in NPTI's public code
_RANGE_SDS = 2.0  # NeuronLens: a class's range is its mean ± 2 standard deviations


def neuron_steering(
    found: ValueNeurons,
    value: str,
    pole: str = "positive",
    *,
    mode: str = "effect",
    dose: float = 1.0,
    factor: float = 2.0,
    part: str = "both",
    top: float | None = None,
    site: str | None = None,
    scope: Any = None,
    as_published: bool = False,
    keep: float = 1.0,
    seed: int = 0,
) -> NeuronSteering:
    """A steering towards one pole of a value, by its value neurons; a dose below 0 goes towards the other pole.

    With d the dose, + and − the neurons of the pole and of the other pole, f(δ) = 1/(1 + exp(−10 (|δ| − .15))):

    - `npti` (2410.12327): + gets a + d · q95 · f(δ); − gets a cap at 0 by the share min(d, 1).
    - `valuelocate` (the public code that is attributed to it): as `npti` with the firing rate p in the place of q95.
    - `effect` (DPN-LE, 2604.27929): + and − get a + d · (mean under the pole − mean under the other).
    - `gain` (CNA, 2605.12290, which multiplies both poles' neurons): + gets a · (1 + d (factor − 1)).
    - `ablate` (LAPE, 2402.16438): − gets (1 − d) a; d at most 1.
    - `clamp_range` (NeuronLens, 2502.06809): − gets (1 − d) a where a lies within mean ± 2 sd of its own pole; d at
      most 1.

    Args:
        found: value neurons; they are edited where they were read, and `firing_difference` is read at the gate.
        factor: of `gain`, at dose 1.
        part: of `npti` and `valuelocate`, `add` or `cap` takes one step alone.
        top: only the strongest neurons of each pole: a share of all the model's neurons below 1, else a number.
        site: another site than the neurons were read at; for `gain` and `ablate` only, whose amounts are no
            activations.
        scope: which positions are edited: `answer`, `decode` (as published by NPTI, ValueLocate and DPN-LE), `all`, or
            spans (start, end) of tokens. None for `answer`, or `decode` as published.
        as_published: of `npti` and `valuelocate`, on neurons that were read at the gate: caps act fully at every dose,
            and only in layers where something is added; `keep` is .9 if it is not given lower.
        keep, seed: every addition is left out with probability 1 − keep, by a new coin for each neuron and step.

    Raises UnknownNameError for a value, pole, mode or part that does not exist; InvalidInputError for settings that do
    not fit the mode, or a pole without neurons.
    """
    own = found.config["settings"]["site"]
    _check(mode, pole, part, as_published, site, own)
    scope = scope or ("decode" if as_published else "answer")
    stepped = mode in _STEPPED
    other = POLES[1 - POLES.index(pole)]
    places = {each: _places(found, value, each, top) for each in POLES}
    settings = _Settings(factor, part, as_published)
    forth = _recipe(found, value, places, pole, other, mode, settings)
    try:
        back = _recipe(found, value, places, other, pole, mode, settings)
    except InvalidInputError:  # there is no way back, and a dose that asks for it is refused
        back = None
    return NeuronSteering(
        forth, back, site or own, dose, scope, as_published and stepped,
        min(keep, 0.9) if as_published and stepped else keep, seed, found.config["model"],
        {"value": value, "pole": pole, "mode": mode, "method": found.config["settings"]["method"],
         **({"factor": factor} if mode == "gain" else {}),
         **({"part": part, "as_published": as_published} if stepped else {}),
         **({"top": top} if top is not None else {})},
    )  # fmt: skip


def _check(mode: str, pole: str, part: str, as_published: bool, site: str | None, own: str) -> None:
    if mode not in MODES:
        raise UnknownNameError("mode", mode, MODES)
    if pole not in POLES:
        raise UnknownNameError("pole", pole, POLES)
    if part not in PARTS:
        raise UnknownNameError("part", part, PARTS)
    if mode not in _STEPPED and (part != "both" or as_published):
        raise InvalidInputError(f"'{mode}' has one step; part and as_published are for npti and valuelocate.")
    if as_published and own != "gate":
        raise InvalidInputError(
            f"As published the edit is at the gate, and these neurons were read at '{own}'; locate some with "
            "firing_difference, or leave as_published out."
        )
    if site not in (None, own) and mode not in ("gain", "ablate"):
        raise InvalidInputError(
            f"'{mode}' edits by activations at '{own}', where these neurons were read, and '{site}' has others; leave "
            "site out, or locate them there."
        )


@dataclass(frozen=True)
class _Settings:
    factor: float
    part: str
    as_published: bool


@dataclass(frozen=True)
class _Neurons:
    """The neurons of one pole and what is known of them.

    delta, q95: of the table. rate: firing rate under their own pole.
    mean, sd: under their own pole; gap: mean under their own pole − mean under the other.
    """

    layer: np.ndarray
    neuron: np.ndarray
    delta: np.ndarray
    rate: np.ndarray
    q95: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    gap: np.ndarray


def _places(found: ValueNeurons, value: str, pole: str, top: float | None) -> np.ndarray:
    """Rows of the table, strongest first."""
    places = found.places(value, pole)
    if top is None:
        return places
    if not top > 0 or (top >= 1 and top % 1 != 0):
        raise InvalidInputError(f"top is a share below 1 or a whole number of neurons, {top:g} given.")
    return places[: max(1, round(top * found.layers * found.width)) if top < 1 else int(top)]


def _neurons(found: ValueNeurons, value: str, pole: str, places: np.ndarray) -> _Neurons:
    columns = {name: column[places] for name, column in found.columns.items()}
    at = (found.values.index(value), columns["layer"], columns["neuron"])
    other = POLES[1 - POLES.index(pole)]
    mean = found.maps[f"mean_{pole}"][at]
    return _Neurons(
        columns["layer"], columns["neuron"], columns["delta"], columns[f"firing_{pole}"], columns["q95"], mean,
        found.maps[f"sd_{pole}"][at], mean - found.maps[f"mean_{other}"][at],
    )  # fmt: skip


def _recipe(
    found: ValueNeurons, value: str, places: dict[str, np.ndarray], towards: str, away: str, mode: str, how: _Settings
) -> Recipe:
    toward, other = (_neurons(found, value, pole, places[pole]) for pole in (towards, away))
    recipe = MODES[mode](toward, other, how)
    missing = away if mode in ("ablate", "clamp_range") or how.part == "cap" else towards
    if not len(places[missing]) or not len(recipe):
        raise InvalidInputError(f"'{value}' has no neurons of its {missing} pole here, and '{mode}' needs some.")
    return recipe


def published_weight(delta: np.ndarray) -> np.ndarray:
    """f(|δ|) = 1/(1 + exp(−10 (|δ| − .15))), of NPTI's public code."""
    return 1 / (1 + np.exp(-_STEEPNESS * (np.abs(delta) - _CENTRE)))


def _npti(toward: _Neurons, other: _Neurons, how: _Settings) -> Recipe:
    return _pushed_and_capped(toward, other, toward.q95, how)


def _valuelocate(toward: _Neurons, other: _Neurons, how: _Settings) -> Recipe:
    return _pushed_and_capped(toward, other, toward.rate, how)


def _pushed_and_capped(toward: _Neurons, other: _Neurons, size: np.ndarray, how: _Settings) -> Recipe:
    pushed = _rows(toward, "add", size * published_weight(toward.delta))
    capped = _rows(other, "cap", np.zeros(len(other.layer)))
    if how.as_published:  # there, layers without a neuron of the pole are left alone
        capped = capped.kept(np.isin(capped.layer, pushed.layer))
    return {"both": _joined(pushed, capped), "add": pushed, "cap": capped}[how.part]


def _effect(toward: _Neurons, other: _Neurons, how: _Settings) -> Recipe:
    return _joined(_rows(toward, "add", toward.gap), _rows(other, "add", -other.gap))


def _gain(toward: _Neurons, other: _Neurons, how: _Settings) -> Recipe:
    return _rows(toward, "scale", np.full(len(toward.layer), how.factor))


def _ablate(toward: _Neurons, other: _Neurons, how: _Settings) -> Recipe:
    return _rows(other, "set", np.zeros(len(other.layer)))


def _clamp_range(toward: _Neurons, other: _Neurons, how: _Settings) -> Recipe:
    reach = _RANGE_SDS * other.sd
    return _rows(other, "clear", other.mean - reach, other.mean + reach)


def _rows(neurons: _Neurons, op: str, amount: np.ndarray, high: np.ndarray | None = None) -> Recipe:
    size = len(neurons.layer)
    return Recipe(
        neurons.layer.astype(np.int64), neurons.neuron.astype(np.int64), np.full(size, OPS.index(op)),
        amount.astype(np.float32), np.zeros(size, np.float32) if high is None else high.astype(np.float32),
    )  # fmt: skip


def _joined(one: Recipe, other: Recipe) -> Recipe:
    names = ("layer", "neuron", "op", "amount", "high")
    return Recipe(*(np.concatenate((getattr(one, name), getattr(other, name))) for name in names))


MODES: dict[str, Callable[[_Neurons, _Neurons, _Settings], Recipe]] = {
    "npti": _npti,
    "valuelocate": _valuelocate,
    "effect": _effect,
    "gain": _gain,
    "ablate": _ablate,
    "clamp_range": _clamp_range,
}
