"""How an evaluation looks in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnvalue.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from nnvalue.evaluation import Evaluation, Tables

_SIGNS = {"positive": "+", "negative": "−"}
_LOST = ("log_perplexity_rise", "nll_rise", "yes_saying", "statements")
_COST_WORDS = (
    "portr.: the target's portraits; ppl: log-perplexity of the answers, unsteered; nll: of held-out sentences; "
    "yes: yes-saying; stat.: statements about nothing that matters"
)


def print_evaluation(console: Console, done: Evaluation) -> None:
    """Headlines beside their controls, what else moves, and what was left out."""
    tables = done.tables()
    design = done.design
    console.print(
        f"What moves: the best harmless dose of every arm; n = {design.situations} situations, temperature "
        f"{design.temperature:g}, read by {done.facts['judge']['name']}",
        style="bold", markup=False, highlight=False,
    )  # fmt: skip
    print_table(console, _headlines(tables), keys=3)
    if not all(trend["harmless"] for trend in tables.trends):
        console.print("* no dose without .05 more failures: the lowest is shown", markup=False, highlight=False)
    if costs := _costs(tables):
        console.print("What it costs, mean over values and poles", style="bold")
        print_table(console, costs, keys=2)
        console.print(_COST_WORDS, markup=False, highlight=False)
    for arm, found in tables.leakage.items():
        for readout, one in found.items():
            console.print(f"{arm}, {readout}: {_leak_words(one)}", markup=False, highlight=False, soft_wrap=True)
    for note in done.facts["notes"]:
        console.print(f"· {note}", markup=False, highlight=False, soft_wrap=True)


def _headlines(tables: Tables) -> Table:
    table = new_table("arm, value", "", "dose", "moves", "interval", "q", "random", "failed")
    by_cell = {(row["arm"], row["value"], row["pole"], row["dose"]): row for row in tables.effects}
    before = None
    for trend in tables.trends:
        row = by_cell[trend["arm"], trend["value"], trend["pole"], trend["headline_dose"]]
        controls = (f"{row['arm']}, random {what}" for what in ("neurons", "direction", "features"))
        cells = ((name, row["value"], row["pole"], row["dose"]) for name in controls)
        control = next((by_cell[cell] for cell in cells if cell in by_cell), None)
        if row["arm"] != before:
            table.add_row(Text(row["arm"], style="bold"))
        table.add_row(
            f"  {row['value']}", _SIGNS[row["pole"]], f"{row['dose']:g}{'' if trend['harmless'] else '*'}",
            _signed(row["movement"]), f"{_signed(row['low'])}…{_signed(row['high'])}", _known(row["q"], ".0e"),
            _signed(control["movement"]) if control else "—", f"{row['failures']:.2f}",
        )  # fmt: skip
        before = row["arm"]
    return table


def _costs(tables: Tables) -> Table | None:
    """Per arm and dose, controls among them: movement and what is lost."""
    groups: dict[tuple[str, str | None, float], list[Mapping[str, Any]]] = {}
    for row in tables.effects:
        groups.setdefault((row["arm"], row["control_of"], row["dose"]), []).append(row)
    if not groups:
        return None
    table = new_table("arm", "dose", "moves", "portr.", "failed", "ppl", "nll", "yes", "stat.")
    for (arm, control_of, dose), rows in groups.items():
        short = arm if control_of is None else arm.removeprefix(f"{control_of}, ").replace("random neurons", "random")
        table.add_row(
            short if control_of is None else f"  {short.replace(', same firing rates', ', as busy')}", f"{dose:g}",
            *(_signed(_mean(row[name] for row in rows)) for name in ("movement", "portraits")),
            f"{_mean(row['failures'] for row in rows):.2f}",
            *(_signed(_mean(row[name] for row in rows)) for name in _LOST),
        )  # fmt: skip
    return table


def _leak_words(one: Mapping[str, Any]) -> str:
    """What moved beside the targets, in a sentence."""
    per_unit = _mean(row["per_unit"] for row in one["by_value"])
    said = [f"others move {_known(per_unit, '.2f')} for a unit of the target"]
    circle = one["circle"]
    if circle is None:
        said.append("along the circle: not defined, or too few values to tell")
    else:
        said.append(f"near values along, opposite ones against: slope {circle['slope']:+.2f}, p = {circle['p']:.2g}")
    for people in one["people"][:1]:
        said.append(
            f"like people's correlations r = {_known(people['r'], '+.2f')} (people among themselves "
            f"{people['ceiling_low']:.2f} to {people['ceiling_high']:.2f})"
        )
    return "; ".join(said) + "."


def _mean(figures: Any) -> float:
    known = [figure for figure in figures if math.isfinite(figure)]
    return sum(known) / len(known) if known else math.nan


def _signed(figure: float) -> str:
    return _known(figure, "+.2f").replace("-", "−")


def _known(figure: float, form: str) -> str:
    return f"{figure:{form}}" if math.isfinite(figure) else "—"
