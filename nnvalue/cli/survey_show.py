"""How a survey looks in a terminal and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from nnvalue.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from nnvalue.causal import Survey


def print_survey(console: Console, survey: Survey) -> None:
    """What every setting does to its own value, and how roles differ without any."""
    data = survey_as_data(survey)
    console.print(
        f"{len(survey.roles)} roles in {len(survey.settings)} settings, {len(survey.items)} items in "
        f"{len(survey.orders)} option order(s): {data['answers']:,} answers, {data['failed']:,} of which do not count",
        style="bold", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = new_table("value", "mean", "sd", *data["kinds"])
    for value, row in data["values"].items():
        moved = (_signed(row["moved"].get(kind)) for kind in data["kinds"])
        table.add_row(value, _signed(row["mean"]), _known(row["sd"]), *moved)
    print_table(console, table)
    console.print(
        "mean, sd: unsteered, over roles, yes-saying taken out; the other columns: how far settings of that kind move "
        f"the value they are about, from one side to the other, on a scale of {survey.scale[0]:g} to "
        f"{survey.scale[1]:g}",
        markup=False, highlight=False,
    )  # fmt: skip
    if data["one_sided"]:
        console.print(
            f"· items of one keying only, yes-saying is in the scores: {', '.join(data['one_sided'])}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def survey_as_data(survey: Survey) -> dict[str, Any]:
    """What `print_survey` shows as JSON data, with the mean scores of every setting."""
    scores = survey.value_scores()
    kinds = list(dict.fromkeys(one.kind for one in survey.settings if one.target))
    values = {}
    for place, value in enumerate(survey.values):
        moved = {}
        for kind in kinds:
            sides = {}
            for side in (1.0, -1.0):
                at = [n for n, one in enumerate(survey.settings)
                      if (one.kind, one.value, one.target) == (kind, value, side)]  # fmt: skip
                if at:
                    sides[side] = scores[at, :, place].mean()
            if sides:
                base = scores[0, :, place].mean()
                moved[kind] = _number(sides.get(1.0, base) - sides.get(-1.0, base))
        mean, sd = (_number(one) for one in (scores[0, :, place].mean(), scores[0, :, place].std()))
        values[value] = {"mean": mean, "sd": sd, "moved": moved}
    saying = survey.yes_saying()
    return {
        "roles": len(survey.roles), "settings": [one.name for one in survey.settings], "items": len(survey.items),
        "orders": list(survey.orders), "answers": survey.scores.size, "failed": survey.failed, "kinds": kinds,
        "values": values, "one_sided": survey.one_sided(), "protocol": survey.facts["protocol"]["name"],
        "yes_saying": _number(saying.mean()) if np.isfinite(saying).all() else None,
        "means": {one.name: dict(zip(survey.values, map(_number, row), strict=True))
                  for one, row in zip(survey.settings, scores.mean(1), strict=True)},
    }  # fmt: skip


def _number(figure: float) -> float | None:
    return float(figure) if np.isfinite(figure) else None


def _signed(figure: float | None) -> str:
    return "—" if figure is None else f"{figure:+.2f}".replace("-", "−")


def _known(figure: float | None) -> str:
    return "—" if figure is None else f"{figure:.2f}"
