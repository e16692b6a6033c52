"""Side effects predicted before steering, and held against what steering did to other people and other items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnvalue.causal.effects import TotalEffects, changes_of, total_effects
from nnvalue.causal.estimators import Rule, estimate
from nnvalue.causal.graph import ValueGraph
from nnvalue.causal.marks import heads
from nnvalue.causal.scores import ScoreTable
from nnvalue.causal.survey import Survey
from nnvalue.errors import InvalidInputError
from nnvalue.values import Framework

NOTHING, CIRCLE, SHUFFLED = "no graph", "circle", "shuffled names"
TOTAL = "total effects"
SOURCES = (TOTAL, "effects", "jci")
"""What predicts: the measured total effects, or what a graph of either method lets through."""
_DRAWS, _SHUFFLES = 200, 200
_MOVED = 0.05
"""Of a target's own movement: what moves by less in the held-out half has no direction to be right about."""
_TINY = 1e-9


def path_effects(marks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Total effects `[cause, effect]` that a graph lets through: (I − W)⁻¹ over its arrows, ones on the diagonal.

    An arrow counts with its weight; what has no direction counts for nothing. Of a graph that goes round in circles it
    is the sum over all ways, where that converges.

    Raises InvalidInputError where it does not.
    """
    one_way = heads(marks) & ~heads(marks).T
    through = np.where(one_way, weights, 0.0)
    if np.abs(np.linalg.eigvals(through)).max(initial=0) >= 1:
        raise InvalidInputError("The graph goes round in circles that amplify; no effects follow from it.")
    found = np.linalg.inv(np.eye(len(marks)) - through)
    return found / np.diag(found)[:, None]


def predict(graph: ValueGraph, value: str, amount: float = 1.0, *, source: str = TOTAL) -> dict[str, float]:
    """How far every value will move if one of them is moved by an amount, told before anything is steered.

    Args:
        graph: of a survey. Its weights are standardised unless its method is `effects`, and so are then the amounts.
        value: what will be steered.
        amount: how far it will move itself, in units of the scores.
        source: `total effects`, as they were measured; or `graph`, what its arrows let through.

    Raises InvalidInputError for a value that the graph lacks or whose effects are not known.
    """
    if value not in graph.values:
        raise InvalidInputError(f"There is no value '{value}' in this graph; there are {', '.join(graph.values)}.")
    place = graph.values.index(value)
    if source == TOTAL:
        if graph.total is None or not np.isfinite(graph.total[place]).all():
            raise InvalidInputError(
                f"Nothing is known of the effects of steering '{value}': the survey has no setting that moves it. "
                "Predict from the graph (source='graph'), or survey it."
            )
        row = graph.total[place]
    else:
        row = path_effects(graph.marks, graph.weights)[place]
    return dict(zip(graph.values, (float(amount * one) for one in row), strict=True))


@dataclass(frozen=True)
class PredictionScore:
    """How well side effects were foretold; every figure with its 95 % interval over held-out roles and splits.

    r: with what was observed, over all pairs of a steered and another value; NaN where all predictions are equal.
    skill: 1 − Σ (observed − predicted)² / Σ observed²; 0 for predicting that nothing else moves, below it for worse.
    direction: share of right directions among values that moved, half a hit for predicting no movement.
    which: how well the predicted size tells those that moved from those that did not: area under the ROC curve, .5 by
        chance and where all predictions are equal.
    """

    r: float
    r_low: float
    r_high: float
    skill: float
    skill_low: float
    skill_high: float
    direction: float
    direction_low: float
    direction_high: float
    which: float
    which_low: float
    which_high: float


@dataclass(frozen=True)
class PredictionReport:
    """Predictions of one kind of setting beside their baselines.

    scores: by source and baseline: `no graph`, `circle` (none where the framework has no circle) and `shuffled names`
        of the total effects.
    better: source -> baseline -> (mean difference in skill, low, high), paired over draws.
    p: source -> share of shuffled namings whose skill is as high, the real one counted.
    cells: pairs of values; moved: mean number of those that moved.
    """

    kind: str
    scores: Mapping[str, PredictionScore]
    better: Mapping[str, Mapping[str, tuple[float, float, float]]]
    p: Mapping[str, float]
    left_out: Mapping[str, str]
    values: tuple[str, ...]
    cells: int
    moved: float
    roles: int
    ways: int
    seed: int


def check_predictions(
    survey: Survey,
    framework: Framework,
    *,
    kind: str = "prompt",
    sources: Sequence[str] = SOURCES,
    ways: int = 10,
    seed: int = 0,
) -> PredictionReport:
    """Learn from half of the roles and items what moves with what, and score it on the others.

    Args:
        kind: which settings are steered by.
        sources: see `SOURCES`.
        ways: of halving roles and items.

    Raises InvalidInputError for settings that move nothing, and for values with a single unit of items.
    """
    contexts = [one.name for one in survey.table().contexts if one.kind in ("none", kind)]
    if few := [value for value, units in survey.units().items() if len(units) < 2]:
        raise InvalidInputError(
            f"'{few[0]}' has one item or pair of items; a prediction is scored on others. Survey more pairs."
        )
    rng = np.random.default_rng([seed, 3])
    draws: dict[str, list[tuple[float, ...]]] = {}
    p: dict[str, list[float]] = {}
    left_out: dict[str, str] = {}
    moved: list[int] = []
    for _ in range(ways):
        learn, hold = _split(survey, contexts, rng)
        effects = total_effects(learn, draws=50)
        steered = np.isfinite(effects.effects).all(1)
        if not steered.any():
            raise InvalidInputError(
                f"Settings of kind '{kind}' do not move their own values; there is nothing to predict a side of."
            )
        predicted = _predictions(learn, effects, steered, framework, sources, left_out)
        null = [_renamed(effects, steered, rng) for _ in range(_SHUFFLES)]
        changes = changes_of(hold)[0][:, steered]  # [role, steered, value]
        off = ~np.eye(len(learn.values), dtype=bool)[steered]
        for source, one in _p_values(predicted, null, changes.mean(0), off).items():
            p.setdefault(source, []).append(one)
        for number in range(_DRAWS // ways + 1):
            weights = rng.multinomial(len(changes), np.full(len(changes), 1 / len(changes))) / len(changes)
            seen = np.einsum("r,rkv->kv", weights, changes)
            own = np.abs(seen[np.arange(len(seen)), np.flatnonzero(steered)])[:, None]
            moves = (np.abs(seen) > _MOVED * own) & off
            moved.append(int(moves.sum()))
            for source, foretold in {**predicted, SHUFFLED: null[number % len(null)]}.items():
                draws.setdefault(source, []).append(_figures(foretold, seen, moves, off))
    skills = {source: np.array(found)[:, 1] for source, found in draws.items()}
    baselines = [name for name in (NOTHING, CIRCLE, SHUFFLED) if name in skills]
    better = {
        source: {name: _interval(skills[source] - skills[name]) for name in baselines}
        for source in skills
        if source not in baselines
    }
    return PredictionReport(
        kind, {source: _score(np.array(found)) for source, found in draws.items()}, better,
        {source: float(np.mean(found)) for source, found in p.items()}, left_out, survey.values, int(off.sum()),
        float(np.mean(moved)), len(survey.roles), ways, seed,
    )  # fmt: skip


def _figures(
    predicted: np.ndarray, seen: np.ndarray, moves: np.ndarray, off: np.ndarray
) -> tuple[float, float, float, float]:
    """The figures of `PredictionScore` for one draw of people."""
    return (
        _r(predicted[off], seen[off]), _skill(predicted[off], seen[off]), _direction(predicted[moves], seen[moves]),
        _which(np.abs(predicted[off]), moves[off]),
    )  # fmt: skip


def _p_values(
    predicted: Mapping[str, np.ndarray], null: Sequence[np.ndarray], observed: np.ndarray, off: np.ndarray
) -> dict[str, float]:
    """Of every source, the share of shuffled namings with a skill as high, the real one counted."""
    chance = np.array([_skill(one[off], observed[off]) for one in null])
    return {
        source: float((1 + (chance >= _skill(one[off], observed[off]) - _TINY).sum()) / (1 + len(chance)))
        for source, one in predicted.items()
        if source not in (NOTHING, CIRCLE)
    }


def _split(survey: Survey, contexts: Sequence[str], rng: np.random.Generator) -> tuple[ScoreTable, ScoreTable]:
    """Tables of two halves, which share neither roles nor items."""
    roles = rng.permutation(len(survey.roles))
    halves: tuple[list[str], list[str]] = ([], [])
    for units in survey.units().values():
        for place, at in enumerate(rng.permutation(len(units))):
            halves[place % 2].append(units[at])
    middle = len(roles) // 2
    learn, hold = (
        survey.table(units).only(contexts).take(np.sort(who))
        for units, who in zip(halves, (roles[:middle], roles[middle:]), strict=True)
    )
    return learn, hold


def _predictions(
    table: ScoreTable,
    found: TotalEffects,
    steered: np.ndarray,
    framework: Framework,
    sources: Sequence[str],
    left_out: dict[str, str],
) -> dict[str, np.ndarray]:
    """What every source and baseline expects of each steered value, `[steered, value]`; why one is not there."""
    effects, amount = found.effects, found.own[steered][:, None]
    made = {NOTHING: np.zeros((int(steered.sum()), len(table.values)))}
    if set(table.values) <= set(framework.circle):
        near = np.cos(np.radians([[framework.distance(a, b) for b in table.values] for a in table.values]))
        off = steered[:, None] & ~np.eye(len(near), dtype=bool)
        slope = (near[off] @ effects[off]) / (near[off] @ near[off])
        made[CIRCLE] = amount * slope * near[steered]
    spread = table.scores.std(0)
    for source in sources:
        try:
            if source == TOTAL:
                made[source] = amount * effects[steered]
                continue
            graph = estimate(table, Rule(source))
            weights = graph.weights if source == "effects" else graph.weights * spread[None] / spread[:, None]
            made[source] = amount * path_effects(graph.marks, weights)[steered]
        except InvalidInputError as error:
            left_out[source] = str(error)
    return made


def _renamed(found: TotalEffects, steered: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The total effects under shuffled names of the values, for the same steered ones."""
    known = np.flatnonzero(steered)
    order = np.arange(len(steered))
    order[known] = rng.permutation(known)
    return found.own[steered][:, None] * found.effects[np.ix_(order, order)][steered]


def _score(draws: np.ndarray) -> PredictionScore:
    return PredictionScore(*(figure for column in draws.T for figure in _interval(column)))


def _interval(draws: np.ndarray) -> tuple[float, float, float]:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return (float("nan"),) * 3
    low, high = np.quantile(known, (0.025, 0.975))
    return float(known.mean()), float(low), float(high)


def _r(predicted: np.ndarray, observed: np.ndarray) -> float:
    if np.ptp(predicted) < _TINY or np.ptp(observed) < _TINY:
        return float("nan")
    return float(np.corrcoef(predicted, observed)[0, 1])


def _skill(predicted: np.ndarray, observed: np.ndarray) -> float:
    return float(1 - ((observed - predicted) ** 2).sum() / (observed**2).sum())


def _which(sizes: np.ndarray, moved: np.ndarray) -> float:
    """Area under the ROC curve by ranks, ties as half."""
    from scipy.stats import rankdata

    count = int(moved.sum())
    if not 0 < count < len(moved):
        return float("nan")
    return float((rankdata(sizes)[moved].sum() - count * (count + 1) / 2) / (count * (len(moved) - count)))


def _direction(predicted: np.ndarray, observed: np.ndarray) -> float:
    if not len(observed):
        return float("nan")
    silent = np.abs(predicted) < _TINY
    return float(np.where(silent, 0.5, np.sign(predicted) == np.sign(observed)).mean())
