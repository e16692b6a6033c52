"""`nnvalue side-effects`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import open_console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from nnvalue.causal import PredictionReport, SideEffects

_PATH = click.Path(path_type=Path)


@click.command(
    "side-effects",
    epilog=examples(
        "nnvalue side-effects runs/s",
        "nnvalue side-effects runs/s --graph runs/s.effects --kind neurons",
    ),
)
@click.argument("survey", type=_PATH)
@click.option("--graph", type=_PATH, metavar="FOLDER", help="Count expected and unexpected side effects of this graph.")
@click.option("--kind", default="prompt", show_default=True, help="Settings of which kind: prompt, neurons, direction.")
@click.option("--ways", default=10, show_default=True, type=click.IntRange(min=1), help="Of halving roles and items.")
@click.option("--moved", default=0.1, show_default=True, help="A value that moves by less has not moved.")
@click.option("--permutations", default=2000, show_default=True, type=click.IntRange(min=99), help="Of names.")
@click.option("--seed", default=0, show_default=True, help="Of halves, draws and permutations.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(survey: Path, **options: Any) -> None:
    """What moves beside a steered value, foretold from half of a SURVEY and held against the other half.

    Predictions stand beside three others: that nothing else moves, that the circle tells, and that the names were
    shuffled. With --graph, the paper's counts of expected and unexpected side effects are taken, too.
    """
    from nnvalue.causal import Survey, ValueGraph, check_predictions
    from nnvalue.cli.terminal import progress_bars
    from nnvalue.errors import UnknownNameError
    from nnvalue.values import load_framework

    done = Survey.load(survey)
    known = sorted({one.kind for one in done.settings if one.target})
    if options["kind"] not in known:
        raise UnknownNameError("kind of setting", options["kind"], known)
    counted = {}
    if options["graph"] is not None:
        counted = count(done, ValueGraph.load(options["graph"]), options)
    with progress_bars("foretelling"):
        report = check_predictions(
            done, load_framework(done.facts["framework"]), kind=options["kind"], ways=options["ways"],
            seed=options["seed"],
        )  # fmt: skip
    if options["as_json"]:
        counts = {name: asdict(one) for name, one in counted.items()}
        print_json({"predictions": asdict(report), "counts": counts})
        return
    console = open_console()
    print_predictions(console, report)
    for name, one in counted.items():
        print_counts(console, name, one)


def count(survey: Any, graph: Any, options: dict[str, Any]) -> dict[str, SideEffects]:
    """Expected and unexpected side effects of switching roles, and of settings averaged over roles."""
    import numpy as np

    from nnvalue.causal import over_roles, role_differences, side_effects
    from nnvalue.errors import InvalidInputError

    table = survey.table()
    if set(graph.values) != set(table.values):
        raise InvalidInputError(
            f"The graph is of {', '.join(graph.values)}, and the survey of {', '.join(table.values)}; fit it on this "
            "survey."
        )
    at = [graph.values.index(value) for value in table.values]
    downstream = graph.descendants[np.ix_(at, at)]
    how = {"permutations": options["permutations"], "seed": options["seed"]}
    kept = [one.name for one in table.contexts if one.kind in ("none", options["kind"])]
    each = over_roles(table.only(kept), downstream, form="magnitude", permutations=99)
    gaps = [one.gap for one in each.values()]
    rows = np.concatenate([_changes(table.only(kept), role) for role in table.roles])
    changes = {"another role": role_differences(table), "settings, all roles": rows}
    made = {
        f"{name}, {form}": side_effects(one, downstream, table.values, form=form, least=options["moved"], **how)
        for name, one in changes.items()
        for form in ("frequency", "magnitude")
    }
    said = f"mean gap {np.nanmean(gaps):+.3f}, above 0 in {np.nanmean(np.array(gaps) > 0):.0%} of {len(gaps)} roles"
    click.echo(f"Settings in each role by itself, magnitude: {said}.", err=True)
    return made


def _changes(table: Any, role: str) -> Any:
    from nnvalue.causal import context_differences

    return context_differences(table, role)


def print_predictions(console: Console, report: PredictionReport) -> None:
    """A table of predictions beside their baselines."""
    from nnvalue.cli.tables import new_table, print_table

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(
        f"Side effects of {report.kind} settings, foretold from half of {report.roles} roles and items, scored on the "
        f"others; {report.ways} ways of halving, {report.cells} pairs of which {report.moved:.0f} moved", "bold",
    )  # fmt: skip
    table = new_table("foretold by", "r", "", "skill", "", "way", "which", "p")
    for name, one in report.scores.items():
        table.add_row(
            name, _figure(one.r), _ends(one.r_low, one.r_high), _figure(one.skill),
            _ends(one.skill_low, one.skill_high), _figure(one.direction), _figure(one.which),
            f"{report.p[name]:.2g}" if name in report.p else "",
        )  # fmt: skip
    print_table(console, table)
    say(
        "skill: 1 − squared error over that of foretelling nothing; way: right directions among values that moved; "
        "which: area under the curve that tells those that move; p: share of shuffled names with such a skill"
    )
    for source, baselines in report.better.items():
        told = ", ".join(
            f"{name} {mean:+.2f} [{low:+.2f}, {high:+.2f}]" for name, (mean, low, high) in baselines.items()
        )
        say(f"{source}, skill above: {told}".replace("-", "−"))
    for name, why in report.left_out.items():
        say(f"· {name}: {why}")


def print_counts(console: Console, name: str, found: SideEffects) -> None:
    """Expected and unexpected, in a line."""
    console.print(
        f"{name}: expected {found.expected:.2f}, unexpected {found.unexpected:.2f}, gap {found.gap:+.2f} "
        f"(chance {found.chance:+.2f}, p = {found.p:.2g}); the graph leads from a value to {found.coverage:.0%} of the "
        "others",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _figure(figure: float) -> str:
    return "—" if figure != figure else f"{figure:.2f}".replace("-", "−")  # NaN is not itself


def _ends(low: float, high: float) -> str:
    return "" if low != low else f"[{low:.2f}, {high:.2f}]".replace("-", "−")
