"""Figures drawn for the page: from the data of `figures` to SVG."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from nnvalue.report import svg
from nnvalue.report.figures import Arrow, Arrows, Circle, Dots, DotSeries, Figure, HeatMap, Panel, Panels, Series, short
from nnvalue.report.svg import (
    LETTER,
    hinted,
    kind_of_series,
    line,
    linear,
    mark,
    number,
    step_of,
    text,
    ticks,
    whole,
)

SEEN = 0.5
"""The share of resamples below which an arrow is dashed."""
_LONG = 24
_Map = Callable[[float], float]


def draw(figure: Figure, name: str) -> Markup:
    """Any figure; name: an id that no other one has on its page."""
    if isinstance(figure, HeatMap):
        return heat_map(figure, name)
    if isinstance(figure, Panels):
        return panels(figure, name)
    if isinstance(figure, Dots):
        return dots(figure, name)
    return arrows(figure, name) if isinstance(figure, Arrows) else circle(figure, name)


def heat_map(figure: HeatMap, name: str) -> Markup:
    """Cells in rows and columns; wide ones are scrolled, never shrunk."""
    columns = figure.cells.shape[1]
    wide = max((len(one) for row in figure.texts for one in row), default=0) * LETTER + 10
    cell = max(15.0, min(44.0, 760 / max(1, columns)), wide if wide > 10 else 0)
    tall = 22.0 if figure.pairs else 27.0
    labels = [short(one) for one in figure.rows]
    left = max(map(len, labels), default=0) * LETTER + (22 if figure.pairs else 14)
    columns_are_long = max(map(len, figure.columns), default=0) * LETTER > cell
    head = 16.0 + (max(map(len, figure.columns), default=0) * 4.2 + 8 if columns_are_long else 18)
    body = []
    if figure.column_name:
        body.append(text(left - 9, head - 7, f"{figure.column_name} →", "axis", "end"))
    every = max(1, math.ceil(24 / cell)) if not columns_are_long else 1
    for column, title in enumerate(figure.columns):
        x = left + (column + 0.5) * cell
        if columns_are_long:
            body.append(
                Markup('<text transform="translate({} {}) rotate(-38)" class="axis">{}</text>').format(
                    number(x - 3), number(head - 7), short(title)
                )
            )
        elif column % every == 0:
            body.append(text(x, head - 7, short(title), "axis", "middle"))
    y, before = head, None
    for row, title in enumerate(labels):
        if figure.pairs:
            stem, sign = title.rsplit(" ", 1)
            y += 6 if stem != before and row else 0
            if stem != before:
                body.append(text(left - 26, y + tall * 0.68, stem, "label", "end"))
            body.append(text(left - 10, y + tall * 0.68, sign, "label", "end"))
            before = stem
        else:
            body.append(text(left - 9, y + tall * 0.65, title, "label", "end"))
        body += [_cell(figure, row, column, left + column * cell, y, cell, tall) for column in range(columns)]
        x = left + columns * cell + 14
        for place, (top, cells) in enumerate(figure.beside):
            at = x + (place + 1) * 62
            if row == 0:
                body.append(text(at, head - 7, top, "axis", "end"))
            body.append(text(at, y + tall * 0.68, cells[row], "figure", "end"))
        y += tall
    width = left + columns * cell + (24 + 62 * len(figure.beside) if figure.beside else 8)
    width = max(
        width, left + (columns * cell + max(map(len, figure.columns), default=0) * 5.6 if columns_are_long else 0)
    )
    return whole(name, figure.title, figure.told, width, y + 6, body)


def _cell(figure: HeatMap, row: int, column: int, x: float, y: float, wide: float, tall: float) -> Markup:
    kind = step_of(float(figure.cells[row, column]), figure.top)
    framed = " own" if (row, column) in figure.own else ""
    box = Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        number(x + 1), number(y + 1), number(wide - 2), number(tall - 2), f"{kind}{framed}"
    )
    told = figure.texts[row][column]
    if told:
        box += text(x + wide / 2, y + tall * 0.68, told, f"t{kind}", "middle")
    return hinted(box, figure.hints[row][column])


_RIGHT, _TOP, _BOTTOM = 10.0, 8.0, 38.0


def panels(figure: Panels, name: str) -> Markup:
    """Small pairs of axes, each a picture of its own, that flow into as many columns as there is room for."""
    made = [panel(one, figure, f"{name}-{number_}") for number_, one in enumerate(figure.panels)]
    cells = Markup("").join(
        Markup('<div class="panel"><p class="panel-title">{}</p>{}</div>').format(one.title, picture)
        for one, picture in zip(figure.panels, made, strict=True)
    )
    return Markup('<div class="panels{}">{}</div>').format(" wide" if figure.wide else "", cells)


def panel(one: Panel, figure: Panels, name: str) -> Markup:
    """One pair of axes."""
    width, height, left = (420.0, 290.0, 66.0) if figure.wide else (300.0, 220.0, 48.0)
    xs = [x for series in one.series for x in series.x]
    ys = [y for series in one.series for y in (*series.y, *series.low, *series.high) if np.isfinite(y)]
    x_low, x_high = svg.ends(xs, 0.06)
    y_low, y_high = one.y_range or svg.ends([*ys, 0.0], 0.08)
    ax, bx = linear(x_low, x_high, left, width - _RIGHT)
    ay, by = linear(y_low, y_high, height - _BOTTOM, _TOP)
    body = []
    for tick in ticks(y_low, y_high, 8):
        y = ay + by * tick
        body += [line(left, y, width - _RIGHT, y, "zero" if tick == 0 else "grid"),
                 text(left - 5, y + 3.5, svg.told(tick), "tick", "end")]  # fmt: skip
    letter = 7.8 if figure.wide else 7.0  # as the style sheet has them
    shown = _roomy(one.x_ticks, bx, letter) if one.x_ticks else ticks(x_low, x_high, 6 if figure.wide else 4)
    for tick in shown:
        x = ax + bx * tick
        body += [line(x, height - _BOTTOM, x, height - _BOTTOM + 4, "axis-line"),
                 text(x, height - _BOTTOM + 15, svg.told(tick), "tick", "middle")]  # fmt: skip
    body.append(line(left, height - _BOTTOM, width - _RIGHT, height - _BOTTOM, "axis-line"))
    body.append(text((left + width - _RIGHT) / 2, height - 4, one.x_name, "axis", "middle"))
    if figure.wide:
        body.append(
            Markup('<text transform="translate(14 {}) rotate(-90)" class="axis" text-anchor="middle">{}</text>').format(
                number((_TOP + height - _BOTTOM) / 2), one.y_name
            )
        )
    ordered = sorted(one.series, key=lambda series: series.role == "effect")
    for series in ordered:  # controls first, so that no effect hides behind one
        body += _series(series, lambda x: ax + bx * x, lambda y: ay + by * y)
    body += _labels(one, width, lambda x: ax + bx * x, lambda y: ay + by * y)
    told = f"{one.y_name} against {one.x_name}. {_told(one)}"
    return whole(name, f"{figure.title}: {one.title}", told, width, height, body)


def _series(series: Series, at_x: _Map, at_y: _Map) -> list[Markup]:
    kind = kind_of_series(series.role, series.place)
    body = []
    known = [place for place, y in enumerate(series.y) if np.isfinite(y)]
    if series.low and series.joined and len(known) > 1:
        whole_ = [place for place in known if np.isfinite(series.low[place]) and np.isfinite(series.high[place])]
        if len(whole_) > 1:
            up = [f"{number(at_x(series.x[p]))},{number(at_y(series.high[p]))}" for p in whole_]
            down = [f"{number(at_x(series.x[p]))},{number(at_y(series.low[p]))}" for p in reversed(whole_)]
            body.append(Markup('<polygon points="{}" class="band {}"/>').format(" ".join(up + down), kind))
    if series.joined and len(known) > 1:
        points = " ".join(f"{number(at_x(series.x[p]))},{number(at_y(series.y[p]))}" for p in known)
        body.append(Markup('<polyline points="{}" class="curve {}"/>').format(points, kind))
    for place in known if series.marks else ():
        x, y = at_x(series.x[place]), at_y(series.y[place])
        drawn = Markup("")
        if series.low and series.high[place] > series.low[place]:
            drawn += line(x, at_y(series.low[place]), x, at_y(series.high[place]), f"whisker {kind}")
        if series.rings and series.rings[place]:
            drawn += Markup('<circle cx="{}" cy="{}" r="9" class="ring"/>').format(number(x), number(y))
        drawn += mark(x, y, series.role, series.place)
        body.append(hinted(drawn, series.hints[place] if series.hints else ""))
    return body


def _roomy(marks: tuple[float, ...], scale: float, letter: float) -> list[float]:
    """Those of some ticks whose labels do not lie on each other; 0 and the ends come first."""
    kept: list[float] = []
    for tick in sorted(marks, key=lambda one: (one != 0, one not in (min(marks), max(marks)), -abs(one))):
        long = len(svg.told(tick)) * letter
        if all(abs(tick - other) * scale > (long + len(svg.told(other)) * letter) / 2 + 3 for other in kept):
            kept.append(tick)
    return sorted(kept)


def _labels(one: Panel, width: float, at_x: _Map, at_y: _Map) -> list[Markup]:
    """Names beside marks, on the side where there is room; one that would lie on another is left to the hint."""
    taken: list[tuple[float, float, float]] = []
    body = []
    for series in one.series:
        for x_, y_, name in zip(series.x, series.y, series.labels, strict=False):
            if not name:
                continue
            x, y, long = at_x(x_), at_y(y_), len(name) * 7.8
            right = x + 12 + long < width
            start = x + 11 if right else x - 11 - long
            if all(abs(y - other) > 14 or start > end or start + long < begin for begin, end, other in taken):
                taken.append((start, start + long, y))
                body.append(text(x + 11 if right else x - 11, y + 4, name, "tick", "" if right else "end"))
    return body


def _told(one: Panel) -> str:
    parts = []
    for series in one.series:
        known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if np.isfinite(y)]
        if known:
            parts.append(f"{series.name}: " + ", ".join(f"{y:.2f} at {x:g}" for x, y in known[:8]))
    return "; ".join(parts) + "."


def dots(figure: Dots, name: str) -> Markup:
    """Rows of marks with intervals on one axis."""
    labels = [short(one) for one in figure.rows]
    effects = sum(series.role == "effect" for series in figure.series)
    longest = max(map(len, labels), default=0)
    above = longest > _LONG  # such labels stand over their rows, so that they leave room for the figures beside them
    left, plot, tall, head = (14.0, 320.0, 38.0, 8.0) if above else (longest * LETTER + 16, 320.0, 27.0, 8.0)
    tall = max(tall, 11.0 * effects + (18 if above else 7))
    ends = [one for series in figure.series for one in (*series.values, *series.low, *series.high)]
    low, high = figure.x_range or svg.ends([*ends, 0.0], 0.05)
    a, b = linear(low, high, left, left + plot)
    bottom = head + tall * len(labels)
    body = []
    for tick in ticks(low, high, 6):
        x = a + b * tick
        body += [line(x, head, x, bottom, "zero" if tick == 0 else "grid"),
                 text(x, bottom + 15, svg.told(tick), "tick", "middle")]  # fmt: skip
    body.append(text(left + plot / 2, bottom + 32, figure.x_name, "axis", "middle"))
    for row, label in enumerate(labels):
        top = head + row * tall
        middle = top + tall / 2 + (7 if above else 0)
        body.append(
            text(left, top + 12, label, "label over") if above else text(left - 10, middle + 4, label, "label", "end")
        )
        if row:
            body.append(line(left, top, left + plot, top, "grid"))
        for series in sorted(figure.series, key=lambda one: one.role == "effect"):
            lower = 11.0 * (series.place - (effects - 1) / 2) if series.role == "effect" else 0.0
            body.append(_dot(series, row, label, middle + lower, lambda x: a + b * x))
    return whole(name, figure.title, figure.told, max(left + plot, longest * 6.1 * above) + 16, bottom + 40, body)


def _dot(series: DotSeries, row: int, label: str, y: float, at: _Map) -> Markup:
    value = series.values[row]
    low, high = (series.low[row], series.high[row]) if series.low else (math.nan, math.nan)
    kind, drawn, told = kind_of_series(series.role, series.place), Markup(""), f"{label}, {series.name}"
    if np.isfinite(low) and np.isfinite(high):
        if series.role == "people":
            wide = max(2.0, at(high) - at(low))
            drawn += Markup('<rect x="{}" y="{}" width="{}" height="10" class="range"/>').format(
                number(at(low)), number(y - 5), number(wide)
            )
        else:
            drawn += line(at(low), y, at(high), y, f"whisker {kind}")
    if np.isfinite(value):
        drawn += mark(at(value), y, series.role, series.place, 4.8)
        told += f": {value:.2f}"
    if np.isfinite(low) and np.isfinite(high):
        told += f" [{low:.2f}, {high:.2f}]"
    return hinted(drawn, told.replace("-", "−")) if drawn else drawn


def arrows(figure: Arrows, name: str) -> Markup:
    """A graph: width by size, dashed below half of the resamples, a hollow head for what lowers."""
    width, height, reach = 620.0, 480.0, 200.0
    at = {node: (width / 2 + reach * x, height / 2 - reach * y) for node, (x, y) in figure.places.items()}
    body = []
    if figure.on_circle:
        body.append(
            Markup('<circle cx="{}" cy="{}" r="{}" class="orbit"/>').format(
                *map(number, (width / 2, height / 2, reach))
            )
        )
    largest = max((abs(edge.weight) for edge in figure.edges), default=1.0) or 1.0
    for edge in sorted(figure.edges, key=lambda one: abs(one.weight)):
        body.append(arrow(edge, at, largest))
    for node, (x, y) in at.items():
        body.append(Markup('<circle cx="{}" cy="{}" r="6" class="node"/>').format(number(x), number(y)))
        dx, dy = x - width / 2, y - height / 2
        away = math.hypot(dx, dy) or 1.0
        side = "start" if dx > 20 else "end" if dx < -20 else "middle"
        drop = 4 if abs(dx) > 20 else (10 if dy > 0 else -4)
        body.append(text(x + 19 * dx / away, y + 17 * dy / away + drop, short(node), "node-name", side))
    return whole(name, figure.title, figure.told, width, height, body)


def arrow(edge: Arrow, at: dict[str, tuple[float, float]], largest: float) -> Markup:
    """An arrow between two places."""
    (x1, y1), (x2, y2) = at[edge.cause], at[edge.effect]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    heavy = 1.2 + 4.0 * abs(edge.weight) / largest
    kind = f"edge {'up' if edge.weight >= 0 else 'down'}{'' if edge.frequency >= SEEN else ' rare'}"
    to_head = edge.kind in ("→", "↔", "o→")
    head = 7 + 1.6 * heavy
    start, end = 9.0 + (head if edge.kind == "↔" else 0), 9.0 + (head if to_head else 0)
    bend = 0.09 * length  # so that arrows of both ways do not lie on each other
    mx, my = (x1 + x2) / 2 - uy * bend, (y1 + y2) / 2 + ux * bend
    tx, ty = _unit(x2 - mx, y2 - my)
    fx, fy = _unit(x1 - mx, y1 - my)
    body = Markup('<path d="M{} {}Q{} {} {} {}" class="{}" stroke-width="{}"/>').format(
        *map(number, (x1 - fx * start, y1 - fy * start, mx, my, x2 - tx * end, y2 - ty * end)), kind, number(heavy)
    )
    if to_head:
        body += _head(x2 - tx * 9, y2 - ty * 9, tx, ty, head, kind)
    if edge.kind == "↔":
        body += _head(x1 - fx * 9, y1 - fy * 9, fx, fy, head, kind)
    return hinted(body, edge.hint)


def _head(x: float, y: float, ux: float, uy: float, size: float, kind: str) -> Markup:
    back, half = (x - ux * size, y - uy * size), size * 0.45
    points = ((x, y), (back[0] - uy * half, back[1] + ux * half), (back[0] + uy * half, back[1] - ux * half))
    told = " ".join(f"{number(a)},{number(b)}" for a, b in points)
    return Markup('<polygon points="{}" class="{}"/>').format(told, kind.replace("edge", "head"))


def _unit(x: float, y: float) -> tuple[float, float]:
    length = math.hypot(x, y) or 1.0
    return x / length, y / length


def circle(figure: Circle, name: str) -> Markup:
    """Values where they lie, each joined to where the theory has it."""
    width, height, reach = 560.0, 410.0, 165.0
    largest = max(1.0, float(np.abs(figure.found).max()))
    scale = reach / largest

    def place(point: np.ndarray) -> tuple[float, float]:
        return width / 2 + scale * float(point[0]), height / 2 - scale * float(point[1])

    body = [
        Markup('<circle cx="{}" cy="{}" r="{}" class="orbit"/>').format(*map(number, (width / 2, height / 2, scale)))
    ]
    for value, theory, found, hint in zip(figure.names, figure.theory, figure.found, figure.hints, strict=True):
        (x, y), (tx, ty) = place(found), place(theory)
        dx, dy = x - width / 2, y - height / 2
        away = math.hypot(dx, dy) or 1.0
        drawn = line(tx, ty, x, y, "tie") + mark(tx, ty, "chance", 0, 4.0) + mark(x, y, "effect", 0, 5.4)
        body.append(hinted(drawn, hint))
        side = "start" if dx > 24 else "end" if dx < -24 else "middle"
        body.append(text(x + 12 * dx / away, y + 12 * dy / away + (14 if dy > 0 else -2) * (side == "middle") + 4,
                         short(value), "node-name", side))  # fmt: skip
    return whole(name, figure.title, figure.told, width, height, body)
