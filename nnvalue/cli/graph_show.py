"""How a causal value graph looks in a terminal and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nnvalue.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from nnvalue.causal import Comparison, ValueGraph


def print_graph(
    console: Console, graph: ValueGraph, compared: Comparison | None = None, against: str | None = None
) -> None:
    """Edges with their frequencies, stability beside chance, and a comparison beside its null."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(
        f"{graph.rule['method']}: {len(graph.values)} values, {graph.rows:,} rows of {graph.roles} roles in "
        f"{graph.contexts} contexts",
        "bold",
    )
    table = new_table("cause", "", "effect", "weight", "edge", "arrow", keys=3)
    edges = graph.edges()
    for edge in edges:
        weight = f"{edge.weight:+.2f}".replace("-", "−")
        table.add_row(
            edge.cause, edge.kind, edge.effect, weight, f"{edge.edge_frequency:.2f}", f"{edge.arrow_frequency:.2f}"
        )  # fmt: skip
    print_table(console, table, keys=3)
    say(f"edge, arrow: how often they come back in {graph.resamples} bootstraps of roles" if edges else "No edge.")
    for line in graph.stability():
        say(line)
    if compared is not None:
        say(f"Against {against}: {told(compared)}")
    for warning in graph.warnings:
        say(f"· {warning}")


def told(compared: Comparison) -> str:
    """A comparison in a line."""
    parts = [
        f"{name} {one.value:{form}} (chance {one.chance:{form}}, p = {one.p:.2g})"
        for name, one, form in (
            ("skeleton F1", compared.skeleton, ".2f"), ("direction F1", compared.direction, ".2f"),
            ("SHD", compared.shd, ".1f"),
        )
    ]  # fmt: skip
    return f"{', '.join(parts)}; {compared.edges} edges, {compared.reference} in the other."


def graph_as_data(graph: ValueGraph, compared: Comparison | None = None) -> dict[str, Any]:
    """The same as JSON data, with every matrix."""
    return {
        **graph.as_json(), "edges": [asdict(edge) for edge in graph.edges()], "circles": graph.circles,
        "comparison": None if compared is None else asdict(compared),
    }  # fmt: skip
