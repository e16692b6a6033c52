"""What a part of the page on an evaluation shows, and its figures by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.evaluation import effect
from nnvalue.evaluation.design import UNSTEERED
from nnvalue.report.answers import BUDGET, texts_block
from nnvalue.report.blocks import Block, Fold, Notice, Picture, Sheet, Words
from nnvalue.report.effects import (
    control_name,
    control_role,
    cost_figure,
    distance_figure,
    dose_response_figure,
    leakage_figure,
    pareto_figure,
)
from nnvalue.report.figures import Figure, Table, counted, interval, rate, short
from nnvalue.values import SIGN

if TYPE_CHECKING:
    from nnvalue.evaluation import Effect, Evaluation, Tables

DOSES = (
    "Each panel is one value. The axis below is the dose: to the right towards the positive pole, to the left towards "
    "the negative one, and in the middle dose 0, the unsteered model. The curve is how far the stance of the same "
    "answers moved, with 95 % intervals over situations. A value is steered where the curve leaves 0 and its controls "
    "stay there."
)
COSTS = (
    "What the same doses do to the text. Lines near 0 cost nothing; the controls show what any edit of that size costs."
)
PARETO = (
    "Up is more movement, right is more damage. The best arms stand at the upper left; figures beside marks are doses. "
    "Ringed: no other arm and dose is at least as good in movement, failures and likelihood at once and better in one."
)
LEAKAGE = (
    "Rows are steered, columns measured. Framed cells are the target's own movement; colour elsewhere is leakage. On a "
    "circle of values, near ones should move along (blue) and opposite ones against (orange)."
)
_NOTES = 5


@dataclass(frozen=True)
class Pooled:
    """An arm at its headline doses, over all values and poles.

    moved: of all answers together, clustered by the situations' cores.
    cells: movement of every pair of a value and a pole; beyond: how many of their intervals lie above 0.
    random: likewise of its random control; empty where there is none.
    """

    arm: str
    moved: Effect
    cells: tuple[float, ...]
    beyond: int
    random: tuple[float, ...]


def arms_of(tables: Tables) -> list[str]:
    """Arms that are no controls, as they are in the design."""
    return list(dict.fromkeys(row["arm"] for row in tables.trends))


def evaluation_figures(done: Evaluation, tables: Tables) -> dict[str, Figure]:
    """Figures by name; those of one arm end in its name."""
    made: dict[str, Figure] = {}
    arms = arms_of(tables)
    for place, arm in enumerate(arms):
        made[f"dose-response {arm}"] = dose_response_figure(tables, arm, place)
        made[f"cost {arm}"] = cost_figure(tables, arm, place)
    if arms:
        made["pareto"] = pareto_figure(tables, arms)
    tops: dict[str, float] = {}
    for by_readout in tables.leakage.values():
        for readout, found in by_readout.items():
            tops[readout] = max(tops.get(readout, 0.0), float(np.abs(found["matrix"]).max()))
    for arm, by_readout in tables.leakage.items():
        for readout, found in by_readout.items():
            made[f"leakage {readout} {arm}"] = leakage_figure(found, arm, readout, done.framework, tops[readout])
            if (along := distance_figure(found, arm, readout, done.framework)) is not None:
                made[f"distance {readout} {arm}"] = along
    return made


def evaluation_blocks(done: Evaluation, tables: Tables, budget: int = BUDGET) -> list[Block]:
    """What a part of the page on an evaluation shows."""
    figures = evaluation_figures(done, tables)
    design, arms = done.design, arms_of(tables)
    told = [
        f"{counted(len(arms), 'way')} of steering (arms), {counted(len(design.values), 'value')}, "
        f"{counted(len(design.poles), 'pole')}, {design.situations} situations in each cell, temperature "
        f"{design.temperature:g}, read by {done.facts['judge']['name']}. Movement is how far an answer's "
        "stance, −1 to 1, went towards the asked pole."
    ]
    if any(arm.kind in ("neurons", "direction", "features") for arm in design.arms):
        told.append(
            f"What steers inside the model was found on situations of the split locate; all is read on {design.split}."
        )
    blocks: list[Block] = [Words(tuple(told)), _headlines(tables)]
    if notes := tuple(done.facts["notes"]):
        rest = (Fold(f"{counted(len(notes) - _NOTES, 'note')} more", (Words(notes[_NOTES:]),)),)
        blocks += [Notice(("What was left out, and why:", *notes[:_NOTES])), *(rest if len(notes) > _NOTES else ())]
    for arm in arms:
        blocks.append(Picture(figures[f"dose-response {arm}"], DOSES if arm == arms[0] else ""))
        blocks.append(Picture(figures[f"cost {arm}"], COSTS if arm == arms[0] else ""))
    if arms:
        blocks.append(Picture(figures["pareto"], PARETO))
    blocks += _leaks(tables, figures)
    if (texts := texts_block(done, tables, budget)) is not None:
        blocks.append(texts)
    return blocks + _absent(done, tables)


def _leaks(tables: Tables, figures: Mapping[str, Figure]) -> list[Block]:
    blocks: list[Block] = []
    first = True
    for arm, by_readout in tables.leakage.items():
        for readout in by_readout:
            blocks.append(Picture(figures[f"leakage {readout} {arm}"], LEAKAGE if first else ""))
            first = False
            if f"distance {readout} {arm}" in figures:
                blocks.append(Picture(figures[f"distance {readout} {arm}"]))
    return blocks


def _headlines(tables: Tables) -> Sheet:
    by_cell = {(row["arm"], row["value"], row["pole"], row["dose"]): row for row in tables.effects}
    rows = []
    for trend in tables.trends:
        row = by_cell[trend["arm"], trend["value"], trend["pole"], trend["headline_dose"]]
        rows.append((
            row["arm"], short(row["value"]), row["pole"], f"{row['dose']:g}{'' if trend['harmless'] else '*'}",
            interval(row["movement"], row["low"], row["high"]), rate(row["q"]),
            interval(row["against_random"], row["against_random_low"], row["against_random_high"]),
            f"{row['failures']:.2f}", interval(row["portraits"], row["portraits_low"], row["portraits_high"]),
        ))  # fmt: skip
    head = ("arm", "value", "pole", "dose", "movement", "q", "against random", "failed", "portraits")
    lead = (
        "The dose that moves most while failures rise by .05 at most (* there is none: the lowest). Brackets are 95 % "
        "bootstraps over situations; against random: less what the same edits do at random places."
    )
    return Sheet(f"Headlines: {len(rows)} cells", Table(head, tuple(rows), 3), lead, filtered=True, closed=True)


def _absent(done: Evaluation, tables: Tables) -> list[Block]:
    """What an evaluation could have and this one has not, and what to do."""
    design, said = done.design, []
    if not design.pairs or not done.items:
        said.append("Portraits were not read: evaluate with --pairs 1 or more.")
    if not design.held_out or not done.costs:
        said.append("Held-out sentences were not read, so that the cost in likelihood is that of the answers alone: "
                    "evaluate with --held-out 4 or more.")  # fmt: skip
    if not any(row["control_of"] for row in tables.effects):
        said.append("There is no control of random neurons or directions: evaluate with --random-sets 2 or more.")
    if not tables.leakage:
        said.append("Leakage is not told: it needs two steered values and answers to the others (--others 3).")
    return [Notice(tuple(said))] if said else []


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
                sum(row["low"] > 0 for row in cells), tuple(row["movement"] for row in random),
            )
        )  # fmt: skip
    return made
