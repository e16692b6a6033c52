"""From rows to figures: effects beside their controls, trends, fronts and leakage. Nothing here knows a model."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnvalue.artifacts import plain
from nnvalue.evaluation.conditions import AS_BUSY, DIRECTION, FEATURES, RANDOM
from nnvalue.evaluation.design import UNSTEERED, Design
from nnvalue.evaluation.leakage import against_people, along_the_circle, leakage
from nnvalue.evaluation.statistics import Effect, adjusted, dose_response, effect, pareto_front
from nnvalue.values import SIGN, Framework

ALLOWED_FAILURES = 0.05
"""By how much the share of failed answers may rise at a dose that headlines speak of."""
Row = Mapping[str, Any]
Cell = tuple[str, str, str, float]


@dataclass(frozen=True)
class Tables:
    """All figures of an evaluation.

    effects: a row for every arm and control, value, pole and dose: `movement` towards the asked pole with interval, d,
        p and q (of all arms that are no controls), beside `against_random`, failures, fluency, portraits, agreement and
        what held-out sentences lose.
    trends: a row for every arm that is no control, value and pole: dose-response, the headline dose, whether it is on
        the Pareto front there.
    leakage: arm -> readout -> what moved beside the target at the headline doses.
    unsteered: value -> figures of the unsteered answers.
    """

    effects: list[dict[str, Any]]
    trends: list[dict[str, Any]]
    leakage: dict[str, dict[str, Any]]
    unsteered: dict[str, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """All figures as JSON data; what is not known is null."""
        return plain(asdict(self))

    def effects_csv(self) -> str:
        """The effects as a CSV table."""
        sink = io.StringIO()
        writer = csv.DictWriter(sink, list(self.effects[0]) if self.effects else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(self.effects))
        return sink.getvalue()

    def card(self, facts: Mapping[str, Any]) -> str:
        """The README of a saved evaluation."""
        from nnvalue.evaluation.card import card

        return card(self, facts)


def tables_of(
    design: Design, framework: Framework, answers: Sequence[Row], items: Sequence[Row], costs: Sequence[Row]
) -> Tables:
    """Every figure, from the rows of an experiment; a function of them alone."""
    said, read = _Answers(answers), _Items(items)
    cost = {_cell(row): row for row in costs}
    effects = [
        {
            **_names(cell, said.control_of[cell]),
            **_effect_row(cell, framework.members(cell[1]), said, read, cost.get(cell), design.seed),
        }
        for cell in said.cells
    ]
    tested = [row for row in effects if row["control_of"] is None]
    for p, q in (("p", "q"), ("portraits_p", "portraits_q")):
        for row in effects:
            row[q] = math.nan  # controls are no family of findings
        for row, found in zip(tested, adjusted([row[p] for row in tested]), strict=True):
            row[q] = float(found)
    trends = [_trend(key, tested, said) for key in dict.fromkeys(_key(row) for row in tested)]
    _mark_fronts(tested, trends)
    return Tables(effects, trends, _leakages(design, framework, trends, said, read), _unsteered(said))


class _Answers:
    """Answers by condition and situation, each beside the unsteered answer to the same situation."""

    def __init__(self, rows: Sequence[Row]) -> None:
        # A situation may be judged for a value and for a group that has it.
        self._base = {(row["measured"], row["situation"]): row for row in rows if row["arm"] == UNSTEERED}
        self.base_rows = list(self._base.values())
        self.by_cell: dict[Cell, list[Row]] = defaultdict(list)
        self.control_of: dict[Cell, str | None] = {}
        for row in rows:
            if row["arm"] != UNSTEERED:
                self.by_cell[_cell(row)].append(row)
                self.control_of[_cell(row)] = row["control_of"]
        self.cells = list(self.by_cell)

    def unsteered(self, row: Row) -> Row:
        """The unsteered answer to the same situation, judged for the same value."""
        return self._base[row["measured"], row["situation"]]

    def of(self, cell: Cell, measured: str) -> list[Row]:
        """Answers of a cell to situations of a value."""
        return [row for row in self.by_cell[cell] if row["measured"] == measured]

    def moved(self, cell: Cell, measured: str) -> tuple[np.ndarray, list[str]]:
        """Differences to the unsteered answers, towards the steered pole, and the situations' cores."""
        rows = self.of(cell, measured)
        sign = SIGN[cell[2]]
        moved = [sign * (row["stance"] - self.unsteered(row)["stance"]) for row in rows]
        return np.array(moved), [row["core"] for row in rows]

    def mean_by_situation(self, cell: Cell) -> dict[str, float]:
        """Mean stance towards the steered pole by situation of the target, over draws."""
        found: dict[str, list[float]] = defaultdict(list)
        for row in self.of(cell, cell[1]):
            found[row["situation"]].append(SIGN[cell[2]] * row["stance"])
        return {name: float(np.mean(stances)) for name, stances in found.items()}


