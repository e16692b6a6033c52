"""How value profiles look in a terminal and as data, whatever readout they are from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from rich import box
from rich.console import Console
from rich.table import Table

from nnvalue.cli.tables import print_table

if TYPE_CHECKING:
    from nnvalue.readout import Difference, ValueProfile

_HALF = 2  # cells of a bar on either side of 0
_LONG = 18  # letters of a name beside which a bar has no room
_SHOWN = 3  # voices with a table of their own, at most
_HEADS = {
    "order rising": "↑", "order falling": "↓", "order unlike_first": "↑", "order like_first": "↓",
    "keying positive": "+", "keying negative": "−",
}  # fmt: skip


def print_profile(console: Console, profile: ValueProfile) -> None:
    """A table for each voice, or one over all of them, and what else is to be said of the profile."""
    people = _people_means(profile)
    if len(profile.voices) <= _SHOWN:
        for row, voice in enumerate(profile.voices):
            _title(console, f"{voice}: {_what(profile)}{_of_parts(profile)}")
            print_table(console, _voice_table(profile, row, people))
    else:
        _title(console, f"{len(profile.voices)} voices: {_what(profile)}")
        print_table(console, _voices_table(profile, people))
    _print_facts(console, [profile_facts(profile)])
    _say(console, profile.readout.get("warnings", ()))


def print_difference(console: Console, base: ValueProfile, steered: ValueProfile, moved: Difference) -> None:
    """Unsteered beside steered and what was moved, for the first voices."""
    for row, voice in enumerate(base.voices[:_SHOWN]):
        table = _table("value", " unsteered", " steered", " moved", "", "interval")
        largest = _largest(moved.scores[row])
        for column, value in enumerate(base.values):
            at = row, column
            table.add_row(
                value, _cell(base.scores[at]), _cell(steered.scores[at]), _cell(moved.scores[at]),
                _bar(moved.scores[at], largest), _ends(moved.low[at], moved.high[at]),
            )  # fmt: skip
        _title(console, f"{voice}: what the steering moves, paired over items")
        print_table(console, table)
    if len(base.voices) > _SHOWN:
        _say(console, [f"{len(base.voices) - _SHOWN} voices more: see --json."])
    _print_facts(console, [profile_facts(base), profile_facts(steered)], ("unsteered", "steered"))
    _say(console, dict.fromkeys(said for one in (base, steered) for said in one.readout.get("warnings", ())))


def profile_facts(profile: ValueProfile) -> dict[str, str]:
    """What is to be told of a profile beside its scores: name -> figure in words; of several voices, their mean."""
    from nnvalue.readout.people import against_people, direction, no_circle, no_people

    facts = {"questions": ", ".join(f"{count:,} {name}" for name, count in profile.outcomes.items())}
    if (count := _answers_a_score(profile)) is not None:
        facts["answers a score"] = str(count)
    if (yes := _mean(profile.readout.get("yes_saying", {}).values())) is not None:
        facts["yes-saying"] = f"{yes:+.2f} from the middle of the scale"
    if (mass := _mean(profile.readout.get("option_mass", {}).values())) is not None:
        facts["option mass"] = f"{mass:.1%}"
    agreement = against_people(profile)
    for one in agreement:
        ends = _ends(one.low[0], one.high[0]) if len(profile.voices) == 1 else "—"
        interval = "" if ends == "—" else f" [{ends}]"
        r, rank = _cell(_mean(one.pearson)), _cell(_mean(one.spearman))
        facts[f"people, {one.sample}"] = f"r = {r}{interval}, of ranks {rank}"
    if not agreement:
        facts["people"] = no_people(profile)
    points = direction(profile)
    if points is None:
        facts["circle"] = no_circle(profile)
    elif len(profile.voices) == 1:
        facts["circle"] = (
            f"{points.angle[0]:.0f}° ({points.nearest[0]}), length {points.length[0]:.2f}, "
            f"{_cell(points.share[0], '.0%')} of the variance"
        )
    else:
        facts["circle"] = f"mean length {_cell(_mean(points.length), '.2f')}; --json has the angles"
    return facts


def profile_as_data(profile: ValueProfile) -> dict[str, Any]:
    """The figures of the tables, for `--json`; null where there is none."""
    from nnvalue.readout.people import against_people, direction, no_circle, no_people

    def figures(row: int, column: int) -> dict[str, Any]:
        at = row, column
        named = {"score": profile.scores, "low": profile.low, "high": profile.high}
        return {
            **{name: _number(array[at]) for name, array in named.items()},
            "n": int(profile.n[at]),
            "parts": {name: _number(part[at]) for name, part in profile.parts.items()},
        }

    people, points = against_people(profile), direction(profile)
    return {
        "readout": profile.readout,
        "framework": profile.framework,
        "outcomes": dict(profile.outcomes),
        "voices": {
            voice: {value: figures(row, column) for column, value in enumerate(profile.values)}
            for row, voice in enumerate(profile.voices)
        },
        "people": {
            one.sample: {
                "n": one.n, "instrument": one.instrument, "means": _by(profile.values, one.means),
                **{name: _by(profile.voices, getattr(one, name)) for name in ("pearson", "low", "high", "spearman")},
            }
            for one in people
        } or no_people(profile),
        "circle": no_circle(profile) if points is None else {
            **{name: _by(profile.voices, getattr(points, name)) for name in ("angle", "length", "share")},
            "nearest": dict(zip(profile.voices, points.nearest, strict=True)),
        },
    }  # fmt: skip


def difference_as_data(profile: ValueProfile, moved: Difference) -> dict[str, Any]:
    """What a steering moved, for `--json`: voice -> value -> figures."""
    return {
        voice: {
            value: {name: _number(getattr(moved, name)[row, column]) for name in ("scores", "low", "high")}
            for column, value in enumerate(profile.values)
        }
        for row, voice in enumerate(profile.voices)
    }


def _voice_table(profile: ValueProfile, row: int, people: dict[str, float | None]) -> Table:
    heads = (_HEADS.get(name, name) for name in profile.parts)
    uneven, narrow = _answers_a_score(profile) is None, max(map(len, profile.values)) > _LONG
    table = _table(
        "value", "score", *[""] * (not narrow), "interval", *heads, *["n"] * uneven, *["human"] * bool(people)
    )
    largest = _largest(profile.scores[row])
    for column, value in enumerate(profile.values):
        at = row, column
        table.add_row(
            value, _cell(profile.scores[at]), *[_bar(profile.scores[at], largest)] * (not narrow),
            _ends(profile.low[at], profile.high[at]), *(_cell(part[at]) for part in profile.parts.values()),
            *[str(profile.n[at])] * uneven, *[_cell(people.get(value))] * bool(people),
        )  # fmt: skip
    return table


def _answers_a_score(profile: ValueProfile) -> int | None:
    """How many answers stand behind every score; None where they are not the same number."""
    counts = set(profile.n.flat)
    return int(counts.pop()) if len(counts) == 1 else None


def _voices_table(profile: ValueProfile, people: dict[str, float | None]) -> Table:
    table = _table("value", "mean", "", "sd", "lowest", "highest", *["human"] * bool(people))
    means = [_mean(scores) for scores in profile.scores.T]
    largest = _largest(means)
    for value, scores, mean in zip(profile.values, profile.scores.T, means, strict=True):
        known = [score for score in scores.tolist() if math.isfinite(score)]
        spread = statistics.stdev(known) if len(known) > 1 else None
        table.add_row(
            value, _cell(mean), _bar(mean, largest), _cell(spread, ".2f"), _cell(min(known, default=None)),
            _cell(max(known, default=None)), *[_cell(people.get(value))] * bool(people),
        )  # fmt: skip
    return table


def _print_facts(console: Console, of_profiles: Sequence[dict[str, str]], names: Sequence[str] = ()) -> None:
    table = Table(box=box.SIMPLE_HEAD if names else None, show_header=bool(names), padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names or ("",):
        table.add_column(name, ratio=1)
    for name in dict.fromkeys(name for facts in of_profiles for name in facts):
        table.add_row(name, *(facts.get(name, "—") for facts in of_profiles))
    console.print(table)


def _people_means(profile: ValueProfile) -> dict[str, float | None]:
    """The means of the first sample of people, by value; nothing where there is none, or of stances."""
    from nnvalue.readout.people import against_people

    if profile.readout.get("kind") != "scale":
        return {}
    return next((_by(profile.values, one.means) for one in against_people(profile)), {})


def _what(profile: ValueProfile) -> str:
    """What is shown, in a few words."""
    if profile.readout.get("kind") == "scale":
        return "scores about the mean of all answers"
    return f"mean stance from −1 to 1, read by {profile.readout.get('judge', {}).get('name', 'a judge')}"


def _of_parts(profile: ValueProfile) -> str:
    """What the heads of the parts' columns mean."""
    heads = {_HEADS.get(name) for name in profile.parts}
    told = [words for sign, words in (("↑", "↑↓ option order"), ("+", "+− keying")) if sign in heads]
    return f" ({', '.join(told)})" if told else ""


