"""The page that lies with a saved evaluation: its headlines, beside their controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnvalue.evaluation.tables import Tables

_CARD = """---
library_name: nnvalue
tags: [steering, values, evaluation]
---
# What steering does to {model}

*Movement*: mean over answers of (stance − the unsteered stance to the same situation, with the same noise), towards
the asked pole; a stance lies between −1 and 1. Brackets are 95 % bootstraps over situations' cores. *Against random*:
minus the same edits at random neurons of the same layers, or along a random direction. *Failed*: answers that are
unreadable, refused, or could not be judged; they count with a stance of 0. The dose is the one that moves most while
failures rise by .05 at most; with * there is none, and it is the lowest.

| arm | value | pole | dose | movement | q | against random | failed (unsteered) | portraits |
|---|---|---|---|---|---|---|---|---|
{rows}

{notes}
All figures: `tables.json`, `effects.csv`. Every row: `answers.parquet`, `items.parquet`, `costs.parquet`; the tables
are a function of them: `nnvalue.evaluation.Evaluation.load("this folder").tables()`. Design, model and versions:
`evaluation.json`.
"""


def card(tables: Tables, facts: Mapping[str, Any]) -> str:
    """The page."""
    by_cell = {(row["arm"], row["value"], row["pole"], row["dose"]): row for row in tables.effects}
    rows = []
    for trend in tables.trends:
        row = by_cell[trend["arm"], trend["value"], trend["pole"], trend["headline_dose"]]
        rows.append(
            f"| {row['arm']} | {row['value']} | {row['pole']} | {row['dose']:g}{'' if trend['harmless'] else '*'} "
            f"| {interval(row, 'movement')} "
            f"| {number(row['q'], '.1g')} | {interval(row, 'against_random')} "
            f"| {row['failures']:.2f} ({row['failures_unsteered']:.2f}) | {interval(row, 'portraits')} |"
        )
    notes = "\n".join(f"- {note}" for note in facts["notes"])
    return _CARD.format(model=facts["model"]["name"], rows="\n".join(rows), notes=f"{notes}\n" if notes else "")


def interval(row: Mapping[str, Any], name: str) -> str:
    """A figure with its interval."""
    low, high = ("low", "high") if name == "movement" else (f"{name}_low", f"{name}_high")
    if not math.isfinite(row[name]):
        return "—"
    return f"{row[name]:+.2f} [{row[low]:+.2f}, {row[high]:+.2f}]".replace("-", "−")


def number(figure: float, form: str) -> str:
    """A figure, or a dash."""
    return f"{figure:{form}}" if math.isfinite(figure) else "—"
