"""Causal graphs and structure on the page: edges with their frequencies, halves beside chance, people's ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.causal import Structure, read_reference, structure
from nnvalue.errors import InvalidInputError, NnvalueError
from nnvalue.report.blocks import Block, Notice, Picture, Words
from nnvalue.report.figures import (
    Arrow,
    Arrows,
    Circle,
    Dots,
    DotSeries,
    Figure,
    HeatMap,
    Table,
    counted,
    plain,
    rate,
    short,
    signed,
)
from nnvalue.report.neurons import ordered
from nnvalue.values import Framework

if TYPE_CHECKING:
    from nnvalue.causal import Survey, ValueGraph

PERMUTATIONS, SEED = 499, 0
"""Of what the page tells of structure by itself: few, so that a page takes seconds."""
_ORGANISM = "nnvalue/organism"
_MOST_SETTINGS = 60
GRAPH = (
    "An arrow says that steering or changing one value changes the other. Thick: a large effect; blue with a full head "
    "raises, orange with a hollow head lowers; dashed: it comes back in fewer than half of the bootstraps of roles, so "
    "do not rely on it."
)
HALVES = (
    "Graphs told from one half of the data against graphs from the other half, 1 is the same graph. Diamonds show what "
    "graphs with shuffled names reach: a graph that is not clearly to the right of them says nothing."
)
STRUCTURE = (
    "Each figure of the model (dot) beside the same with the values' names shuffled (diamond, two standard deviations) "
    "and what samples of people reach (bar). Human-like is in the bar, not at 1."
)
CIRCLE = (
    "Dots stand where the model's answers put a value: near ones are answered alike. Diamonds are the theory's places; "
    "short ties mean agreement with it."
)
SETTINGS = (
    "Every row is a setting that was tried on the same roles; colour is how far it moved each value from the unsteered "
    "answers. Framed: the value that it is about."
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
    if "stability" in figures:
        blocks.append(Picture(figures["stability"], HALVES))
    blocks.append(Words(tuple(graph.stability())))
    for what, halves in (("roles", graph.by_role), ("items", graph.by_item)):
        if not halves.ways:
            why = halves.why or "they were not asked for"
            blocks.append(Notice((f"Stability over halves of the {what} is missing: {why}.",)))
    if graph.warnings:
        blocks.append(Notice(tuple(graph.warnings)))
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
            f"{edge.edge_frequency:.0%}, this arrow in {edge.arrow_frequency:.0%} of {graph.resamples} bootstraps",
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


def _against_truth(graph: ValueGraph) -> list[str]:
    """Of the organism, whose causal model is known: how much of it was found, beside chance."""
    model = graph.source.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    if name != _ORGANISM:
        return []
    try:
        found = graph.compare(read_reference("organism", graph.values), permutations=PERMUTATIONS, seed=SEED)
    except NnvalueError:  # of other values than the model's: there is no truth to hold it against
        return []
    return [
        f"The causal model behind this organism is known: against it the edges reach F1 {found.skeleton.value:.2f} "
        f"(shuffled names {found.skeleton.chance:.2f}, p = {rate(found.skeleton.p)}) and the arrows "
        f"{found.direction.value:.2f} ({found.direction.chance:.2f}, p = {rate(found.direction.p)}); {PERMUTATIONS} "
        f"permutations, seed {SEED}."
    ]


def survey_structure(survey: Survey, framework: Framework | None) -> Structure | str:
    """How the unsteered roles' values hang together, or why that is not told."""
    if framework is None:
        return "the framework of this survey is not at hand"
    try:
        return structure(
            survey.value_scores()[0], survey.values, framework, permutations=PERMUTATIONS, seed=SEED
        )  # fmt: skip
    except NnvalueError as error:
        return str(error).rstrip(".")


def survey_figures(
    survey: Survey, framework: Framework | None, found: Structure | str | None = None
) -> dict[str, Figure]:  # fmt: skip
    """Figures of a survey; found: its structure, if that is known."""
    made: dict[str, Figure] = {}
    if len(survey.settings) > 1:
        made["settings"] = settings_figure(survey, framework)
    found = survey_structure(survey, framework) if found is None else found
    if isinstance(found, Structure):
        if found.measures or found.people:
            made["structure"] = structure_figure(found)
        if found.points is not None and framework is not None:
            made["circle"] = circle_figure(found, framework)
    return made


def survey_blocks(survey: Survey, framework: Framework | None, found: Structure | str) -> list[Block]:
    """What a part of the page on a survey shows; found: what `survey_structure` says of it."""
    figures = survey_figures(survey, framework, found)
    told = (
        f"{len(survey.roles)} roles in {len(survey.settings)} settings answered {len(survey.items)} items in "
        f"{counted(len(survey.orders), 'option order')}: {survey.scores.size:,} answers, {survey.failed:,} of which "
        "do not count; yes-saying is taken out."
    )
    blocks: list[Block] = [Words((told,))]
    if "settings" in figures:
        blocks.append(Picture(figures["settings"], SETTINGS))
    if isinstance(found, str):
        return [*blocks, Notice((f"Structure against the circle and people is not told: {found}.",))]
    blocks.append(Words((
        f"Structure is told over the {found.n} unsteered roles, each centred on its own mean, with {PERMUTATIONS} "
        f"permutations and seed {SEED}; few roles tell little.",
    )))  # fmt: skip
    if "structure" in figures:
        blocks.append(Picture(figures["structure"], STRUCTURE))
    if "circle" in figures:
        blocks.append(Picture(figures["circle"], CIRCLE))
    if found.why:
        blocks.append(Notice((f"Against the circle: {found.why}.",)))
    if not found.people:
        blocks.append(Notice(("People's correlations of these values are not known, so there is no human ceiling.",)))
    return blocks