def _title(console: Console, text: str) -> None:
    console.print(text, style="bold", markup=False, highlight=False)


def _say(console: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)


def _table(first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column(first, no_wrap=True, min_width=14)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _largest(scores: Iterable[float | None]) -> float:
    """What a whole bar stands for: one point of the scale at least, so that noise makes none."""
    return max([1.0, *(abs(score) for score in scores if _is_known(score))])


def _bar(score: float | None, largest: float) -> str:
    """A score as cells left or right of a line, to half a cell."""
    known = score if _is_known(score) else 0.0
    whole, half = divmod(round(abs(known) / largest * 2 * _HALF), 2)
    left, right = ("▐" * half + "█" * whole, "") if known < 0 else ("", "█" * whole + "▌" * half)
    return f"{left:>{_HALF}}│{right:<{_HALF}}"


def _ends(low: float, high: float) -> str:
    return f"{low:+.2f}…{high:+.2f}" if _is_known(low) else "—"


def _cell(number: float | None, form: str = "+.2f") -> str:
    return format(number, form) if _is_known(number) else "—"


def _number(number: float) -> float | None:
    return float(number) if _is_known(number) else None


def _is_known(number: float | None) -> TypeGuard[float]:
    return number is not None and math.isfinite(number)


def _by(names: Iterable[str], figures: Iterable[float]) -> dict[str, float | None]:
    return {name: _number(figure) for name, figure in zip(names, figures, strict=True)}


def _mean(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if _is_known(figure)]
    return float(sum(known) / len(known)) if known else None
