"""SVG for the page: small pure functions from numbers to markup, coloured by the page's style sheet.

No colour stands here: classes name steps of a scale (`p1` … `p5` above 0, `n1` … `n5` below) and series (`s0` … `s7`,
`control`), so that one figure serves light, dark and paper. Every series has a mark and a dash of its own beside its
colour. Every text is escaped. What pointing at a mark says is its `<title>`, which browsers show without a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup

from nnvalue.report.figures import CONTROLS

STEPS = 5
SERIES = 8
LETTER = 6.6
"""Width of a letter at the page's size of figures, at most."""


def number(figure: float) -> str:
    """A coordinate, as short as it can be."""
    return f"{figure:.1f}".removesuffix(".0").replace("-0", "0") if abs(figure) < 0.05 else (
        f"{figure:.1f}".removesuffix(".0")
    )  # fmt: skip


def linear(low: float, high: float, start: float, end: float) -> tuple[float, float]:
    """The map x → a + b·x that takes low to start and high to end; (a, b)."""
    slope = (end - start) / (high - low) if high != low else 0.0
    return start - slope * low, slope


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two ends."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + 1e-9 * span:
        found.append(round(first * step, 10) + 0.0)
        first += 1
    return found


def step_of(figure: float, top: float) -> str:
    """The class of a cell's colour: the nearest of the steps, so that what is next to nothing has none."""
    if not np.isfinite(figure):
        return "none"
    size = min(STEPS, round(abs(figure) / top * STEPS)) if top > 0 else 0
    return "z" if size == 0 else f"{'p' if figure > 0 else 'n'}{size}"


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "") -> Markup:
    """A line of text."""
    return Markup('<text x="{}" y="{}"{}{}>{}</text>').format(
        number(x), number(y), Markup(f' class="{kind}"') if kind else "",
        Markup(f' text-anchor="{anchor}"') if anchor else "", content,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(*map(number, (x1, y1, x2, y2)), kind)


def hinted(mark: Markup, hint: str) -> Markup:
    """A mark that says something when it is pointed at."""
    return Markup('<g class="m">{}<title>{}</title></g>').format(mark, hint) if hint else mark


def mark(x: float, y: float, kind: str, place: int = 0, size: float = 4.2) -> Markup:
    """A series' mark: another shape for every one of `SERIES`, hollow ones for controls."""
    if kind == "random":
        body = Markup('<circle cx="{}" cy="{}" r="{}"/>').format(number(x), number(y), number(size * 0.85))
    elif kind == "busy":
        body = _polygon(x, y, size, ((-1, -1), (1, -1), (1, 1), (-1, 1)), 0.78)
    elif kind == "chance":
        body = _polygon(x, y, size, ((0, -1), (1, 0), (0, 1), (-1, 0)), 1.1)
    elif kind in ("unsteered", "people"):
        body = _polygon(x, y, size, ((0, -1), (0.95, 0.8), (-0.95, 0.8)), 1.1)
    elif place % SERIES == 0:
        body = Markup('<circle cx="{}" cy="{}" r="{}"/>').format(number(x), number(y), number(size * 0.9))
    else:
        body = _polygon(x, y, size, _SHAPES[place % SERIES], 1.0)
    return Markup('<g class="{}">{}</g>').format(kind_of_series(kind, place), body)


_PLUS = ((-0.35, -1.1), (0.35, -1.1), (0.35, -0.35), (1.1, -0.35), (1.1, 0.35), (0.35, 0.35), (0.35, 1.1),
         (-0.35, 1.1), (-0.35, 0.35), (-1.1, 0.35), (-1.1, -0.35), (-0.35, -0.35))  # fmt: skip
_SHAPES = (
    (),
    ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    ((0, -1.15), (1.1, 0.8), (-1.1, 0.8)),
    ((0, -1.25), (1.1, 0), (0, 1.25), (-1.1, 0)),
    ((-1.1, -0.8), (1.1, -0.8), (0, 1.15)),
    _PLUS,
    ((-0.6, -1.1), (0.6, -1.1), (1.2, 0), (0.6, 1.1), (-0.6, 1.1), (-1.2, 0)),
    ((-1.2, -0.5), (1.2, -0.5), (1.2, 0.5), (-1.2, 0.5)),
)


def _polygon(x: float, y: float, size: float, shape: Iterable[tuple[float, float]], scale: float) -> Markup:
    points = " ".join(f"{number(x + dx * size * scale)},{number(y + dy * size * scale)}" for dx, dy in shape)
    return Markup('<polygon points="{}"/>').format(points)


def kind_of_series(role: str, place: int) -> str:
    """The classes of a series."""
    return f"control c-{role}" if role in CONTROLS else f"s{place % SERIES}"


def whole(name: str, title: str, told: str, width: float, height: float, body: Iterable[Markup]) -> Markup:
    """A picture with its title and description, as screen readers want them."""
    size = f"{math.ceil(width)}", f"{math.ceil(height)}"
    return Markup(
        '<svg role="img" aria-labelledby="{0}-t {0}-d" viewBox="0 0 {1} {2}" width="{1}" height="{2}">'
        '<title id="{0}-t">{3}</title><desc id="{0}-d">{4}</desc>{5}</svg>'
    ).format(name, *size, title, told, Markup("").join(body))


def ends(found: Sequence[float], room: float) -> tuple[float, float]:
    """Ends of an axis that holds some numbers, with room about them."""
    known = [one for one in found if np.isfinite(one)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return low - room * (high - low), high + room * (high - low)


def told(figure: float) -> str:
    """A number at a tick."""
    return f"{figure:g}".replace("-", "−")
