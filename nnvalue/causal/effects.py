"""Paired total effects of steering, and the direct effects that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnvalue.causal.scores import ScoreTable
from nnvalue.errors import InvalidInputError

SMALLEST = 0.1
"""A direct effect of less than a tenth of the target's own movement is not drawn."""
DRAWS = 400
_SINGULAR = 1e6


@dataclass(frozen=True, eq=False)
class TotalEffects:
    """How far values move when one of them is steered, for a unit of its own movement; float64 `[steered, value]`.

    effects: T, with ones on the diagonal; NaN in the rows of values that nothing steers, or that do not move.
    low, high: 95 % cluster bootstrap over roles.
    own: `[steered]`, how far the steered value itself moves, from one side to the other or from unsteered to one side.
    draws: `[draw, steered, value]`, T of each resample.
    """

    values: tuple[str, ...]
    effects: np.ndarray
    low: np.ndarray
    high: np.ndarray
    own: np.ndarray
    draws: np.ndarray

    def unmoved(self) -> list[str]:
        """Values that nothing steers, or that their own steering does not move beyond what chance would."""
        return [value for value, row in zip(self.values, self.effects, strict=True) if not np.isfinite(row).all()]

    def off_target(self) -> list[tuple[str, str]]:
        """Pairs in which steering either one moves the other: in an acyclic model, steering that hits others too."""
        sure = np.where(np.isfinite(self.effects), (self.low > 0) | (self.high < 0), False)
        sure &= np.abs(np.nan_to_num(self.effects)) >= SMALLEST
        np.fill_diagonal(sure, False)
        return [(self.values[i], self.values[j]) for i, j in np.argwhere(np.triu(sure & sure.T))]


def total_effects(table: ScoreTable, seed: int = 0, draws: int = DRAWS) -> TotalEffects:
    """Paired mean changes of all values under the settings that steer each one, divided by its own change.

    With settings towards both sides, a change is that from the negative to the positive one; with one side, from the
    unsteered rows. Every role is compared with itself. Several settings of a side are averaged.

    Raises InvalidInputError for more than one kind of steering, a mixture with no meaning, and for a role without a row
    in one of the settings.
    """
    kinds = sorted({one.kind for one in table.contexts if one.side})
    if len(kinds) > 1:
        raise InvalidInputError(
            f"Effects of {' and '.join(kinds)} would be mixed; keep one kind of steering (--kind {kinds[0]})."
        )
    changes, steered = changes_of(table)
    roles = changes.shape[0]
    weights = np.random.default_rng(seed).multinomial(roles, np.full(roles, 1 / roles), size=draws) / roles
    means = changes.mean(0)
    drawn = np.einsum("dr,rkv->dkv", weights, changes)
    at = np.arange(len(table.values))
    own, own_drawn = means[at, at], drawn[:, at, at]
    moves = steered & (np.quantile(own_drawn, 0.025, axis=0) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effects = np.where(moves[:, None], means / own[:, None], np.nan)
        each = np.where(moves[:, None], drawn / own_drawn[..., None], np.nan)
    low, high = np.full_like(effects, np.nan), np.full_like(effects, np.nan)
    if moves.any():
        low[moves], high[moves] = np.quantile(each[:, moves], (0.025, 0.975), axis=0)
    return TotalEffects(table.values, effects, low, high, np.where(steered, own, np.nan), each)


def changes_of(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Changes of every role, float64 `[role, steered, value]`, and which values are steered, bool `[value]`.

    Raises InvalidInputError for a role without a row in one of the settings.
    """
    size, roles = len(table.values), len(table.roles)
    by_context = np.full((len(table.contexts), roles, size), np.nan)
    by_context[table.context, table.role] = table.scores
    changes, steered = np.zeros((roles, size, size)), np.zeros(size, dtype=bool)
    for place, value in enumerate(table.values):
        sides = {}
        for side in (1.0, -1.0):
            at = [number for number, one in enumerate(table.contexts) if one.value == value and one.side == side]
            if at:
                sides[side] = by_context[at].mean(0)
        if not sides:
            continue
        if len(sides) < 2:
            sides[-next(iter(sides))] = by_context[table.base]
        changes[:, place], steered[place] = sides[1.0] - sides[-1.0], True
    if np.isnan(changes).any():
        role = int(np.argwhere(np.isnan(changes))[0][0])
        raise InvalidInputError(
            f"Role '{table.roles[role]}' has no row in one of the settings; effects compare every role with itself. "
            "Leave this role out, or survey it in all settings."
        )
    return changes, steered


def direct_effects(found: TotalEffects, smallest: float = SMALLEST) -> tuple[np.ndarray, np.ndarray]:
    """B = I − T⁻¹ `[cause, effect]`, and which of them are drawn, bool `[cause, effect]`.

    In a linear acyclic model T = (I − B)⁻¹, so B is what is left of each total effect when what goes through other
    values is taken off. It is drawn if its 95 % bootstrap interval leaves out 0 and it is `smallest` at least. Where
    steering hits other values, too, the inversion passes that on: see `TotalEffects.off_target`.

    Raises InvalidInputError where a value is not steered or not moved, or T cannot be inverted.
    """
    if unmoved := found.unmoved():
        raise InvalidInputError(
            f"Nothing moves {', '.join(unmoved)}: no setting steers towards it, or it does not go along. The method "
            "effects needs every value to be moved; leave it out (--value names those to keep), or use jci."
        )
    if np.linalg.cond(found.effects) > _SINGULAR:
        raise InvalidInputError(
            "The total effects are collinear: several values move as one, and direct effects cannot be told apart. "
            "Leave one of them out, or use the method jci."
        )
    unit = np.eye(len(found.effects))
    direct = unit - np.linalg.inv(found.effects)
    usable = found.draws[np.linalg.cond(found.draws) < _SINGULAR]
    low, high = np.quantile(unit - np.linalg.inv(usable), (0.025, 0.975), axis=0)
    drawn = ((low > 0) | (high < 0)) & (np.abs(direct) >= smallest)
    np.fill_diagonal(drawn, False)
    return direct, drawn
