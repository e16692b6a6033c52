"""What a part of the page on an evaluation shows, and its figures by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.evaluation.leakage import MOVED
from nnvalue.report.answers import BUDGET, texts_block
from nnvalue.report.arms import NO_HARMLESS, SAME, arms_of, leakage_words, likeness, unmoved
from nnvalue.report.blocks import Block, Fold, Notice, Picture, Sheet, Words
from nnvalue.report.effects import (
    against_random,
    cost_figure,
    distance_figure,
    dose_response_figure,
    leakage_figure,
    pareto_figure,
)
from nnvalue.report.figures import Figure, Table, counted, interval, rate, short
from nnvalue.report.glossary import is_organism

if TYPE_CHECKING:
    from nnvalue.evaluation import Evaluation, Tables

DOSES = (
    "Each panel is one value. The axis below is the dose: to the right towards the positive pole, to the left towards "
    "the negative one, and in the middle dose 0, the unsteered model. The curve is how far the stance of the same "
    "answers moved, with 95 % intervals over situations; stances lie between −1 and 1, so that movement lies between "
    "−2 and 2, and what moves towards the negative pole goes down. A value is steered where the curve leaves 0 and its "
    "controls stay there."
)
COSTS = (
    "What the same doses do to the text, mean over values and poles. Lines near 0 cost nothing; controls show what any "
    "edit of that size costs. Held-out loss: how much less likely sentences become that the model is made to read "
    "while it is steered."
)
PARETO = (
    "Up is more movement, right is more damage. The best arms stand at the upper left; figures beside marks are doses. "
    "Ringed: no other arm and dose is at least as good in movement, failures and likelihood at once and better in one. "
    "A mark is the mean of all cells at one dose; in short and in the headlines every cell has its own dose, so that "
    "means differ."
)
LEAKAGE = (
    "Rows are steered, columns measured. Framed cells are the target's own movement; colour elsewhere is leakage. On a "
    "circle of values, near ones should move along (blue) and opposite ones against (orange)."
)
_NOTES = 5
_SPLITS = {"test": "other situations, set aside for testing", "locate": "the same ones"}
_KNOWN = (
    "This is no fault of the page: that edits move the organism's free answers and not its portraits was found with "
    "the paper's design, too, and why is not known (docs/evaluating.md)."
)


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
            answers = _answers(done, tables, arm) if readout == "text" else None
            made[f"leakage {readout} {arm}"] = leakage_figure(
                found, arm, readout, done.framework, tops[readout], answers
            )  # fmt: skip
            if (along := distance_figure(found, arm, readout, done.framework)) is not None:
                made[f"distance {readout} {arm}"] = along
    return made


def _answers(done: Evaluation, tables: Tables, arm: str) -> dict[tuple[str, str], int]:
    """(steered, measured) -> how many answers at the arm's headline doses, both poles together."""
    doses = {(row["value"], row["pole"]): row["headline_dose"] for row in tables.trends if row["arm"] == arm}
    return Counter(
        (row["value"], row["measured"]) for row in done.answers
        if row["arm"] == arm and doses.get((row["value"], row["pole"])) == row["dose"]
    )  # fmt: skip


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
            "What steers inside the model was found on the situations that are set aside for locating; all is read on "
            f"{_SPLITS.get(design.split, f'those of the split {design.split}')}."
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
    blocks += _leaks(done, tables, figures)
    if (texts := texts_block(done, tables, budget)) is not None:
        blocks.append(texts)
    return blocks + _absent(done, tables)


def _leaks(done: Evaluation, tables: Tables, figures: Mapping[str, Figure]) -> list[Block]:
    """What else moves, arm by arm; where nothing does, a sentence instead of a grid of zeros."""
    blocks: list[Block] = []
    framework, first = done.framework, True
    for arm, by_readout in tables.leakage.items():
        for readout, found in by_readout.items():
            figure = figures[f"leakage {readout} {arm}"]
            if unmoved(found):
                most = float(np.abs(found["matrix"]).max())
                said = (
                    f"Nothing moves in {readout} under {arm}: of {len(found['steered'])} × {len(found['measured'])} "
                    f"cells (steered × measured) none moves by {MOVED:g}, the largest by {most:.4f}."
                )
                known = (_KNOWN,) if readout == "portraits" and is_organism(done.facts.get("model")) else ()
                blocks += [Words((said, *known)), Sheet(figure.title, figure.table, figure.told, closed=True)]
                continue
            blocks.append(Picture(figure, LEAKAGE if first else ""))
            blocks.append(Words(tuple(leakage_words(found, framework))))
            alike = likeness(found, framework)
            if alike is not None and alike.share >= SAME:
                blocks.append(Notice((
                    f"What moves under {arm} is nearly the same whatever is steered ({alike.share:.0%} of it): do not "
                    "read a single row as what that value brings with it.",
                )))  # fmt: skip
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
            against_random(row),
            f"{row['failures']:.2f}", interval(row["portraits"], row["portraits_low"], row["portraits_high"]),
        ))  # fmt: skip
    head = ("arm", "value", "pole", "dose", "movement", "q", "against random", "failed", "portraits")
    lead = (
        f"The dose that moves most while at most 5 % more answers fail (* {NO_HARMLESS}). Brackets are 95 % bootstraps "
        "over situations; q: corrected over all cells and doses; against random: less what the same edits do at random "
        "places; portraits: the questionnaire, in points of its scale."
    )
    return Sheet(f"Headlines: {len(rows)} cells", Table(head, tuple(rows), 3), lead, filtered=True)


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
