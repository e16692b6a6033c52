"""What a figure's marks and colours stand for, with a picture of each."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from nnvalue.report.drawing import SEEN, arrow
from nnvalue.report.figures import Arrow, Arrows, Circle, Dots, Figure, HeatMap, Panels
from nnvalue.report.svg import STEPS, kind_of_series, line, mark, number, text


def legend(figure: Figure) -> list[tuple[Markup, str]]:
    """(a picture of the mark, what it stands for) of what a figure shows."""
    if isinstance(figure, Panels):
        seen: dict[str, tuple[str, int, bool, bool]] = {}
        for one in figure.panels:
            for series in one.series:
                seen.setdefault(series.name, (series.role, series.place, series.joined, series.marks))
        return [(_key(*kind), name) for name, kind in seen.items()]
    if isinstance(figure, Arrows):
        ends = (
            ("raises", 1.0, 1.0, any(one.weight >= 0 for one in figure.edges)),
            ("lowers", -1.0, 1.0, any(one.weight < 0 for one in figure.edges)),
            ("comes back in less than half", 1.0, 0.0, any(one.frequency < SEEN for one in figure.edges)),
        )  # only what is drawn
        return [(_arrow_key(weight, frequency), name) for name, weight, frequency, drawn in ends if drawn]
    if isinstance(figure, Circle):
        return [(_key("effect", 0, False, True), "this model"), (_key("chance", 0, False, True), "the theory's place")]
    if isinstance(figure, Dots):
        return [
            (_key(one.role, one.place, False, True), one.name)
            for one in figure.series
            if np.isfinite([*one.values, *one.low]).any()
        ]
    return []


def _arrow_key(weight: float, frequency: float) -> Markup:
    drawn = arrow(Arrow("a", "b", "→", weight, frequency, ""), {"a": (-8.0, 7.0), "b": (36.0, 7.0)}, 2.5)
    frame = Markup('<svg class="key" width="28" height="16" viewBox="0 0 28 16" aria-hidden="true">{}</svg>')
    return frame.format(drawn)


def _key(role: str, place: int, joined: bool, marks: bool) -> Markup:
    body = line(1, 8, 27, 8, f"curve {kind_of_series(role, place)}") if joined else Markup("")
    if role == "people":
        body += Markup('<rect x="3" y="3" width="22" height="10" class="range"/>')
    elif marks:
        body += mark(14, 8, role, place)
    return Markup('<svg class="key" width="28" height="16" viewBox="0 0 28 16" aria-hidden="true">{}</svg>').format(
        body
    )


def scale_key(figure: HeatMap) -> Markup:
    """The steps of a heat map's colours as a strip, with the figures at its ends and 0."""
    known = figure.cells[np.isfinite(figure.cells)]
    down, up = bool((known < 0).any()), bool((known > 0).any())
    kinds = (
        [f"n{step}" for step in range(STEPS, 0, -1)] * down + ["z"] + [f"p{step}" for step in range(1, STEPS + 1)] * up
    )
    top, wide = f"{figure.top:.3g}", 18.0
    body = [
        Markup('<rect x="{}" y="1" width="{}" height="12" class="{}"/>').format(
            number(18 + place * wide), number(wide), kind
        )
        for place, kind in enumerate(kinds)
    ]  # fmt: skip
    zero = kinds.index("z")
    marks = [(0, f"−{top}")] * down + [(zero, "0")] + [(len(kinds) - 1, top)] * up
    body += [text(18 + (place + 0.5) * wide, 27, told, "tick", "middle") for place, told in marks]
    return Markup('<svg class="key" width="{0}" height="32" viewBox="0 0 {0} 32" aria-hidden="true">{1}</svg>').format(
        number(36 + len(kinds) * wide), Markup("").join(body)
    )
