"""Choosing what steers by what it will move: the wished values, and as little as can be of the protected ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnvalue.causal.graph import ValueGraph
from nnvalue.causal.survey import Survey
from nnvalue.errors import InvalidInputError, UnknownNameError

PENALTY = 1.0


@dataclass(frozen=True)
class Choice:
    """A candidate and what it is expected to move.

    name: of a role or a setting.
    gain: movement towards the wish; protected: mean |movement| of protected values; score: what candidates are ranked
        by, gain − penalty · Σ |movement of protected values|.
    moves: value -> expected movement, every value, in units of the scores.
    """

    name: str
    gain: float
    protected: float
    score: float
    moves: Mapping[str, float]


def choose_role(
    survey: Survey,
    wish: Mapping[str, float],
    *,
    protect: Iterable[str] | None = None,
    graph: ValueGraph | None = None,
    penalty: float = PENALTY,
    units: Sequence[str] | None = None,
) -> list[Choice]:
    """Roles by how well they bring about a wish, the best first.

    A role moves a value by its unsteered score minus the mean over all roles. The rule is
    argmax g·ΔS − penalty · Σ |ΔSⱼ| over protected j.

    Args:
        wish: value -> how much it is wished, negative for less of it.
        protect: values that should stay; by default all that do not lie downstream of a wished one in the graph, whose
            movement is no side effect; without a graph, all others.
        penalty: how much a protected value's movement counts against the wished one's.
        units: items to learn from; all by default.

    Raises UnknownNameError or InvalidInputError for a wish or protection that makes no sense.
    """
    scores = survey.value_scores(units)[0]
    return _ranked(survey.roles, scores - scores.mean(0), survey.values, wish, protect, graph, penalty)


def choose_intervention(
    survey: Survey,
    wish: Mapping[str, float],
    *,
    protect: Iterable[str] | None = None,
    graph: ValueGraph | None = None,
    penalty: float = PENALTY,
    kinds: Iterable[str] | None = None,
    units: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> list[Choice]:
    """Settings of a survey by how well they bring about a wish, the best first; arguments as of `choose_role`.

    A setting moves a value by its mean score over roles minus the unsteered one. To take another dose, survey it.

    Args:
        kinds: settings of these kinds only: `prompt`, `neurons`, `direction`.
        roles: those to learn from; all by default.
    """
    part = survey if roles is None else survey.of(roles=roles)
    scores = part.value_scores(units).mean(1)
    known = sorted({one.kind for one in part.settings if one.kind != "none"})
    for kind in kinds or ():
        if kind not in known:
            raise UnknownNameError("kind of setting", str(kind), known)
    at = [
        number for number, one in enumerate(part.settings)
        if one.kind != "none" and (kinds is None or one.kind in kinds)
    ]  # fmt: skip
    if not at:
        raise InvalidInputError("Nothing steers in this survey; there is nothing to choose from.")
    names = [part.settings[number].name for number in at]
    return _ranked(names, scores[at] - scores[0], part.values, wish, protect, graph, penalty)


def protected_values(
    values: Sequence[str], wish: Mapping[str, float], protect: Iterable[str] | None, graph: ValueGraph | None
) -> tuple[str, ...]:
    """The values that should stay. Raises UnknownNameError or InvalidInputError as `choose_role` does."""
    for value in wish:
        if value not in values:
            raise UnknownNameError("value", str(value), values)
    if not wish or not all(np.isfinite(amount) and amount for amount in wish.values()):
        raise InvalidInputError(f"A wish names values and how much of each, not 0; {dict(wish)} given.")
    if protect is not None:
        named = tuple(dict.fromkeys(protect))
        for value in named:
            if value not in values:
                raise UnknownNameError("value", str(value), values, "(protected)")
        if both := sorted(set(named) & set(wish)):
            raise InvalidInputError(f"'{both[0]}' is wished and protected; leave it out of one of the two.")
        return named
    follows: set[str] = set()
    if graph is not None:
        if missing := [value for value in wish if value not in graph.values]:
            raise UnknownNameError("value", missing[0], graph.values, "(in the graph)")
        rows: Any = graph.descendants[[graph.values.index(value) for value in wish]].any(0)
        follows = {value for value, reached in zip(graph.values, rows, strict=True) if reached}
    return tuple(value for value in values if value not in wish and value not in follows)


def _ranked(
    names: Sequence[str],
    moves: np.ndarray,
    values: Sequence[str],
    wish: Mapping[str, float],
    protect: Iterable[str] | None,
    graph: ValueGraph | None,
    penalty: float,
) -> list[Choice]:
    """Candidates of movements `[candidate, value]`; those with a gap come last."""
    if not np.isfinite(penalty) or penalty < 0:
        raise InvalidInputError(f"The penalty is a number of at least 0, {penalty} given.")
    kept = protected_values(values, wish, protect, graph)
    wanted = np.array([wish.get(value, 0.0) for value in values])
    at = [list(values).index(value) for value in kept]
    gains = np.nan_to_num(moves) @ wanted / np.abs(wanted).sum()
    harm = np.abs(moves[:, at]) if at else np.zeros((len(moves), 1))
    scores = gains - penalty * harm.sum(1)
    made = [
        Choice(
            name, float(gains[row]), float(harm[row].mean()), float(scores[row]),
            dict(zip(values, map(float, moves[row]), strict=True)),
        )
        for row, name in enumerate(names)
    ]  # fmt: skip
    return sorted(made, key=lambda one: (not np.isfinite(one.score), -one.score, one.name))
