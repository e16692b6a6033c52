"""`nnvalue steer --survey`: what steers is chosen by what a survey says it will move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nnvalue.causal import Choice
    from nnvalue.steering import PromptSteering, Steering

BY = ("settings", "roles")


@dataclass(frozen=True)
class Chosen:
    """What was chosen, beside what would have been without protection.

    best, unguided: the same candidate, where protecting changes nothing.
    protected: the values that should stay; by: settings or roles.
    inside, words: what steers.
    """

    best: Choice
    unguided: Choice
    protected: tuple[str, ...]
    by: str
    inside: Steering | None
    words: PromptSteering | None


def choose(options: Mapping[str, Any]) -> Chosen:
    """The setting or role that a survey recommends for a value and a pole.

    Raises click's UsageError where no value is named.
    """
    from nnvalue.causal import Survey, ValueGraph, choose_intervention, choose_role, protected_values
    from nnvalue.steering import PromptSteering, role_prompt
    from nnvalue.values import SIGN

    survey = Survey.load(options["survey"])
    if options["value"] is None:
        raise click.UsageError(f"Which value? Give --value, one of {', '.join(survey.values)}.")
    graph = None if options["graph"] is None else ValueGraph.load(options["graph"])
    wish = {options["value"]: float(SIGN[options["pole"] or "positive"])}
    protect = None
    if options["protect"] is not None:
        protect = [name.strip() for name in options["protect"].split(",") if name.strip()]
    by = options["by"] or "settings"
    pick = choose_role if by == "roles" else choose_intervention
    penalty = {} if options["penalty"] is None else {"penalty": options["penalty"]}
    best = pick(survey, wish, protect=protect, graph=graph, **penalty)[0]
    unguided = pick(survey, wish, protect=protect, graph=graph, penalty=0.0)[0]
    kept = protected_values(survey.values, wish, protect, graph)
    if by == "roles":
        return Chosen(best, unguided, kept, by, None, role_prompt(survey.facts["roles"][best.name]))
    steering = next(one for one in survey.settings if one.name == best.name).as_steering()
    if isinstance(steering, PromptSteering):
        return Chosen(best, unguided, kept, by, None, steering)
    return Chosen(best, unguided, kept, by, steering, None)


def chosen_as_data(chosen: Chosen) -> dict[str, Any]:
    """The choice as JSON data, every value's expected movement among it."""
    from dataclasses import asdict

    return {
        "by": chosen.by, "protected": list(chosen.protected), "chosen": asdict(chosen.best),
        "without_protection": asdict(chosen.unguided),
    }  # fmt: skip


def print_choice(console: Any, chosen: Chosen) -> None:
    """What was chosen, and how far every value is expected to move, beside the choice without protection."""
    from nnvalue.cli.tables import new_table, print_table

    table = new_table("value", "expected", "", "without protection")
    for value, moved in chosen.best.moves.items():
        mark = "protected" if value in chosen.protected else ""
        table.add_row(value, _signed(moved), mark, _signed(chosen.unguided.moves[value]))
    console.print(
        f"Chosen of the survey's {chosen.by}: {chosen.best.name}; without protection: {chosen.unguided.name}",
        style="bold", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    print_table(console, table)


def _signed(figure: float) -> str:
    return f"{figure:+.2f}".replace("-", "−")
