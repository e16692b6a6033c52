"""Causal graphs on the page: edges with their frequencies, and halves of the data beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.causal import Comparison, Edge, read_reference
from nnvalue.causal.marks import circles
from nnvalue.errors import NnvalueError
from nnvalue.report.blocks import Block, Notice, Picture, Words
from nnvalue.report.figures import (
    Arrow,
    Arrows,
    Dots,
    DotSeries,
    Figure,
    Table,
    plain,
    rate,
    short,
    signed,
)
from nnvalue.report.glossary import is_organism
from nnvalue.values import Framework

if TYPE_CHECKING:
    from nnvalue.causal import ValueGraph

PERMUTATIONS, SEED = 499, 0
"""Of what the page tells of structure by itself: few, so that a page takes seconds."""
GRAPH = (
    "An arrow says that steering or changing one value changes the other. Thick: a large effect; blue with a full head "
    "raises, orange with a hollow head lowers; dashed: it comes back in fewer than half of the bootstraps of roles, so "
    "do not rely on it."
)
HALVES = (
    "Graphs estimated from one half of the data against graphs from the other half, 1 is the same graph. Diamonds show "
    "what graphs with shuffled names reach: a graph that is not clearly to the right of them says nothing."
)


def graph_figures(graph: ValueGraph, framework: Framework | None) -> dict[str, Figure]:
    """Figures of a graph; none of one without stability, which is not shown."""
    if graph.resamples < 2:
        return {}
    made: dict[str, Figure] = {"graph": graph_figure(graph, framework)}
    if graph.by_role.ways or graph.by_item.ways:
        made["stability"] = halves_figure(graph)
    return made


def graph_blocks(graph: ValueGraph, framework: Framework | None) -> list[Block]:
    """What a part of the page on a graph shows."""
    figures = graph_figures(graph, framework)
    told = (
        f"By the method {graph.rule['method']}, from {graph.rows:,} rows of {graph.roles} roles in {graph.contexts} "
        f"settings."
    )
    if not figures:
        return [Words((told,)), Notice((
            "This graph was fitted without its stability, and is not shown without it. Fit it again: nnvalue graph "
            "SURVEY --resamples 200.",
        ))]  # fmt: skip
    blocks: list[Block] = [Words((told, *_against_truth(graph))), Picture(figures["graph"], GRAPH, open=True)]
    if turned := [_turns(graph, edge) for edge in graph.edges() if _turns(graph, edge)]:
        blocks.append(Words(tuple(turned)))
    if "stability" in figures:
        blocks.append(Picture(figures["stability"], HALVES))
    blocks.append(Words(tuple(graph.stability())))
    for what, halves in (("roles", graph.by_role), ("items", graph.by_item)):
        if not halves.ways:
            why = halves.why or "they were not asked for"
            blocks.append(Notice((f"Stability over halves of the {what} is missing: {why}.",)))
    if graph.warnings:
        blocks.append(Notice((*graph.warnings, *_loops(graph))))
    return blocks


def places(values: Sequence[str], framework: Framework | None, edges: Sequence[tuple[str, str]] = ()) -> tuple[
    dict[str, tuple[float, float]], bool
]:  # fmt: skip
    """Places within the unit circle, and whether they are the theory's; else as networkx lays them out."""
    if framework is not None and set(values) <= set(framework.circle):
        angles = {value: np.radians(framework.angle(value)) for value in values}
        return {value: (float(np.cos(angle)), float(np.sin(angle))) for value, angle in angles.items()}, True
    import networkx

    drawn = networkx.Graph()
    drawn.add_nodes_from(values)
    drawn.add_edges_from(edges)
    found = networkx.circular_layout(drawn)
    return {value: (float(x), float(y)) for value, (x, y) in found.items()}, False


def graph_figure(graph: ValueGraph, framework: Framework | None) -> Arrows:
    """The graph on the circle, or evenly around one where the framework has none."""
    edges = graph.edges()
    at, on_circle = places(graph.values, framework, [(edge.cause, edge.effect) for edge in edges])
    drawn = tuple(
        Arrow(
            edge.cause, edge.effect, edge.kind, edge.weight, edge.edge_frequency,
            f"{short(edge.cause)} {edge.kind} {short(edge.effect)}: {signed(edge.weight)}; the edge comes back in "
            f"{edge.edge_frequency:.0%}, this arrow in {edge.arrow_frequency:.0%} of {graph.resamples} bootstraps"
            f"{_turned(graph, edge)}",
        )
        for edge in edges
    )  # fmt: skip
    rest = (
        " In the table, weight is the direct effect for a unit of the cause, of other methods than effects a "
        f"standardised coefficient; comes back: share of {graph.resamples} bootstraps of roles; total effect: of "
        "steering the cause, 95 % over roles."
    )
    note = "Values stand in the order of the theory's circle." if on_circle else (
        "Places say nothing: a circle is not defined for this framework."
        if framework is not None else "Places say nothing: no circle of these values is known here."
    )  # fmt: skip
    return Arrows(
        f"A causal value graph by {graph.rule['method']}",
        f"{len(edges)} edges among {len(graph.values)} values; frequencies over {graph.resamples} bootstraps of roles.",
        edge_table(graph), at, drawn, on_circle, note + rest,
    )  # fmt: skip


