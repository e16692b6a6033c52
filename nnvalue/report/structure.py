"""Surveys on the page: what settings move, and how values hang together beside chance and people's ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnvalue.causal import Structure, structure
from nnvalue.errors import InvalidInputError, NnvalueError
from nnvalue.report.arms import WRONG_WAY
from nnvalue.report.blocks import Block, Notice, Picture, Words
from nnvalue.report.causal import PERMUTATIONS, SEED
from nnvalue.report.figures import (
    Circle,
    Dots,
    DotSeries,
    Figure,
    HeatMap,
    Table,
    counted,
    listed,
    plain,
    rate,
    short,
    signed,
)
from nnvalue.report.neurons import ordered
from nnvalue.values import SIGN, Framework

if TYPE_CHECKING:
    from nnvalue.causal import Survey

_MOST_SETTINGS, _FAR = 60, 2
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
        blocks.append(Words(tuple(_wrong_settings(survey))))
    if isinstance(found, str):
        return [*blocks, Notice((f"Structure against the circle and people is not told: {found}.",))]
    blocks.append(Words((
        f"Structure is estimated over the {found.n} unsteered roles, each centred on its own mean, with {PERMUTATIONS} "
        f"permutations and seed {SEED}; few roles tell little.",
    )))  # fmt: skip
    if "structure" in figures:
        blocks += [Picture(figures["structure"], STRUCTURE), Words(tuple(_inside(found)))]
    if "circle" in figures:
        blocks.append(Picture(figures["circle"], CIRCLE))
    if found.why:
        blocks.append(Notice((f"Against the circle: {found.why}.",)))
    if not found.people:
        blocks.append(Notice(("People's correlations of these values are not known, so there is no human ceiling.",)))
    return blocks


def _movements(survey: Survey) -> np.ndarray:
    """How far every setting moved every value from the first one, mean over roles, `[setting, value]`."""
    scores = survey.value_scores()
    known = np.isfinite(scores)
    count = known.sum(1)
    means = np.divide(np.where(known, scores, 0).sum(1), count, out=np.full(count.shape, np.nan), where=count > 0)
    moved: np.ndarray = means - means[0]
    return moved


def _wrong_settings(survey: Survey) -> list[str]:
    """Settings that moved their own value far against the asked pole, in a sentence; none where none did."""
    moved = _movements(survey)
    found = [
        (SIGN[one.pole] * float(moved[row, survey.values.index(one.value)]), one.name)
        for row, one in enumerate(survey.settings) if one.value in survey.values and one.pole in SIGN
    ]  # fmt: skip
    told = [f"{short(name)} by {signed(one)}" for one, name in sorted(found) if one <= -WRONG_WAY]
    return [f"Against what was asked: {listed(told, 5)} towards its own pole."] if told else []


def _inside(found: Structure) -> list[str]:
    """Which measures of structure lie within what samples of people reach, in words."""
    shown = [one for one in (*found.measures, *found.people.values()) if np.isfinite(one.people_low)]
    inside = [one.title for one in shown if one.people_low <= one.value <= one.people_high]
    return [
        f"{len(inside)} of {len(shown)} measures lie within what samples of people reach"
        f"{': ' + '; '.join(inside) if inside else ''}."
    ] if shown else []  # fmt: skip


def settings_figure(survey: Survey, framework: Framework | None) -> HeatMap:
    """How far every setting moved every value from the unsteered answers, mean over roles."""
    values = ordered(survey.values, framework)
    at = [survey.values.index(value) for value in values]
    shown = survey.settings[1 : 1 + _MOST_SETTINGS]
    moved = _movements(survey)[1 : 1 + len(shown), at]
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
    far = sorted(zip(map(abs, off), map(short, found.values), strict=True), reverse=True)
    note = (
        f"n = {found.n} roles; r with the circle {plain(template.value)} (shuffled names {plain(template.chance)}, p = "
        f"{rate(template.p)}; people {plain(template.people_low)} – {plain(template.people_high)})."
        f" Furthest from their place: {listed([f'{name} ({gap:.0f}°)' for gap, name in far[:_FAR]])}."
    )
    return Circle(
        "Values on the circle", f"Places of {len(found.values)} values from their correlations. {note}",
        Table(("value", "theory", "here", "apart"), table), found.values, theory, found.points, hints, note,
    )  # fmt: skip
