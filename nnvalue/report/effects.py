"""An evaluation's figures: how far each dose moves what was asked, what it costs, and what else moves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnvalue.evaluation import pareto_front
from nnvalue.report.figures import (
    HeatMap,
    Panel,
    Panels,
    Series,
    Table,
    counted,
    interval,
    listed,
    plain,
    rate,
    short,
    signed,
)
from nnvalue.values import SIGN, Framework

if TYPE_CHECKING:
    from nnvalue.evaluation import Tables

Row = Mapping[str, Any]
SIGNS = {"positive": "+", "negative": "−"}
HELD_OUT = "held-out loss, nats"
"""One name for what held-out sentences lose, everywhere."""
MOVEMENT = "movement (−2 to 2)"
NO_CONTROL = "No control was run for {}."
_COSTS = (
    ("failures", "failed answers, share", 0.2),
    ("log_perplexity_rise", "log-perplexity, rise", 0.5),
    ("nll_rise", HELD_OUT, 0.5),
)
"""(figure, title, what its axis shows at least, so that next to nothing looks like it)."""
_GAIN = -0.005
_TITLES = {name: title for name, title, _ in _COSTS}


def control_name(row: Row) -> str:
    """How a control is called beside its arm."""
    return row["arm"].removeprefix(f"{row['control_of']}, ")


def control_role(name: str) -> str:
    """Which mark a control gets."""
    return "busy" if "same firing rates" in name else "random" if name.startswith("random") else "effect"


def dose_response_figure(tables: Tables, arm: str, place: int) -> Panels:
    """An arm's movement of every value over doses, its controls in the same axes; the negative pole is below 0."""
    rows = [row for row in tables.effects if arm in (row["arm"], row["control_of"])]
    values = list(dict.fromkeys(row["value"] for row in rows))
    ends = [SIGN[row["pole"]] * row[end] for row in rows for end in ("low", "high") if math.isfinite(row[end])]
    ends += [SIGN[row["pole"]] * row["movement"] for row in rows] + [0.0]
    room = 0.06 * (max(ends) - min(ends) or 1.0)
    reach = (min(ends) - room, max(ends) + room)
    panels = []
    for value in values:
        mine = [row for row in rows if row["value"] == value]
        series = tuple(
            _dose_series(name, [row for row in mine if row["arm"] == name], place)
            for name in dict.fromkeys(row["arm"] for row in mine)
        )
        ticks = tuple(sorted({x for one in series for x in one.x if one.role == "effect"}))
        panels.append(Panel(short(value), series, "dose, towards − or +", MOVEMENT, reach, ticks))
    head = ("value", "pole", "dose", arm, "q", "random", "against random", "failed", "unsteered")
    note = "" if any(row["control_of"] for row in rows) else NO_CONTROL.format(arm)
    return Panels(
        f"Dose and response: {arm}",
        f"How far the stance of answers moves at every dose of {arm}, for {counted(len(values), 'value')}, beside "
        "its controls.",
        Table(head, tuple(_dose_row(row, rows) for row in rows if row["control_of"] is None), 2), tuple(panels), note,
    )  # fmt: skip


def _dose_series(name: str, rows: Sequence[Row], place: int) -> Series:
    """From the strongest dose of the negative pole over 0, where nothing is steered, to that of the positive one."""
    points: list[tuple[float, float, float, float, str]] = [(0.0, 0.0, 0.0, 0.0, "dose 0: the unsteered answers")]
    for row in rows:
        sign = SIGN[row["pole"]]
        low, high = sorted((sign * row["low"], sign * row["high"]))
        told = (
            f"{row['arm']}, {short(row['value'])} {SIGNS[row['pole']]}, dose {row['dose']:g}: movement towards "
            f"the {row['pole']} pole {interval(row['movement'], row['low'], row['high'])}"
            f"{' (drawn below 0)' if sign < 0 < row['movement'] else ''}, n = {row['n']}, failed {row['failures']:.2f}"
        )
        points.append((sign * row["dose"], sign * row["movement"], low, high, told))
    points.sort(key=lambda point: point[0])
    x, y, low, high, hints = zip(*points, strict=True)
    if rows[0]["control_of"] is None:
        return Series(name, "effect", x, y, low, high, hints, place)
    short_name = control_name(rows[0])
    role = control_role(short_name)
    return Series(short_name, role, x, y, low, high, hints, 5 if "addition" in short_name else 6)