def settings_figure(survey: Survey, framework: Framework | None) -> HeatMap:
    """How far every setting moved every value from the unsteered answers, mean over roles."""
    scores = survey.value_scores()
    values = ordered(survey.values, framework)
    at = [survey.values.index(value) for value in values]
    known = np.isfinite(scores)
    count = known.sum(1)
    means = np.divide(np.where(known, scores, 0).sum(1), count, out=np.full(count.shape, np.nan), where=count > 0)
    shown = survey.settings[1 : 1 + _MOST_SETTINGS]
    moved = (means - means[0])[1 : 1 + len(shown), at]
    rows = tuple(one.name for one in shown)
    texts = tuple(tuple(signed(one, 1) for one in row) for row in moved)
    hints = tuple(
        tuple(f"{name}: {short(value)} moves by {signed(moved[row, column], 3)}" for column, value in enumerate(values))
        for row, name in enumerate(rows)
    )  # fmt: skip
    own = frozenset(
        (row, values.index(one.value)) for row, one in enumerate(shown) if one.value in values
    )  # fmt: skip
    table = tuple((short(name), *(signed(one) for one in moved[row])) for row, name in enumerate(rows))
    more = len(survey.settings) - 1 - len(shown)
    note = f"The first {len(shown)} settings; {more} more are in scores.parquet." if more > 0 else ""
    return HeatMap(
        "What settings move", f"Mean movement of {len(values)} values in {len(rows)} settings over {len(survey.roles)} "
        f"roles, on a scale of {survey.scale[0]:g} to {survey.scale[1]:g}.",
        Table(("setting", *map(short, values)), table),
        rows, tuple(map(short, values)), moved, texts, hints, float(np.abs(moved[np.isfinite(moved)]).max(initial=0.1)),
        "points of the scale", "setting", "value", own, note=note,
    )  # fmt: skip


def structure_figure(found: Structure) -> Dots:
    """Measures of structure beside shuffled names and people."""
    shown = [one for one in (*found.measures, *found.people.values()) if one.name != "stress"]
    rows = tuple(one.title for one in shown)
    table = tuple(
        (one.title, plain(one.value), plain(one.chance), rate(one.p),
         f"{plain(one.people_low)} – {plain(one.people_high)}" if np.isfinite(one.people_low) else "—")
        for one in (*found.measures, *found.people.values())
    )  # fmt: skip
    return Dots(
        "Like the circle, like people?", f"Measures of structure over {found.n} roles, beside shuffled names and "
        "people.",
        Table(("measure", "value", "chance", "p", "people"), table), rows,
        (
            DotSeries("samples of people", "people", (np.nan,) * len(shown), tuple(one.people_low for one in shown),
                      tuple(one.people_high for one in shown)),
            DotSeries("shuffled names (chance)", "chance", tuple(one.chance for one in shown),
                      tuple(one.chance - 2 * one.sd for one in shown), tuple(one.chance + 2 * one.sd for one in shown)),
            DotSeries("this model", "effect", tuple(one.value for one in shown)),
        ), "value of the measure",
    )  # fmt: skip


def circle_figure(found: Structure, framework: Framework) -> Circle:
    """Values where an MDS puts them, turned onto the circle. Raises InvalidInputError for a structure without one."""
    if found.points is None or found.angles is None:
        raise InvalidInputError(f"There is no circle to draw: {found.why}.")
    angles = np.radians([framework.angle(value) for value in found.values])
    theory = np.column_stack([np.cos(angles), np.sin(angles)])
    off = [(float(one) - framework.angle(value) + 180) % 360 - 180 for one, value in
           zip(found.angles, found.values, strict=True)]  # fmt: skip
    hints = tuple(
        f"{short(value)}: at {angle:.0f}°, {abs(gap):.0f}° from its place in the theory"
        for value, angle, gap in zip(found.values, found.angles, off, strict=True)
    )
    table = tuple(
        (short(value), f"{framework.angle(value):.0f}°", f"{angle:.0f}°", f"{abs(gap):.0f}°")
        for value, angle, gap in zip(found.values, found.angles, off, strict=True)
    )
    template = next(one for one in found.measures if one.name == "template")
    note = (
        f"n = {found.n} roles; r with the circle {plain(template.value)} (shuffled names {plain(template.chance)}, p = "
        f"{rate(template.p)}; people {plain(template.people_low)} – {plain(template.people_high)})."
    )
    return Circle(
        "Values on the circle", f"Places of {len(found.values)} values from their correlations. {note}",
        Table(("value", "theory", "here", "apart"), table), found.values, theory, found.points, hints, note,
    )  # fmt: skip
