"""Which value moves which? A causal value graph from end to end, after Kang et al. (ACL Findings 2025).

    python -m recipes.value_graph [--model FOLDER_OR_HUB_ID] [--roles 40] [--pairs 2] [--out runs/value_graph]

Asks roles under descriptions of either pole of every value; tells graphs by the paper's method, with contexts and from
total effects, and how stable they are; holds the structure against the circle and people; foretells side effects and
checks them; chooses a setting that spares what it can; and draws it all. A stopped run goes on.

The organism's 40 roles give 67,200 answers, some three minutes at the 353 a second that were measured on two cores
(docs/causal.md). Expect, less surely than with the 200 roles there, that `effects` draws most of the organism's arrows
and `paper` the pairs without their directions.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from nnvalue import fit_graph, load_framework, load_valueinsight, open_model, survey
from nnvalue.causal import check_predictions, choose_intervention, read_reference, structure
from nnvalue.cli.graph_show import print_graph
from nnvalue.cli.side_effects import print_predictions
from nnvalue.cli.structure import print_structure
from nnvalue.cli.terminal import progress_bars, quiet_libraries
from nnvalue.dataset import role_of
from nnvalue.errors import InvalidInputError
from nnvalue.report import draw_circle, draw_graph, draw_heat_map
from recipes.command import Recipe


@click.command(cls=Recipe)
@click.option("--model", help="A folder or a hub id. Default: the embedded organism.")
@click.option("--roles", type=click.IntRange(min=1), default=40, show_default=True, help="The dataset's first N.")
@click.option("--pairs", type=click.IntRange(min=1), default=2, show_default=True, help="Pairs of portraits a value.")
@click.option("--split", default="all", show_default=True, help="Of portraits; the organism knows those of locate.")
@click.option("--resamples", default=200, show_default=True, help="Bootstraps of roles.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/value_graph"), show_default=True)
def main(model: str | None, roles: int, pairs: int, split: str, resamples: int, out: Path) -> None:
    """Run it and print what is found."""
    console, framework, edition = Console(), load_framework(), load_valueinsight()
    people = [role_of(row) for row in list(edition.roles)[:roles]]
    quiet_libraries()
    with progress_bars() as progress:
        done = survey(
            open_model(model), roles=people, dataset=edition, split=split, pairs=pairs, out=out / "survey",
            progress=progress,
        )  # fmt: skip
    truth = read_reference("organism", done.values) if model is None else None
    for method in ("paper", "jci", "effects"):
        try:
            with progress_bars("telling a graph") as progress:
                graph = fit_graph(done, method, resamples=resamples, progress=progress)
        except InvalidInputError as error:  # a finding, too
            console.print(f"{method}: {error}\n", markup=False, highlight=False)
            continue
        graph.save(out / f"graph-{method}")
        draw_graph(graph, out / f"graph-{method}.svg", framework=framework)
        print_graph(console, graph, None if truth is None else graph.compare(truth), "the organism's causal model")
        console.print()
        if graph.total is not None:
            title = "moved (columns) when one is steered (rows), for a unit of its own movement"
            draw_heat_map(graph.total, graph.values, graph.values, out / "total-effects.svg", title=title)
    found = structure(done.value_scores()[0], done.values, framework)
    print_structure(console, found)
    draw_circle(found, framework, out / "circle.svg")
    print_predictions(console, check_predictions(done, framework))
    for value in done.values:
        best = choose_intervention(done, {value: 1.0})[0]
        moves = ", ".join(f"{name} {moved:+.2f}" for name, moved in best.moves.items())
        console.print(
            f"{value} + and little else: {best.name} ({moves})", markup=False, highlight=False, soft_wrap=True
        )
    console.print(f"Pictures and results lie in {out}.", markup=False, highlight=False)


if __name__ == "__main__":
    main()