def _dose_row(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    cell = ("value", "pole", "dose")
    random = next(
        (one for one in rows if one["control_of"] == row["arm"] and all(one[key] == row[key] for key in cell)
         and control_role(control_name(one)) == "random"), None,
    )  # fmt: skip
    return (
        short(row["value"]), row["pole"], f"{row['dose']:g}", interval(row["movement"], row["low"], row["high"]),
        rate(row["q"]), "no control" if random is None else interval(random["movement"], random["low"], random["high"]),
        against_random(row),
        f"{row['failures']:.2f}", f"{row['failures_unsteered']:.2f}",
    )  # fmt: skip


def against_random(row: Row) -> str:
    """An arm's movement less its random control's, or that there is none."""
    if not math.isfinite(row["against_random"]):
        return "no control"
    return interval(row["against_random"], row["against_random_low"], row["against_random_high"])


def cost_figure(tables: Tables, arm: str, place: int) -> Panels:
    """What every dose costs, mean over values and poles, beside controls and the unsteered model."""
    rows = [row for row in tables.effects if arm in (row["arm"], row["control_of"])]
    groups: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["arm"], row["dose"]].append(row)
    doses = sorted({dose for _, dose in groups})
    panels = []
    for name, title, least in _COSTS:
        series = []
        for one in dict.fromkeys(row["arm"] for row in rows):
            y = [mean(row[name] for row in groups[one, dose]) for dose in doses if (one, dose) in groups]
            if not any(map(math.isfinite, y)):
                continue
            start = mean(row["failures_unsteered"] for row in rows) if name == "failures" else 0.0
            label = one if one == arm else control_name(next(row for row in rows if row["arm"] == one))
            role = "effect" if one == arm else control_role(label)
            hints = tuple(f"{label}, dose {x:g}: {title} {plain(v, '.3f')}" for x, v in
                          zip([0.0, *doses], [start, *y], strict=True))  # fmt: skip
            series.append(Series(label, role, (0.0, *doses), (start, *y), hints=hints,
                                 place=place if one == arm else 5 if "addition" in label else 6))  # fmt: skip
        if series:
            ys = [y for one in series for y in one.y if math.isfinite(y)]
            reach = 1.05 * min(-0.1 * least, *ys), 1.05 * max(least, *ys)
            panels.append(Panel(title, tuple(series), "dose", title, reach, (0.0, *doses)))
    table = tuple(
        (one, f"{dose:g}", *(plain(mean(row[name] for row in members), ".3f") for name, *_ in _COSTS),
         plain(mean(row["distinct_2"] for row in members)), signed(mean(row["yes_saying"] for row in members)),
         signed(mean(row["statements"] for row in members)))
        for (one, dose), members in groups.items()
    )  # fmt: skip
    head = ("arm", "dose", "failed", "log-perplexity", HELD_OUT, "distinct pairs", "yes-saying", "statements")
    return Panels(
        f"What it costs: {arm}",
        f"Failed answers, and what answers and held-out sentences lose in likelihood, at every dose of {arm}; mean "
        "over values and poles.", Table(head, table), tuple(panels), _cost_note(panels, arm),
    )  # fmt: skip


def _cost_note(panels: Sequence[Panel], arm: str) -> str:
    """Which costs have no control, and what lines below 0 mean, where there are some."""
    said = _uncontrolled({one.title: one for one in panels}, arm)
    if any(y <= _GAIN for one in panels for series in one.series for y in series.y):
        said.append("A cost below 0 is a gain: the text is likelier than without steering.")
    return " ".join(said)


def _uncontrolled(panels: Mapping[str, Panel], whole: str) -> list[str]:
    """That some costs, or all of them, have no control; nothing where each has one."""
    bare = [name for name, one in panels.items() if all(series.role == "effect" for series in one.series)]
    told = whole if len(bare) == len(panels) else listed([name.split(",")[0] for name in bare])
    return [NO_CONTROL.format(told)] if bare else []


