"""Value profiles and SAE features on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnvalue.readout.people import against_people, direction, no_circle, no_people
from nnvalue.report.blocks import Block, Notice, Picture, Sheet, Words
from nnvalue.report.figures import Dots, DotSeries, Figure, Table, counted, interval, plain, rate, short, signed
from nnvalue.report.neurons import ordered
from nnvalue.values import POLES, Framework

if TYPE_CHECKING:
    from nnvalue.readout import ValueProfile
    from nnvalue.sae import ValueFeatures

_VOICES, _IN_TABLE, _LISTED = 4, 20, 5
PROFILE = (
    "How much the model holds each value by its own answers: right of 0 more than the others, left less; bars are 95 % "
    "intervals over items. Triangles are people's means, where they are known."
)
STANCES = (
    "Mean stance of judged answers: 1 holds the value, −1 its opposing aspect, 0 is neither; bars are 95 % intervals."
)


def profile_figures(profile: ValueProfile, framework: Framework | None) -> dict[str, Figure]:
    """Figures of a profile."""
    return {"profile": profile_figure(profile, framework)}


def profile_blocks(profile: ValueProfile, framework: Framework | None) -> list[Block]:
    """What a part of the page on a profile shows."""
    counts = ", ".join(f"{count:,} {name}" for name, count in profile.outcomes.items())
    readout = profile.readout
    steering = readout.get("steering")
    told = [
        f"{profile.asked:,} questions to {counted(len(profile.voices), 'voice')}: {counts}.",
        "A voice is who the model was asked to speak as: a described person, or nobody in particular.",
        "Nothing was steered." if steering is None else "The model was steered while it was measured.",
    ]
    people = against_people(profile)
    told += [
        f"With people ({one.sample}) the profile of {profile.voices[0]} correlates r = {signed(float(one.pearson[0]))} "
        f"[{signed(float(one.low[0]))}, {signed(float(one.high[0]))}] over values."
        for one in people[:1]
    ]
    points = direction(profile)
    if points is not None:
        told.append(
            f"On the circle, {profile.voices[0]} points at {points.angle[0]:.0f}° ({short(points.nearest[0])}), which "
            f"tells {plain(float(points.share[0]), '.0%')} of the variance."
        )
    lead = STANCES if readout.get("centred") is False else PROFILE
    blocks: list[Block] = [Words(tuple(told)), Picture(profile_figure(profile, framework), lead)]
    missing = [] if people else [f"People: {no_people(profile)}."]
    missing += [] if points is not None else [f"Circle: {no_circle(profile)}."]
    missing += list(readout.get("warnings", ()))
    if profile.outcomes["failed"] or profile.outcomes["refused"]:
        missing.append("Some questions have no answer that counts; scores are of the others.")
    return [*blocks, Notice(tuple(missing))] if missing else blocks


def profile_figure(profile: ValueProfile, framework: Framework | None) -> Dots:
    """Scores by value with intervals, of the first voices; people's means beside them."""
    values = ordered(profile.values, framework)
    at = [profile.values.index(value) for value in values]
    series = []
    if profile.readout.get("centred") is not False:
        for one in against_people(profile)[:1]:
            series.append(DotSeries(f"people's means ({one.sample})", "unsteered", tuple(one.means[at].tolist())))
    for row, voice in enumerate(profile.voices[:_VOICES]):
        score, low, high = (tuple(getattr(profile, name)[row, at].tolist()) for name in ("scores", "low", "high"))
        series.append(DotSeries(voice, "effect", score, low, high, place=row))
    rows = tuple(
        (short(value), voice,
         interval(float(profile.scores[row, place]), float(profile.low[row, place]), float(profile.high[row, place])),
         str(int(profile.n[row, place])))
        for row, voice in enumerate(profile.voices[:_IN_TABLE]) for value, place in zip(values, at, strict=True)
    )  # fmt: skip
    more = len(profile.voices) - _VOICES
    return Dots(
        "A value profile", f"Scores on {len(values)} values with 95 % intervals, of "
        f"{counted(len(profile.voices), 'voice')}.",
        Table(("value", "voice", "score", "answers"), rows, 2), tuple(map(short, values)), tuple(series), "score",
        note=f"The first {_VOICES} voices of {more + _VOICES}; the table has {_IN_TABLE} at most." if more > 0 else "",
    )  # fmt: skip


def feature_blocks(found: ValueFeatures, framework: Framework | None) -> list[Block]:
    """What a part of the page on features of an SAE shows."""
    width = found.maps["difference"].shape[1]
    told = f"{len(found):,} features of {counted(len(found.values), 'value')}, out of {width:,} of the SAE."
    blocks: list[Block] = [Words((told,))]
    if len(found):
        blocks.append(Picture(features_figure(found, framework), FEATURES))
    head = ("value", "pole", "feature", "score", "AUROC", "d", "active +", "active −", "q", "called", "causal")
    rows = tuple(
        (short(one.value), one.pole, str(one.feature), signed(one.score, 3), f"{one.auroc:.3f}",
         signed(one.effect_size), f"{one.density_positive:.3f}", f"{one.density_negative:.3f}", rate(one.q),
         "yes" if one.called else "no", signed(one.causal, 3))
        for value in ordered(found.values, framework) for pole in POLES for one in found.top(value, pole, _LISTED)
    )  # fmt: skip
    lead = "AUROC: how well a response's mean activation tells its pole, .5 by chance; causal: what turning it up does."
    title = f"The strongest features, {_LISTED} a pole ({len(rows)} of {len(found):,})"
    return [*blocks, Sheet(title, Table(head, rows, 2), lead, filtered=True, closed=True)]


FEATURES = (
    "How well single features tell a value's poles apart: 1 or 0 is perfect, .5 is chance (diamonds). Dots are the "
    "strongest feature of either pole."
)


def feature_figures(found: ValueFeatures, framework: Framework | None) -> dict[str, Figure]:
    """Figures of features."""
    return {"features": features_figure(found, framework)} if len(found) else {}


def features_figure(found: ValueFeatures, framework: Framework | None) -> Dots:
    """AUROC of the strongest feature of either pole, beside chance."""
    values = ordered(found.values, framework)
    best = {(value, pole): found.top(value, pole, 1) for value in values for pole in POLES}
    series = [DotSeries("chance", "chance", (0.5,) * len(values))]
    for place, pole in enumerate(POLES):
        series.append(
            DotSeries(f"{pole} pole", "effect", tuple(
                best[value, pole][0].auroc if best[value, pole] else np.nan for value in values
            ), place=place)
        )  # fmt: skip
    rows = tuple(
        (short(value), pole, str(one.feature), f"{one.auroc:.3f}", rate(one.q))
        for (value, pole), top in best.items() for one in top
    )  # fmt: skip
    return Dots(
        "Features that tell a value", "AUROC of the strongest feature of either pole of "
        f"{counted(len(values), 'value')}.",
        Table(("value", "pole", "feature", "AUROC", "q"), rows, 2), tuple(map(short, values)), tuple(series),
        "AUROC of responses' mean activation", (-0.02, 1.02),
    )  # fmt: skip