class _Items:
    """Answers to portraits and statements by condition, each beside the unsteered one."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._base = {row["item"]: row for row in rows if row["arm"] == UNSTEERED}
        self._by_cell: dict[Cell, list[Row]] = defaultdict(list)
        for row in rows:
            if row["arm"] != UNSTEERED:
                self._by_cell[_cell(row)].append(row)

    def differences(self, cell: Cell, kind: str) -> list[tuple[Row, float]]:
        """(row, how far the answer as given rose); an answer that failed did not move."""
        found = []
        for row in self._by_cell.get(cell, ()):
            before = self._base[row["item"]]["score"]
            known = row["score"] is not None and before is not None
            if row["kind"] == kind:
                found.append((row, row["score"] - before if known else 0.0))
        return found

    def failures(self, cell: Cell) -> float:
        """Share of answers that are none."""
        rows = self._by_cell.get(cell, [])
        return float(np.mean([row["score"] is None for row in rows])) if rows else math.nan

    def moved(self, cell: Cell, members: Iterable[str], centred: bool = True) -> tuple[np.ndarray, list[str]]:
        """How far portraits of some values rose, recoded, towards the steered pole; centred, beyond the mean of all.

        Yes-saying cancels in the two keyings. Centring plants movements of the other values, so leakage does without.
        """
        found, members = self.differences(cell, "portrait"), set(members)
        if not found:
            return np.array([]), []
        risen = np.array([row["keying"] * change for row, change in found])
        mine = np.array([row["measured"] in members for row, _ in found])
        units = [row["unit"] for (row, _), own in zip(found, mine, strict=True) if own]
        return SIGN[cell[2]] * (risen - (risen.mean() if centred else 0.0))[mine], units

    def values(self) -> list[str]:
        """The values that portraits are about."""
        return list(dict.fromkeys(row["measured"] for row in self._base.values() if row["kind"] == "portrait"))


def _effect_row(
    cell: Cell, members: Sequence[str], said: _Answers, read: _Items, cost: Row | None, seed: int
) -> dict[str, Any]:
    arm, value, _pole, _dose = cell
    rows = said.of(cell, value)
    moved, cores = said.moved(cell, value)
    found = effect(moved, cores, seed)
    base = [said.unsteered(row) for row in rows]
    draws = _over_draws(rows, moved)
    portraits = _maybe(*read.moved(cell, members), seed)
    yes = read.differences(cell, "portrait")
    stated = read.differences(cell, "statement")
    made = {
        "n": found.n, "cores": found.clusters, "movement": found.mean, "low": found.low, "high": found.high,
        "d": found.d, "p": found.p, "draws": len(draws), "least_draw": min(draws), "most_draw": max(draws),
        "failures": _failed(rows), "failures_unsteered": _failed(base),
        "log_perplexity_rise": _risen(rows, base, "log_perplexity"),
        "distinct_2": _mean(row["distinct_2"] or 0.0 for row in rows),
        "repeated_4": _mean(row["repeated_4"] for row in rows),
        **_named("portraits", portraits), "item_failures": read.failures(cell),
        **_named("yes_saying", _maybe([change for _, change in yes], [row["unit"] for row, _ in yes], seed)),
        **_named("statements", _maybe([change for _, change in stated], [row["unit"] for row, _ in stated], seed)),
        "nll_rise": math.nan if cost is None else cost["difference"],
        **{
            f"nll_{end}": math.nan if cost is None or cost[end] is None else cost[end] for end in ("low", "high")
        },
    }  # fmt: skip
    randoms = (f"{arm}, {RANDOM}", f"{arm}, {DIRECTION}", f"{arm}, {FEATURES}")
    drawn = next((name for name in randoms if (name, *cell[1:]) in said.by_cell), randoms[0])
    for name, control in (("random", drawn), ("as_busy", f"{arm}, {AS_BUSY}")):
        other = (control, *cell[1:])
        made |= _named(f"against_{name}", _against(cell, other, said, seed) if other in said.by_cell else None)
    return made


def _over_draws(rows: Sequence[Row], moved: np.ndarray) -> list[float]:
    by_draw: dict[int, list[float]] = defaultdict(list)
    for row, one in zip(rows, moved, strict=True):
        by_draw[row["draw"]].append(one)
    return [float(np.mean(members)) for members in by_draw.values()]


def _against(cell: Cell, other: Cell, said: _Answers, seed: int) -> Effect:
    """An arm minus a control, situation by situation; of several draws, their mean."""
    mine, theirs = said.mean_by_situation(cell), said.mean_by_situation(other)
    common = [name for name in mine if name in theirs]
    core_of = {row["situation"]: row["core"] for row in said.of(cell, cell[1])}
    cores = [core_of[name] for name in common]
    return effect([mine[name] - theirs[name] for name in common], cores, seed)


def _trend(key: tuple[str, str, str], tested: Sequence[dict[str, Any]], said: _Answers) -> dict[str, Any]:
    arm, value, pole = key
    rows = sorted((row for row in tested if _key(row) == key), key=lambda row: row["dose"])
    cells = [(arm, value, pole, row["dose"]) for row in rows]
    answers = said.of(cells[0], value)
    sign = SIGN[pole]
    base = np.array([sign * said.unsteered(row)["stance"] for row in answers])
    by_dose = {0.0: base} | {
        cell[3]: sign * np.array([row["stance"] for row in said.of(cell, value)]) for cell in cells
    }
    found = dose_response(by_dose, [row["core"] for row in answers])
    whole = [row for row in rows if row["failures"] <= row["failures_unsteered"] + ALLOWED_FAILURES]
    best = max(whole, key=lambda row: row["movement"]) if whole else rows[0]
    return {
        "arm": arm, "value": value, "pole": pole, "doses": len(rows), **asdict(found),
        "headline_dose": best["dose"], "headline_movement": best["movement"], "harmless": bool(whole),
    }  # fmt: skip


def _mark_fronts(tested: Sequence[dict[str, Any]], trends: Sequence[dict[str, Any]]) -> None:
    """Which arms and doses no other one beats in movement, failures and what texts lose, cell by cell."""
    for value, pole in dict.fromkeys((row["value"], row["pole"]) for row in tested):
        rows = [row for row in tested if (row["value"], row["pole"]) == (value, pole)]
        lost = "nll_rise" if all(math.isfinite(row["nll_rise"]) for row in rows) else "log_perplexity_rise"
        points = [(row["movement"], -row["failures"], -_or_worst(row[lost])) for row in rows]
        front = set(pareto_front(points))
        for number, row in enumerate(rows):
            row["on_front"] = number in front
    for trend in trends:
        same = [row for row in tested if _key(row) == _key(trend) and row["dose"] == trend["headline_dose"]]
        trend["on_front"] = same[0]["on_front"]


def _leakages(
    design: Design, framework: Framework, trends: Sequence[Row], said: _Answers, read: _Items
) -> dict[str, dict[str, Any]]:
    """Of every arm that steers all values: the matrix of movements at headline doses, and what it is like.

    In text among the steered values, in portraits over all values that portraits are about.
    """
    made: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(row["arm"] for row in trends):
        dose = {(row["value"], row["pole"]): row["headline_dose"] for row in trends if row["arm"] == arm}
        if set(dose) != {(value, pole) for value in design.values for pole in design.poles}:
            continue

        def moved(readout: str, value: str, other: str, arm: str = arm, dose: Mapping[Any, float] = dose) -> float:
            cells = [(arm, value, pole, dose[value, pole]) for pole in design.poles]
            parts = [
                said.moved(cell, other)[0] if readout == "text" else read.moved(cell, [other], centred=False)[0]
                for cell in cells
            ]
            return float(np.mean([part.mean() for part in parts])) if all(map(len, parts)) else math.nan

        found = {}
        for readout, measured in (("text", list(design.values)), ("portraits", read.values())):
            matrix = np.array([[moved(readout, value, other) for other in measured] for value in design.values])
            if len(measured) > 1 and np.isfinite(matrix).all():
                of = (matrix, design.values, measured, framework)
                found[readout] = {
                    "steered": list(design.values), "measured": measured, "matrix": matrix.tolist(),
                    "by_value": [asdict(one) for one in leakage(*of)],
                    "circle": along_the_circle(*of, design.seed), "people": against_people(*of),
                }  # fmt: skip
        if found:
            made[arm] = found
    return made


def _unsteered(said: _Answers) -> dict[str, dict[str, Any]]:
    made = {}
    for value in dict.fromkeys(row["measured"] for row in said.base_rows):
        rows = [row for row in said.base_rows if row["measured"] == value]
        made[value] = {
            "n": len(rows), "stance": _mean(row["stance"] for row in rows), "failures": _failed(rows),
            "log_perplexity": _mean(row["log_perplexity"] for row in rows),
            "distinct_2": _mean(row["distinct_2"] or 0.0 for row in rows),
        }  # fmt: skip
    return made


def _maybe(moved: Any, clusters: Sequence[str], seed: int) -> Effect | None:
    return effect(moved, clusters, seed) if len(moved) else None


def _named(name: str, found: Effect | None) -> dict[str, float]:
    nothing = found is None
    figures = {"": "mean", "_low": "low", "_high": "high", "_p": "p"}
    return {f"{name}{end}": math.nan if nothing else getattr(found, field) for end, field in figures.items()}


def _failed(rows: Sequence[Row]) -> float:
    """Share of answers that are refused, unreadable, or that nobody could judge."""
    return _mean(row["outcome"] != "answered" for row in rows)


def _risen(rows: Sequence[Row], base: Sequence[Row], name: str) -> float:
    pairs = [(row[name], one[name]) for row, one in zip(rows, base, strict=True)]
    return _mean(after - before for after, before in pairs if after is not None and before is not None)


def _mean(figures: Iterable[Any]) -> float:
    known = [float(figure) for figure in figures if figure is not None]
    return float(np.mean(known)) if known else math.nan


def _or_worst(cost: float) -> float:
    """What is not known is taken for the worst."""
    return cost if math.isfinite(cost) else math.inf


def _cell(row: Row) -> Cell:
    return row["arm"], row["value"], row["pole"], row["dose"]


def _key(row: Row) -> tuple[str, str, str]:
    return row["arm"], row["value"], row["pole"]


def _names(cell: Cell, control_of: str | None) -> dict[str, Any]:
    arm, value, pole, dose = cell
    return {"arm": arm, "control_of": control_of, "value": value, "pole": pole, "dose": dose}