def pareto_figure(tables: Tables, arms: Sequence[str]) -> Panels:
    """Effect against damage: every arm and dose, mean over values and poles; what no other one beats is ringed."""
    groups: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in tables.effects:
        groups[row["arm"], row["dose"]].append(row)
    tested = [key for key, rows in groups.items() if rows[0]["control_of"] is None]
    complete = all(math.isfinite(row["nll_rise"]) for key in tested for row in groups[key])
    lost = "nll_rise" if complete else "log_perplexity_rise"
    means = {key: {name: mean(row[name] for row in rows) for name in ("movement", "failures", lost)}
             for key, rows in groups.items()}  # fmt: skip
    points = [(means[key]["movement"], -means[key]["failures"], -_or_worst(means[key][lost])) for key in tested]
    front = {tested[number] for number in pareto_front(points)}
    panels = []
    for name in ("failures", lost):
        title = _TITLES[name]
        series = [_cloud(arm, "effect", place, [key for key in tested if key[0] == arm], means, name, front)
                  for place, arm in enumerate(arms)]  # fmt: skip
        randoms = [key for key, rows in groups.items() if rows[0]["control_of"] is not None
                   and control_role(control_name(rows[0])) == "random" and math.isfinite(means[key][name])]  # fmt: skip
        if randoms:
            series.append(_cloud("random controls", "random", 0, randoms, means, name, front))
        if any(math.isfinite(one) for each in series for one in each.x):
            panels.append(Panel(f"movement against {title}", tuple(series), title, MOVEMENT))
    table = tuple(
        (arm, f"{dose:g}", signed(means[arm, dose]["movement"]), f"{means[arm, dose]['failures']:.3f}",
         plain(means[arm, dose][lost], ".3f"), "yes" if (arm, dose) in front else "no",
         f"{sum(bool(row['on_front']) for row in groups[arm, dose])} of {len(groups[arm, dose])}")
        for arm, dose in tested
    )  # fmt: skip
    head = ("arm", "dose", "movement", "failed", _TITLES[lost], "on the front", "cells on their own front")
    return Panels(
        "Effect against damage",
        f"Mean movement of every arm and dose against failed answers and {_TITLES[lost]}. On the front: no other arm "
        "and dose is at least as good in movement, failures and likelihood and better in one of them.",
        Table(head, table), tuple(panels), " ".join(_uncontrolled({one.x_name: one for one in panels}, "any arm")),
        wide=True,
    )  # fmt: skip


def _cloud(name: str, role: str, place: int, keys: Sequence[tuple[str, float]], means: Mapping[Any, Row], cost: str,
           front: set[tuple[str, float]]) -> Series:  # fmt: skip
    known = [key for key in keys if math.isfinite(means[key][cost])]
    hints = tuple(
        f"{arm}, dose {dose:g}: movement {signed(means[arm, dose]['movement'])}, "
        f"{_TITLES[cost]} {plain(means[arm, dose][cost], '.3f')}{', on the front' if (arm, dose) in front else ''}"
        for arm, dose in known
    )
    return Series(
        name, role, tuple(means[key][cost] for key in known), tuple(means[key]["movement"] for key in known),
        hints=hints, place=place, joined=False, rings=tuple(key in front for key in known),
        labels=tuple(f"{dose:g}" if role == "effect" else "" for _, dose in known),
    )  # fmt: skip


def leakage_figure(
    found: Mapping[str, Any], arm: str, readout: str, framework: Framework, top: float = 0.0,
    answers: Mapping[tuple[str, str], int] | None = None,
) -> HeatMap:  # fmt: skip
    """What steering a value (row) did to every measured one (column); the target's own cells are framed.

    answers: (steered, measured) -> how many answers a cell is the mean of, where that is known.
    top: what has the deepest colour, so that arms can be compared; never less than a tenth of a point.
    """
    steered, measured, matrix = found["steered"], found["measured"], np.array(found["matrix"], dtype=np.float64)
    rows, columns = (_around(names, framework) for names in (steered, measured))
    cells = matrix[np.ix_([steered.index(one) for one in rows], [measured.index(one) for one in columns])]
    own = frozenset(
        (row, column) for row, one in enumerate(rows) for column, other in enumerate(columns)
        if set(framework.members(one)) & set(framework.members(other))
    )  # fmt: skip
    texts = tuple(tuple(signed(one) for one in row) for row in cells)
    hints = tuple(
        tuple(f"steering {short(one)} moves {short(other)} by {signed(cells[row, column], 3)}"
              f"{' (its own)' if (row, column) in own else ''}{_n(answers, one, other)}"
              for column, other in enumerate(columns))
        for row, one in enumerate(rows)
    )  # fmt: skip
    by_value = {one["value"]: one for one in found["by_value"]}
    table = tuple(
        (short(one), *texts[row], plain(by_value[one]["per_unit"]), plain(by_value[one]["nlr"]),
         plain(by_value[one]["nglr"]))
        for row, one in enumerate(rows)
    )  # fmt: skip
    return HeatMap(
        f"What else moves, in {readout}: {arm}",
        f"Mean movement of every measured value (columns) when one is steered (rows) by {arm} at its headline dose, "
        f"read from {readout}.",
        Table(("steered", *map(short, columns), "others per unit", "NLR", "NGLR"), table), tuple(map(short, rows)),
        tuple(map(short, columns)), cells, texts, hints, max(0.1, top, float(np.abs(cells).max())),
        "movement; framed: the target's own", "steered", "measured", own,
        note=_answers_a_cell(answers, found, framework),
    )  # fmt: skip


