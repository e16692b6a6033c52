"""What every way of steering (arm) comes to at its headline doses: figures, and the sentences that say them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnvalue.evaluation import effect
from nnvalue.evaluation.design import UNSTEERED
from nnvalue.evaluation.leakage import MOVED
from nnvalue.report.effects import control_name, control_role, mean
from nnvalue.report.figures import counted, interval, listed, plain, short, signed
from nnvalue.values import SIGN, Framework

if TYPE_CHECKING:
    from nnvalue.evaluation import Effect, Evaluation, Tables

Found = Mapping[str, Any]
PASSES = 0.05
WRONG_WAY = 0.1
"""A target that went this far against the asked pole is named."""
SAME = 0.8
"""Off-target movement of which this share is the same whatever is steered gets a warning."""
NO_HARMLESS = "every dose adds more than 5 % failed answers; the lowest is shown"


@dataclass(frozen=True)
class Pooled:
    """An arm at its headline doses, over all values and poles.

    moved: of all answers together, clustered by the situations' cores.
    cells: movement of every pair of a value and a pole; beyond: how many of their intervals lie above 0; passed: how
        many of them moved towards the pole with q < .05.
    random: likewise of its random control; empty where there is none.
    doses: dose -> how many cells have it as their headline; harmful: how many cells have no dose without more failures.
    portraits: movement of every cell's portraits; empty where they were not read.
    """

    arm: str
    moved: Effect
    cells: tuple[float, ...]
    beyond: int
    passed: int
    random: tuple[float, ...]
    doses: Mapping[float, int]
    harmful: int
    portraits: tuple[float, ...]


@dataclass(frozen=True)
class Likeness:
    """How alike the rows of a matrix of leakage are.

    share: of the squared movement off the target, how much a column's mean off the target tells: 1 where the same
        values move whatever is steered. chance: what rows that have nothing in common would give.
    own, other: mean movement of a measured value when it is the target, and when another one is.
    """

    share: float
    chance: float
    own: float
    other: float


def arms_of(tables: Tables) -> list[str]:
    """Arms that are no controls, as they are in the design."""
    return list(dict.fromkeys(row["arm"] for row in tables.trends))


def pooled(done: Evaluation, tables: Tables) -> list[Pooled]:
    """Every arm at its headline doses."""
    base = {(row["measured"], row["situation"]): row for row in done.answers if row["arm"] == UNSTEERED}
    doses = {(row["arm"], row["value"], row["pole"]): row["headline_dose"] for row in tables.trends}
    moved: dict[str, tuple[list[float], list[str]]] = {}
    for row in done.answers:
        if row["measured"] == row["value"] and doses.get((row["arm"], row["value"], row["pole"])) == row["dose"]:
            before = base[row["measured"], row["situation"]]["stance"]
            differences, cores = moved.setdefault(row["arm"], ([], []))
            differences.append(SIGN[row["pole"]] * (row["stance"] - before))
            cores.append(row["core"])
    made = []
    for arm in arms_of(tables):
        at = [row for row in tables.effects if doses.get((arm, row["value"], row["pole"])) == row["dose"]]
        cells = [row for row in at if row["arm"] == arm]
        random = [row for row in at if row["control_of"] == arm and control_role(control_name(row)) == "random"]
        made.append(
            Pooled(
                arm, effect(*moved[arm], done.design.seed), tuple(row["movement"] for row in cells),
                sum(row["low"] > 0 for row in cells),
                sum(row["q"] < PASSES and row["movement"] > 0 for row in cells),
                tuple(row["movement"] for row in random), dict(sorted(Counter(row["dose"] for row in cells).items())),
                sum(row["arm"] == arm and not row["harmless"] for row in tables.trends),
                tuple(row["portraits"] for row in cells if math.isfinite(row["portraits"])),
            )
        )  # fmt: skip
    return made


def arm_sentences(done: Evaluation, tables: Tables) -> list[str]:
    """A few sentences for each arm: how far it moves its target, at which doses, and what else moves."""
    return [_arm_sentence(one, tables.leakage.get(one.arm, {}), done.framework) for one in pooled(done, tables)]


def _arm_sentence(one: Pooled, leaks: Mapping[str, Found], framework: Framework) -> str:
    count = len(one.cells)
    said = [
        f"Steered by {one.arm}: the stance of answers, −1 to 1, moves towards the asked pole by "
        f"{interval(one.moved.mean, one.moved.low, one.moved.high)}, {_spread(one.cells)} over {count} pairs of a "
        f"value and a pole; in {one.beyond} of {count} the interval lies above 0, and {one.passed} of "
        f"{count} pass q < .05, corrected for all cells and doses",
        doses_words(one),
        "No random control was run" if not one.random else
        f"Random edits of the same size: {signed(mean(one.random))}, {_spread(one.random)}",
    ]  # fmt: skip
    if "text" in leaks:
        units, alike = mean(row["per_unit"] for row in leaks["text"]["by_value"]), likeness(leaks["text"], framework)
        if math.isfinite(units):
            said.append(f"Other values move, too: by {plain(units)} for a unit of the target, in answers")
        if alike is not None and alike.share >= SAME:
            said.append(
                f"The same ones move whatever is steered: a value moves by {signed(alike.own)} as the target and by "
                f"{signed(alike.other)} when another one is"
            )
    if one.portraits:
        most = max(map(abs, one.portraits))
        said.append(
            f"Portraits, the questionnaire, do not move ({most:.4f} at most)" if most < MOVED else
            f"Portraits, the questionnaire: {signed(mean(one.portraits))} points of the scale, {_spread(one.portraits)}"
        )  # fmt: skip
    return f"{'. '.join(said)}."


def doses_words(one: Pooled) -> str:
    """At which doses an arm's headline stands."""
    if len(one.doses) == 1:
        said = f"Every cell is told at dose {next(iter(one.doses)):g}"
    else:
        told = [f"{dose:g} in {counted(count, 'cell')}" for dose, count in one.doses.items()]
        said = f"Each cell is told at a dose of its own: {listed(told)}"
    if one.harmful:
        said += f"; in {one.harmful} of {len(one.cells)} {NO_HARMLESS}"
    return said


