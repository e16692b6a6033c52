"""Value neurons on the page: where they lie, how far they differ beyond wording, and what values share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnvalue.findings_card import between_values_in_words, crossed_in_words, describe_selection, significance_in_words
from nnvalue.report.blocks import Block, Notice, Picture, Sheet, Words
from nnvalue.report.figures import Figure, HeatMap, Table, counted, plain, rate, short, signed
from nnvalue.values import POLES, SIGN, Framework

if TYPE_CHECKING:
    from nnvalue.findings import ValueNeuron, ValueNeurons

_SIGNS = {"positive": "+", "negative": "−"}
_MOST_COLUMNS = 40
_HINTED, _LISTED = 3, 5
HOW_TO_READ = (
    "Every row is one pole of a value, every column a layer of the model, first to last; the number is how many of the "
    "value's neurons lie there. Blue rows rise when the model speaks as somebody who holds the value, orange ones when "
    "it speaks as its opposite."
)


def places(found: ValueNeurons) -> str:
    """How many places there are in the lists, how many neurons hold them, and in which layer most lie."""
    layers = np.bincount(found.columns["layer"], minlength=found.layers)
    distinct = len(set(zip(found.columns["layer"].tolist(), found.columns["neuron"].tolist(), strict=True)))
    most = int(layers.argmax())
    return (
        f"{counted(len(found), 'place')}, held by {distinct:,} distinct neurons of "
        f"{found.layers * found.width:,}; most, {layers[most]:,}, lie in layer {most} (of 0 to {found.layers - 1})"
    )


def neuron_figures(found: ValueNeurons, framework: Framework | None) -> dict[str, Figure]:
    """Figures of a result of locating, by name."""
    made: dict[str, Figure] = {"neurons": layers_figure(found, framework)}
    if len(found.values) > 1:
        made["overlap"] = overlap_figure(found, framework)
    return made


def neuron_blocks(found: ValueNeurons, framework: Framework | None) -> list[Block]:
    """What a part of the page on such a result shows."""
    figures = neuron_figures(found, framework)
    settings = found.config["settings"]
    words = [
        f"{describe_selection(settings['selection']).capitalize()}, for {counted(len(found.values), 'value')}, out of "
        f"{found.layers} layers × {found.width:,}, ranked by {settings['method']}: {places(found)}.",
        *significance_in_words(found), *crossed_in_words(found),
    ]  # fmt: skip
    blocks: list[Block] = [Words(tuple(words)), Picture(figures["neurons"], HOW_TO_READ)]
    if any(found.config["counts"][value]["significance"] is None for value in found.values):
        blocks.append(
            Notice(
                ("The A/A control was not run here, so nothing tells value neurons from neurons that answer to "
                 "wording. Run nnvalue locate without --no-null.",)
            )
        )  # fmt: skip
    blocks.append(_strongest(found, framework))
    if "overlap" in figures:
        blocks += [Picture(figures["overlap"], _how_shared(figures["overlap"], found, framework)),
                   Words(tuple(_in_common(found)))]  # fmt: skip
    return blocks


def _how_shared(figure: Figure, found: ValueNeurons, framework: Framework | None) -> str:
    """How to read the overlap; orange only where there is some."""
    said = "Blue: two values share neurons of the same pole"
    if isinstance(figure, HeatMap) and (figure.cells < 0).any():
        said += "; orange: what lifts one lowers the other"
    said += ". A value with itself is left out. "
    return said + (
        "Neighbours on the circle should share, opposites should exchange poles."
        if _on_circle(found.values, framework) else f"Order and distance on a circle are {_no_circle(framework)}."
    )  # fmt: skip


def _in_common(found: ValueNeurons) -> list[str]:
    """What all values have in common, and whether near ones on the circle are alike; nothing for a single value."""
    said = between_values_in_words(found)[:1]  # what it says of the circle is said in plainer words here
    if said and (circle := found.config["between_values"]["circle"]):
        beyond = circle["r"] < circle["low"]
        said.append(
            f"Neighbours on the circle have {'more' if circle['r'] < 0 else 'less'} alike scores than distant values"
            f"{'' if beyond else ', but no more than chance allows'}: likeness against distance has r = "
            f"{plain(circle['r'])}, p = {rate(circle['p'])} (95 % of {circle['permutations']:,} random circles: "
            f"{plain(circle['low'])} to {plain(circle['high'])})."
        )
    return said


def ordered(values: Sequence[str], framework: Framework | None) -> list[str]:
    """Values in circular order where they have places on a circle, else as they are."""
    if framework is None or not _on_circle(values, framework):
        return list(values)
    return sorted(values, key=lambda value: framework.angle(value))


def _on_circle(values: Sequence[str], framework: Framework | None) -> bool:
    if framework is None or not framework.has_circle:
        return False
    known = {*framework.values, *framework.groups}
    return set(values) <= known and all(set(framework.members(value)) <= set(framework.circle) for value in values)


def _no_circle(framework: Framework | None) -> str:
    return (
        "not defined for this framework" if framework is not None else "not known here: the framework is a user's own"
    )


def layers_figure(found: ValueNeurons, framework: Framework | None) -> HeatMap:
    """Selected neurons by value, pole and layer, with the strongest of them and the A/A control."""
    values = ordered(found.values, framework)
    share = -(-found.layers // _MOST_COLUMNS)
    starts = range(0, found.layers, share)
    columns = tuple(
        f"{start}" if share == 1 else f"{start}–{min(start + share, found.layers) - 1}" for start in starts
    )  # fmt: skip
    rows, cells, hints, table = [], [], [], []
    beside: dict[str, list[str]] = {"r": [], "A/A bar": [], "called": []}
    for value in values:
        for pole in POLES:
            counts = found.by_layer(value, pole)
            grouped = [int(counts[start : start + share].sum()) for start in starts]
            rows.append(f"{short(value)} {_SIGNS[pole]}")
            cells.append([SIGN[pole] * count for count in grouped])
            hints.append(tuple(
                _layer_hint(found, value, pole, start, min(start + share, found.layers)) for start in starts
            ))  # fmt: skip
            told = _control(found, value, pole)
            for name, one in zip(beside, told, strict=True):
                beside[name].append(one)
            table.append((short(value), pole, *map(str, grouped), str(int(counts.sum())), *told))
    sizes = np.array(cells, dtype=np.float64)
    texts = tuple(tuple(str(int(abs(one))) if one else "" for one in row) for row in sizes)
    head = ("value", "pole", *(f"layer {name}" for name in columns), "all", "split-half r", "A/A bar", "called")
    return HeatMap(
        "Where value neurons lie",
        f"Selected neurons of {counted(len(values), 'value')} and both poles in {found.layers} layers; "
        f"{len(found):,} in all.",
        Table(head, tuple(table), 2), tuple(rows), columns, sizes, texts, tuple(hints),
        float(np.abs(sizes).max(initial=1)), "selected neurons; orange: negative pole", "value and pole", "layer",
        beside=tuple((name, tuple(column)) for name, column in beside.items()), pairs=True,
    )  # fmt: skip


def _control(found: ValueNeurons, value: str, pole: str) -> tuple[str, str, str]:
    """Split-half reliability, the A/A bar, and the share of all neurons that are called at this pole."""
    facts = found.config["counts"][value]
    null, r = facts["significance"], facts["split_half_r"]
    if null is None:
        return plain(r), "—", "—"
    return plain(r), f"{null['bar']:.3g}", f"{null['called'][pole] / (found.layers * found.width):.1%}"


def _layer_hint(found: ValueNeurons, value: str, pole: str, start: int, end: int) -> str:
    place = found.values.index(value)
    here = [one for one in found.top(value, pole, len(found)) if start <= one.layer < end]
    signs = np.sign(found.maps["score"][place, start:end]) == SIGN[pole]
    called = int((found.maps["called"][place, start:end].astype(bool) & signs).sum())
    where = f"layer {start}" if end - start == 1 else f"layers {start}–{end - 1}"
    told = [
        f"{short(value)} {_SIGNS[pole]}, {where}: {len(here)} selected, {sum(one.called for one in here)} of them "
        f"called; {called} of {(end - start) * found.width:,} called here"
        f"{'; scores below 0 are for this pole' if here and pole == 'negative' else ''}"
    ]
    told += [
        f"neuron {one.layer}/{one.neuron}: δ {signed(one.delta, 3)} (p+ {one.firing_positive:.3f}, p− "
        f"{one.firing_negative:.3f}), score {signed(one.score, 3)}, q {rate(one.q)}"
        for one in here[:_HINTED]
    ]
    return "\n".join(told)


def _strongest(found: ValueNeurons, framework: Framework | None) -> Sheet:
    head = ("value", "pole", "layer", "neuron", "score", "δ", "p(+)", "p(−)", "d", "q95", "q", "called")
    rows = tuple(
        _row(one)
        for value in ordered(found.values, framework)
        for pole in POLES
        for one in found.top(value, pole, _LISTED)
    )
    lead = (
        "score: what neurons are ranked by; δ = p(+) − p(−), shares of tokens on which it fires under either pole; d: "
        "effect size; q95: 95th percentile of its activation; q: false discovery rate; called: beyond the A/A bar too."
    )
    title = f"The strongest neurons, {_LISTED} a pole ({len(rows)} of {len(found):,})"
    return Sheet(title, Table(head, rows, 2), lead, filtered=True, closed=True)


def _row(one: ValueNeuron) -> tuple[str, ...]:
    return (
        short(one.value), one.pole, str(one.layer), str(one.neuron), signed(one.score, 3), signed(one.delta, 3),
        f"{one.firing_positive:.3f}", f"{one.firing_negative:.3f}", signed(one.effect_size), f"{one.q95:.3f}",
        rate(one.q), "yes" if one.called else "no",
    )  # fmt: skip


def overlap_figure(found: ValueNeurons, framework: Framework | None) -> HeatMap:
    """Jaccard overlap of values' neurons: of the same pole less that with poles exchanged, beside chance."""
    values = ordered(found.values, framework)
    sets = {(value, pole): {tuple(map(int, pair)) for pair in found.indices(value, pole)}
            for value in values for pole in POLES}  # fmt: skip
    counts = {key: found.by_layer(*key) for key in sets}
    size = len(values)
    cells, texts, hints, table, chances = np.full((size, size), np.nan), [], [], [], []
    for row, one in enumerate(values):
        told, said = [], []
        for column, other in enumerate(values):
            if row == column:
                told.append("")
                said.append("")
                continue
            same, crossed = (_jaccard(sets, one, other, swap) for swap in (False, True))
            chance, crossed_chance = (_chance(counts, one, other, found.width, swap) for swap in (False, True))
            cells[row, column] = same - crossed
            told.append(signed(same - crossed))
            said.append(f"{short(one)} and {short(other)}: same poles {same:.3f} (chance {chance:.3f}), poles "
                        f"exchanged {crossed:.3f} (chance {crossed_chance:.3f})")  # fmt: skip
            if row < column:
                chances += [chance, crossed_chance]
                figures = (same, chance, crossed, crossed_chance)
                table.append((short(one), short(other), *(f"{figure:.3f}" for figure in figures)))
        texts.append(tuple(told))
        hints.append(tuple(said))
    top = float(np.nanmax(np.abs(cells))) or 1.0
    return HeatMap(
        "What values share",
        f"Jaccard overlap of the neuron sets of {size} values: same poles less exchanged poles. Sets of as many "
        f"neurons of each layer drawn at random overlap by {np.mean(chances):.3f} either way, which leaves about 0.",
        Table(("value", "other", "same poles", "chance", "poles exchanged", "chance"), tuple(table), 2),
        tuple(map(short, values)), tuple(map(short, values)), cells, tuple(texts), tuple(hints), top,
        f"overlap, same poles − poles exchanged; chance {np.mean(chances):.3f} each way",
    )  # fmt: skip


def _jaccard(sets: dict[tuple[str, str], set[tuple[int, ...]]], one: str, other: str, swap: bool) -> float:
    """Overlap of two values' (neuron, pole) sets; swap: the other's poles exchanged."""
    away = dict(zip(POLES, reversed(POLES), strict=True))
    pairs = [(sets[one, pole], sets[other, away[pole] if swap else pole]) for pole in POLES]
    union = sum(len(a | b) for a, b in pairs)
    return sum(len(a & b) for a, b in pairs) / union if union else 0.0


def _chance(counts: dict[tuple[str, str], np.ndarray], one: str, other: str, width: int, swap: bool) -> float:
    """The overlap of sets of the same sizes in every layer, drawn at random: expected shared over expected all."""
    away = dict(zip(POLES, reversed(POLES) if swap else POLES, strict=True))
    shared = sum(float((counts[one, pole] * counts[other, away[pole]]).sum()) / width for pole in POLES)
    both = sum(int(counts[name, pole].sum()) for name in (one, other) for pole in POLES)
    return shared / (both - shared) if both > shared else 0.0