def _n(answers: Mapping[tuple[str, str], int] | None, steered: str, measured: str) -> str:
    return "" if answers is None else f", n = {answers[steered, measured]} answers"


def _answers_a_cell(
    answers: Mapping[tuple[str, str], int] | None, found: Mapping[str, Any], framework: Framework
) -> str:
    """How many answers stand behind cells on and off the target."""
    if answers is None:
        return ""
    told = []
    for own in (True, False):
        counts = [
            answers[one, other] for one in found["steered"] for other in found["measured"]
            if bool(set(framework.members(one)) & set(framework.members(other))) == own
        ]  # fmt: skip
        low, high = min(counts), max(counts)
        told.append(f"{low}" if low == high else f"{low} to {high}")
    return f"A framed cell is the mean of {told[0]} answers, any other one of {told[1]}: read single ones with care."


def distance_figure(found: Mapping[str, Any], arm: str, readout: str, framework: Framework) -> Panels | None:
    """Off-target movement for a unit of the target's own against distance on the circle; None where it is not told."""
    circle = found["circle"]
    if circle is None:
        return None
    points = _apart(found, framework)
    _, x, y = zip(*points, strict=True)
    hints = tuple(f"{name}: {signed(moved)} per unit, {angle:.0f}° apart" for name, angle, moved in points)
    told = (
        f"slope {signed(circle['slope'])} on cos(distance), r = {signed(circle['r'])}, p = {rate(circle['p'])}; 95 % "
        f"of {circle['permutations']:,} random circles: {signed(circle['low'])} to {signed(circle['high'])}"
    )
    angles = tuple(range(0, 181, 5))
    # Every such line goes through the means.
    beyond = np.cos(np.radians(angles)) - np.cos(np.radians(x)).mean()
    level = float(np.mean(y))
    ends = np.sort(level + np.array([circle["low"], circle["high"]])[:, None] * beyond, axis=0)
    series = (
        Series("95 % of random circles", "chance", angles, (level,) * len(angles), tuple(ends[0]), tuple(ends[1]),
               marks=False),
        Series("fitted on cos(distance)", "effect", angles, tuple(level + circle["slope"] * beyond), place=1,
               marks=False),
        Series("a pair of values", "effect", x, y, hints=hints, joined=False),
    )  # fmt: skip
    table = tuple((name, f"{angle:.0f}°", signed(moved, 3)) for name, angle, moved in points)
    return Panels(
        f"Along the circle, in {readout}: {arm}", f"Off-target movement for a unit of the target's own; {told}.",
        Table(("steered → measured", "distance", "movement per unit"), table),
        (Panel("others, for a unit of the target", series, "distance on the circle, degrees", "movement per unit",
               x_ticks=(0, 45, 90, 135, 180)),),
        told, wide=True,
    )  # fmt: skip


def _apart(found: Mapping[str, Any], framework: Framework) -> list[tuple[str, float, float]]:
    """(pair, degrees apart, movement for a unit of the target's own) of what is not the target, near ones first."""
    on = {one["value"]: one["on_target"] for one in found["by_value"] if math.isfinite(one["per_unit"])}
    pairs = [
        (f"{short(one)} → {short(other)}", framework.distance(one, other), moved / on[one])
        for one, row in zip(found["steered"], found["matrix"], strict=True)
        for other, moved in zip(found["measured"], row, strict=True)
        if one in on and set(framework.members(one)).isdisjoint(framework.members(other))
        and {*framework.members(one), *framework.members(other)} <= set(framework.circle)
    ]  # fmt: skip
    return sorted(pairs, key=lambda pair: pair[1:])


def _around(names: Iterable[str], framework: Framework) -> list[str]:
    names = list(names)
    if framework.has_circle and all(set(framework.members(name)) <= set(framework.circle) for name in names):
        return sorted(names, key=framework.angle)
    return names


def mean(figures: Iterable[float]) -> float:
    """The mean of what is known; NaN of nothing."""
    known = [one for one in figures if one is not None and math.isfinite(one)]
    return float(np.mean(known)) if known else math.nan


def _or_worst(cost: float) -> float:
    return cost if math.isfinite(cost) else math.inf