def _spread(figures: Sequence[float]) -> str:
    return f"from {signed(min(figures))} to {signed(max(figures))}"


def own_cells(found: Found, framework: Framework) -> np.ndarray:
    """Which cells of a matrix of leakage are a target's own, bool `[steered, measured]`."""
    return np.array([
        [bool(set(framework.members(one)) & set(framework.members(other))) for other in found["measured"]]
        for one in found["steered"]
    ])  # fmt: skip


def likeness(found: Found, framework: Framework) -> Likeness | None:
    """How alike the rows are; None where too little is known, or where nothing else moved at all."""
    matrix, own = np.array(found["matrix"], dtype=np.float64), own_cells(found, framework)
    off = ~own
    shown = (off.sum(0) > 1) & own.any(0)  # columns of which two rows and more are no target
    total = float((matrix[:, shown][off[:, shown]] ** 2).sum())
    if not shown.any() or total < MOVED**2:
        return None
    matrix, own, off = matrix[:, shown], own[:, shown], off[:, shown]
    counts = off.sum(0)
    others = np.where(off, matrix, 0).sum(0) / counts
    return Likeness(
        float((counts * others**2).sum() / total), len(counts) / float(counts.sum()), float(matrix[own].mean()),
        float(matrix[off].mean()),
    )  # fmt: skip


def unmoved(found: Found) -> bool:
    """Whether no cell of a matrix of leakage moved."""
    return float(np.abs(found["matrix"]).max()) < MOVED


def leakage_words(found: Found, framework: Framework) -> list[str]:
    """What a matrix of leakage comes to, in sentences."""
    units = mean(one["per_unit"] for one in found["by_value"])
    said = (
        f"Others move {plain(units)} for a unit of the target" if math.isfinite(units) else
        f"No target moved by {MOVED:g} here, so nothing is told for a unit of it"
    )  # fmt: skip
    if not framework.has_circle:
        said += "; distance on a circle is not defined for this framework"
    elif found["circle"] is None and math.isfinite(units):
        said += "; too few measured values to tell whether that follows the circle (five are needed)"
    sentences = [f"{said}.", *wrong_way(found, framework)]
    if (alike := likeness(found, framework)) is not None:
        sentences.append(
            f"Of the movement off the target, {alike.share:.0%} (of squares) is the same whatever is steered; rows "
            f"with nothing in common would give {alike.chance:.0%}. A value moves by {signed(alike.own)} as the target "
            f"and by {signed(alike.other)} when another one is."
        )
    for people in found["people"][:1]:
        sentences.append(
            f"Whether others move as people's values go together ({people['sample']}): r = {signed(people['r'])}, "
            f"where 1 is the same pattern and 0 none; people's samples among themselves reach "
            f"{people['ceiling_low']:.2f} to {people['ceiling_high']:.2f}."
        )
    return sentences


def wrong_way(found: Found, framework: Framework) -> list[str]:
    """Targets of a matrix of leakage that went far against the asked pole, in a sentence; none where none did."""
    matrix, own = np.array(found["matrix"], dtype=np.float64), own_cells(found, framework)
    cells = sorted((float(matrix[at]), at) for at in map(tuple, np.argwhere(own & (matrix <= -WRONG_WAY)).tolist()))
    told = [
        f"steering {short(found['steered'][row])} moves {short(found['measured'][column])} by {signed(moved)}"
        for moved, (row, column) in cells
    ]
    return [f"Against what was asked: {listed(told, 5)}."] if told else []
