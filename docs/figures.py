"""The figures of the concept pages, made from the package and from benchmarks/results.

    python -m docs.figures                      # writes docs/figures/*.svg
    python -m docs.figures --poles RESULT       # first takes the neurons of poles.svg from a result of nnvalue locate

The SVGs are written by hand, so that they need no library and a test can compare them with what is checked in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import click

from nnvalue.artifacts import canonical_json, write_bytes
from nnvalue.models import open_model
from nnvalue.values import load_framework

FOLDER = Path(__file__).parent / "figures"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
POLES = FOLDER / "poles.json"
UP, DOWN, INK, PALE, GREY = "#1b6ca8", "#b5452c", "#222222", "#d9dde1", "#6b7280"
HUES = {"openness_to_change": "#d9902f", "self_transcendence": "#3d8b5f", "conservation": "#4a6fa5",
        "self_enhancement": "#a8478a"}  # fmt: skip


class Drawing:
    """An SVG that grows by lines, circles, texts and paths; coordinates in pixels, y downwards."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}" role="img">',
            f"<title>{escape(title)}</title>",
        ]

    def line(self, x1: float, y1: float, x2: float, y2: float, ink: str = PALE, width: float = 1) -> None:
        """A straight line."""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}" stroke-width="{width}"/>'
        )

    def dot(self, x: float, y: float, ink: str, radius: float = 4.5, fill: str | None = None) -> None:
        """A filled circle."""
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill or ink}" stroke="{ink}" stroke-width="1.6"/>'
        )

    def text(
        self, x: float, y: float, words: str, anchor: str = "start", ink: str = INK, size: float = 13,
        bold: bool = False,
    ) -> None:  # fmt: skip
        """One line of text; `y` is its base line."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}" font-size="{size}"{weight}>'
            f"{escape(words)}</text>"
        )

    def path(self, shape: str, ink: str = "none", fill: str = "none", width: float = 1.5, opacity: float = 1) -> None:
        """A path in SVG's own words."""
        self.parts.append(
            f'<path d="{shape}" stroke="{ink}" fill="{fill}" stroke-width="{width}" fill-opacity="{opacity}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, ink: str, words: str, fill: str = "#ffffff") -> None:
        """A rounded box with words in its middle."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{ink}" '
            f'stroke-width="1.5"/>'
        )
        self.text(x + width / 2, y + height / 2 + 4.5, words, "middle")

    def arrow(self, x1: float, y1: float, x2: float, y2: float, ink: str = GREY) -> None:
        """A straight arrow; its head is drawn, because markers are lost in some viewers."""
        self.line(x1, y1, x2, y2, ink, 1.5)
        turn = math.atan2(y2 - y1, x2 - x1)
        a, b = ((x2 - 8 * math.cos(turn + side), y2 - 8 * math.sin(turn + side)) for side in (0.4, -0.4))
        self.path(f"M{x2:.1f} {y2:.1f} L{a[0]:.1f} {a[1]:.1f} L{b[0]:.1f} {b[1]:.1f} Z", fill=ink)

    def done(self) -> bytes:
        """The SVG."""
        return ("\n".join([*self.parts, "</svg>"]) + "\n").encode()


def values() -> bytes:
    """The ten values on their circle, coloured by higher-order value."""
    schwartz = load_framework("schwartz")
    drawing = Drawing(680, 450, "Schwartz's ten values on their circle, in four groups")
    x0, y0, core, ring = 340, 225, 115, 198

    def at(degrees: float, radius: float) -> tuple[float, float]:
        turn = math.radians(degrees - 90)  # the circle begins at the top and goes clockwise
        return x0 + radius * math.cos(turn), y0 + radius * math.sin(turn)

    def arc(begin: float, end: float, inner: float, outer: float, ink: str) -> None:
        a, b, c, d = at(begin, outer), at(end, outer), at(end, inner), at(begin, inner)
        drawing.path(
            f"M{a[0]:.1f} {a[1]:.1f} A{outer} {outer} 0 0 1 {b[0]:.1f} {b[1]:.1f} "
            f"L{c[0]:.1f} {c[1]:.1f} A{inner} {inner} 0 0 0 {d[0]:.1f} {d[1]:.1f} Z", "#ffffff", ink, 2,
        )  # fmt: skip

    half = 180 / len(schwartz.circle)
    for name, group in schwartz.groups.items():
        middle, reach = schwartz.angle(name), half * len(group.members)
        arc(middle - reach, middle + reach, 0.1, core, HUES[name])
        x, y = at(middle, core * 0.62)
        words = group.title.replace("-", "- ").split(" ", 1)
        for number, word in enumerate(words):
            drawing.text(x, y + 5 + 14 * number - 7 * (len(words) - 1), word, "middle", "#ffffff", 11, bold=True)
    for name in schwartz.circle:
        angle, (group,) = schwartz.angle(name), schwartz.groups_of(name)
        arc(angle - half, angle + half, core, ring, "#e9edf1")
        arc(angle - half, angle + half, ring, ring + 10, HUES[group])
        x, y = at(angle, (core + ring) / 2)
        drawing.text(x, y + 4, schwartz.values[name].title, "middle", size=11.5)
    return drawing.done()


def poles() -> bytes:
    """Firing rates of the strongest neurons of one value under either pole."""
    told = json.loads(POLES.read_text(encoding="utf-8"))
    rows = told["neurons"]
    drawing = Drawing(680, 96 + 24 * len(rows), "Firing rates of value neurons under either pole")
    left, right, top = 150, 560, 62

    def x(rate: float) -> float:
        return left + (right - left) * rate

    drawing.text(left, 20, f"Share of answer tokens on which a neuron of {told['value']} fires", size=14, bold=True)
    drawing.dot(left + 5, 37, UP)
    drawing.text(left + 16, 41, "described as holding it", ink=GREY)
    drawing.dot(left + 180, 37, DOWN, fill="#ffffff")
    drawing.text(left + 191, 41, "described as its opposite", ink=GREY)
    bottom = top + 24 * len(rows)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        drawing.line(x(tick), top - 8, x(tick), bottom - 8)
        drawing.text(x(tick), bottom + 10, f"{tick:g}", "middle", GREY, 12)
    drawing.text(right + 20, top - 10, "score", ink=GREY, size=12)
    for number, row in enumerate(rows):
        y = top + 8 + 24 * number
        drawing.text(left - 14, y + 4, f"layer {row['layer']}, neuron {row['neuron']}", "end", size=12)
        drawing.line(x(row["firing_negative"]), y, x(row["firing_positive"]), y, GREY, 2)
        drawing.dot(x(row["firing_negative"]), y, DOWN, fill="#ffffff")
        drawing.dot(x(row["firing_positive"]), y, UP)
        drawing.text(right + 20, y + 4, f"{row['score']:+.2f}", ink=UP if row["score"] > 0 else DOWN, size=12)
    return drawing.done()


def sites() -> bytes:
    """Where `gate` and `down_in` lie in the organism's MLP."""
    anatomy = open_model().anatomy
    drawing = Drawing(680, 250, "Where neurons are read and written in a gated MLP")
    drawing.box(20, 105, 86, 40, INK, "hidden")
    drawing.box(150, 45, 90, 40, PALE, "gate_proj")
    drawing.box(150, 165, 90, 40, PALE, "up_proj")
    drawing.box(285, 45, 90, 40, PALE, anatomy.activation.replace("Activation", ""))
    drawing.box(440, 105, 40, 40, PALE, "×")
    drawing.box(545, 105, 110, 40, PALE, "down_proj")
    for line in ((106, 120, 148, 70), (106, 130, 148, 180), (240, 65, 283, 65), (375, 68, 438, 116),
                 (240, 185, 438, 134), (480, 125, 543, 125), (655, 125, 678, 125)):  # fmt: skip
        drawing.arrow(*line)
    drawing.dot(406, 91, UP, 6)
    drawing.text(398, 60, "gate", bold=True, ink=UP)
    drawing.text(398, 42, anatomy.gate[0], ink=GREY, size=11.5)
    drawing.dot(510, 125, DOWN, 6)
    drawing.text(510, 168, "down_in", "middle", DOWN, bold=True)
    drawing.text(510, 186, anatomy.down_in[0], "middle", GREY, 11.5)
    drawing.text(20, 236, f"{anatomy.layers} layers × {anatomy.width} neurons in the organism; a neuron is one column "
                 "of either site.", ink=GREY, size=12)  # fmt: skip
    return drawing.done()


def _measured(organism: str) -> dict[str, Any]:
    return json.loads((RESULTS / "steering.json").read_text(encoding="utf-8"))["organisms"][organism]


def _axes(drawing: Drawing, x: Callable, y: Callable, doses: tuple, ticks: tuple, right: float) -> None:
    for tick in ticks:
        drawing.line(x(0), y(tick), right, y(tick), INK if tick == 0 else PALE)
        drawing.text(x(0) - 10, y(tick) + 4, f"{tick:+g}" if tick else "0", "end", GREY, 12)
    for dose in doses:
        drawing.text(x(dose), y(ticks[0]) + 20, f"{dose:g}", "middle", GREY, 12)


def doses() -> bytes:
    """Movement of stance and share of whole answers by dose, organism 1, towards the positive poles."""
    drawing = Drawing(680, 380, "What a dose does to the organism")
    cells = _measured("organism 1")

    def x(dose: float) -> float:
        return 70 + 21 * dose

    def y(movement: float) -> float:
        return 320 - 290 * movement

    _axes(drawing, x, y, (0, 4, 8, 12, 16, 20), (0, 0.25, 0.5, 0.75), 505)
    ends = {}
    for value, poles_of in cells.items():
        arm, ink = poles_of["positive"]["arms"]["effect"], HUES[value]
        points = [(0.0, 0.0, 0.0, 0.0)]
        points += [(float(dose), row["movement"], row["low"], row["high"]) for dose, row in arm.items()]
        band = [(x(d), y(high)) for d, _, _, high in points] + [(x(d), y(low)) for d, _, low, _ in reversed(points)]
        drawing.path("M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in band) + " Z", fill=ink, opacity=0.13)
        drawing.path("M" + " L".join(f"{x(d):.1f} {y(m):.1f}" for d, m, *_ in points), ink, width=2)
        for d, m, *_ in points:
            drawing.dot(x(d), y(m), ink, 3.5)
        ends[value] = y(points[-1][1])
    below = 0.0
    for value, height in sorted(ends.items(), key=lambda item: item[1]):
        below = max(height, below + 34)  # names keep apart
        share = cells[value]["positive"]["arms"]["effect"]["20"]["well_formed"]
        drawing.text(515, below, value.replace("_", " "), ink=HUES[value], bold=True)
        drawing.text(515, below + 15, f"{share:.0%} whole at 20", ink=GREY, size=11.5)
    drawing.text(
        70, 20, "Movement of the stance of answers (−1 … 1), organism 1, with 95 % intervals", size=14, bold=True
    )
    drawing.text(280, 365, "dose of mode effect, towards the positive pole", "middle", GREY, 12)
    return drawing.done()


def controls() -> bytes:
    """Every value, pole and organism at its chosen dose, beside random neurons of the same layers."""
    cells = [
        (organism, value, pole, told)
        for organism in ("organism 1", "organism 2", "organism 3")
        for value, by_pole in _measured(organism).items()
        for pole, told in by_pole.items()
    ]
    drawing = Drawing(680, 118 + 17 * len(cells), "Steered neurons beside random ones")
    left, right, top = 250, 640, 66

    def x(movement: float) -> float:
        return left + (right - left) * (movement + 0.1) / 0.9

    bottom = top + 17 * len(cells) + 12
    for tick in (0, 0.2, 0.4, 0.6, 0.8):
        drawing.line(x(tick), top - 10, x(tick), bottom, INK if tick == 0 else PALE)
        drawing.text(x(tick), bottom + 16, f"{tick:g}", "middle", GREY, 12)
    drawing.text(20, 20, "Movement of the stance, at the dose chosen on other situations", size=14, bold=True)
    for start, ink, words in ((20, UP, "52 value neurons"), (170, GREY, "52 random neurons of the same layers")):
        drawing.dot(start + 5, 37, ink, 4)
        drawing.text(start + 16, 41, words, ink=GREY)
    for number, (organism, value, pole, told) in enumerate(cells):
        y, dose = top + 6 + 17 * number, str(told["chosen_dose"])
        if pole == "positive" and value == "openness_to_change":
            drawing.line(20, y - 9, right, y - 9, GREY)
            drawing.text(20, y + 4, organism, size=12, bold=True)
        drawing.text(
            left - 20, y + 4, f"{value.replace('_', ' ')} {'+' if pole == 'positive' else '−'}", "end", size=11.5
        )
        for arm, ink in (("random", GREY), ("effect", UP)):
            row = told["arms"][arm][dose]
            drawing.line(x(row["low"]), y, x(row["high"]), y, ink, 2)
            drawing.dot(x(row["movement"]), y, ink, 4)
    return drawing.done()


FIGURES = {"values": values, "poles": poles, "sites": sites, "doses": doses, "controls": controls}


def take_poles(folder: Path, strongest: int = 6) -> None:
    """Keep what poles.svg shows of a result: its first value's strongest neurons, of either pole."""
    from nnvalue import ValueNeurons

    found = ValueNeurons.load(folder)
    value = found.values[0]
    rows = [row for pole in ("positive", "negative") for row in found.top(value, pole, strongest)]
    fields = ("layer", "neuron", "score", "firing_positive", "firing_negative")
    told = [{field: round(float(getattr(row, field)), 4) for field in fields} for row in rows]
    for row in told:
        row["layer"], row["neuron"] = int(row["layer"]), int(row["neuron"])
    write_bytes(POLES, canonical_json({"value": value, "settings": found.config["settings"], "neurons": told}))


@click.command()
@click.option("--poles", "result", type=click.Path(path_type=Path), help="A result of nnvalue locate.")
def main(result: Path | None) -> None:
    """Write docs/figures/*.svg."""
    if result:
        take_poles(result)
    for name, draw in FIGURES.items():
        write_bytes(FOLDER / f"{name}.svg", draw())


if __name__ == "__main__":
    main()