def _turned(graph: ValueGraph, edge: Edge) -> str:
    """Said of an edge whose direct effect has another sign than the total one, the interval of which leaves out 0."""
    if graph.total is None or graph.total_low is None or graph.total_high is None or edge.kind != "→":
        return ""
    at = graph.values.index(edge.cause), graph.values.index(edge.effect)
    sure = graph.total_low[at] > 0 or graph.total_high[at] < 0
    if not sure or edge.weight * graph.total[at] >= 0:
        return ""
    direct, total = ("−", "+") if edge.weight < 0 else ("+", "−")
    return f"; direct {direct}, in total {total}, by way of others"


def _turns(graph: ValueGraph, edge: Edge) -> str:
    told = _turned(graph, edge).removeprefix("; ")
    return f"{short(edge.cause)} → {short(edge.effect)}: {told}." if told else ""


def _loops(graph: ValueGraph) -> list[str]:
    """What a graph that goes round in circles means for reading an order off it."""
    if not circles(graph.arrows):
        return []
    return [
        "So no order can be read along such a circle: each of its values is before and behind the others, and what "
        "steering one of them does to those further along does not follow from the arrows. Steer and measure it, or "
        "look at the total effects."
    ]


def edge_table(graph: ValueGraph) -> Table:
    """Every edge with its frequencies; of effects, the paired total effect with its interval over roles."""
    rows = []
    for edge in graph.edges():
        i, j = graph.values.index(edge.cause), graph.values.index(edge.effect)
        total = "—"
        if graph.total is not None and graph.total_low is not None and graph.total_high is not None:
            low, high = graph.total_low[i, j], graph.total_high[i, j]
            total = f"{signed(graph.total[i, j])} [{signed(low)}, {signed(high)}]"
        rows.append(
            (short(edge.cause), edge.kind, short(edge.effect), signed(edge.weight), f"{edge.edge_frequency:.2f}",
             f"{edge.arrow_frequency:.2f}", total)
        )  # fmt: skip
    return Table(
        ("cause", "", "effect", "weight", "edge comes back", "arrow comes back", "total effect"), tuple(rows), 3
    )


def halves_figure(graph: ValueGraph) -> Dots:
    """Likeness of graphs from halves, beside shuffled names."""
    rows, values, low, high, chance = [], [], [], [], []
    for what, halves in (("roles", graph.by_role), ("items", graph.by_item)):
        for name, title in (("skeleton", "edges"), ("direction", "arrows")):
            if halves.ways:
                rows.append(f"halves of {what}, {title}")
                values.append(getattr(halves, name))
                low.append(getattr(halves, f"{name}_low"))
                high.append(getattr(halves, f"{name}_high"))
                chance.append(getattr(halves, f"{name}_chance"))
    table = tuple(
        (row, plain(value), f"{plain(a)} – {plain(b)}", plain(by_chance))
        for row, value, a, b, by_chance in zip(rows, values, low, high, chance, strict=True)
    )
    return Dots(
        "How stable it is", f"F1 of graphs from two halves, over {max(graph.by_role.ways, graph.by_item.ways)} ways of "
        "halving, beside the same with the values' names shuffled.",
        Table(("halves", "F1", "95 % of the ways", "chance"), table), tuple(rows),
        (DotSeries("shuffled names (chance)", "chance", tuple(chance)),
         DotSeries("halves of the data", "effect", tuple(values), tuple(low), tuple(high))),
        "F1, 1 is the same graph", (-0.02, 1.02),
    )  # fmt: skip


def truth(graph: ValueGraph) -> Comparison | None:
    """A graph of the organism against the causal model that was put into it; None where there is none to compare."""
    if not is_organism(graph.source.get("model")):
        return None
    try:
        return graph.compare(read_reference("organism", graph.values), permutations=PERMUTATIONS, seed=SEED)
    except NnvalueError:  # of other values than the model's: there is no truth to hold it against
        return None


def _against_truth(graph: ValueGraph) -> list[str]:
    """How much of a known causal model was found, beside chance."""
    if (found := truth(graph)) is None:
        return []
    return [
        f"The causal model behind this organism is known: against it the edges reach F1 {found.skeleton.value:.2f} "
        f"(shuffled names {found.skeleton.chance:.2f}, p = {rate(found.skeleton.p)}) and the arrows "
        f"{found.direction.value:.2f} ({found.direction.chance:.2f}, p = {rate(found.direction.p)}); {PERMUTATIONS} "
        f"permutations, seed {SEED}."
    ]
