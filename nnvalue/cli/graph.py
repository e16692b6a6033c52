"""`nnvalue graph`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import open_console, print_json, progress_bars

if TYPE_CHECKING:
    from nnvalue.causal import ScoreTable, Survey

_PATH = click.Path(path_type=Path)
_OF_FILES = ("context", "role", "contexts")
_RULE = ("alpha", "rows", "deepest", "smallest")


@click.command(
    "graph",
    epilog=examples(
        "nnvalue graph runs/s --method effects --against organism",
        "nnvalue graph scores.csv --context steer_dim --role player_name --method paper",
        "nnvalue graph runs/s --picture graph.svg --json",
    ),
)
@click.argument("scores", type=_PATH)
@click.option("--method", default="jci", show_default=True, help="jci, effects, paper, pc, boss, ges, fci or lingam.")
@click.option("--value", "values", multiple=True, help="This value only; repeatable.  [default: all]")
@click.option("--kind", "kinds", multiple=True, help="Settings of this kind only (prompt, neurons, …); repeatable.")
@click.option("--alpha", type=float, help="Of independence tests.  [default: .01 of jci, .05 of others]")
@click.option("--rows", help="pooled, unsteered or within.  [default: what suits the method]")
@click.option("--deepest", type=int, help="Nodes in a separating set, at most.  [default: 3 of jci, any of others]")
@click.option("--smallest", type=float, help="Of effects: the smallest direct effect that is drawn.  [default: 0.1]")
@click.option("--background", type=_PATH, metavar="FILE", help="YAML or JSON: tiers, forbidden and required arrows.")
@click.option("--resamples", default=200, show_default=True, type=click.IntRange(min=2), help="Bootstraps of roles.")
@click.option("--ways", default=20, show_default=True, type=click.IntRange(min=1), help="Ways of halving both.")
@click.option("--against", metavar="GRAPH", help="Compare with a graph's folder, a file of arrows, or organism.")
@click.option("--permutations", default=2000, show_default=True, type=click.IntRange(min=99), help="Of comparisons.")
@click.option("--context", metavar="COLUMN", help="Of a file: what was done; empty is unsteered.")
@click.option("--role", metavar="COLUMN", help="Of a file: who was asked.")
@click.option("--contexts", metavar="NAMES", help="Of a file: keep these, by commas; none is the unsteered one.")
@click.option("--seed", default=0, show_default=True, help="Of resamples, halves and permutations.")
@click.option("--out", type=_PATH, help="Folder to save the graph in.  [default: SCORES.METHOD]")
@click.option("--picture", type=_PATH, metavar="FILE", help="Draw it: .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(scores: Path, **options: Any) -> None:
    """Tell a causal value graph from SCORES: a folder of nnvalue survey, or a file with a column for every value.

    Every edge comes with its frequency over bootstraps of roles, the graph with the likeness of graphs from halves of
    the roles and of the items, and every comparison with what chance would give.
    """
    from nnvalue.causal import fit_graph, read_background, read_reference
    from nnvalue.cli.graph_show import graph_as_data, print_graph

    data = read_data(scores, options)
    rule = {name: options[name] for name in _RULE if options[name] is not None}
    if options["background"] is not None:
        rule["background"] = read_background(options["background"])
    values = options["values"] or None
    reference = None
    if options["against"] is not None:  # before anything takes its time
        reference = read_reference(options["against"], values or data.values)
    settings = {name: options[name] for name in ("resamples", "ways", "seed")}
    with progress_bars("reading scores") as progress:
        graph = fit_graph(
            data, options["method"], values=values, kinds=options["kinds"] or None, progress=progress,
            **settings, **rule,
        )  # fmt: skip
    compared = (
        None if reference is None
        else graph.compare(reference, permutations=options["permutations"], seed=options["seed"])
    )  # fmt: skip
    out = options["out"] or Path(f"{str(scores).rstrip('/')}.{options['method']}")
    graph.save(out)
    if options["picture"] is not None:
        from nnvalue.report import draw_graph

        draw_graph(graph, options["picture"], framework=framework_of(data))
    if options["as_json"]:
        print_json({**graph_as_data(graph, compared), "out": str(out)})
        return
    console = open_console()
    print_graph(console, graph, compared, options["against"])
    console.print(f"Written to {out}. Look again: nnvalue inspect {out}", soft_wrap=True, markup=False, highlight=False)


def framework_of(data: Survey | ScoreTable) -> Any:
    """The framework of a survey, if it comes with nnvalue; None for scores from elsewhere."""
    from nnvalue.causal import Survey
    from nnvalue.values import embedded_frameworks, load_framework

    name = data.facts["framework"] if isinstance(data, Survey) else None
    return load_framework(name) if name in embedded_frameworks() else None


def read_data(scores: Path, options: Mapping[str, Any]) -> Survey | ScoreTable:
    """A survey's folder, or a file of scores."""
    from nnvalue.causal import Survey, read_scores

    if scores.is_dir():
        given = [name for name in _OF_FILES if options[name] is not None]
        if given:
            raise click.UsageError(f"--{given[0]} is about a file of scores; leave it out, {scores} is a folder.")
        return Survey.load(scores)
    names = None if options["contexts"] is None else [name.strip() for name in options["contexts"].split(",")]
    return read_scores(
        scores, values=options["values"] or None, context=options["context"], role=options["role"], contexts=names
    )  # fmt: skip
