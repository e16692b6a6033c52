"""Unsteered beside steered text: the same situations, unsteered, at an arm's headline dose, under a control."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnvalue.evaluation.design import UNSTEERED
from nnvalue.report.arms import NO_HARMLESS
from nnvalue.report.blocks import Answer, Exchange, Exchanges, Texts
from nnvalue.report.effects import SIGNS, control_name, control_role, mean
from nnvalue.report.figures import short, signed

if TYPE_CHECKING:
    from nnvalue.evaluation import Evaluation, Tables

Row = Mapping[str, Any]
BUDGET = 700_000
"""Letters of a page that answers may take, about."""
_FRAME = 520  # what stands about an exchange, beside its texts
_LEAD = (
    "Every row is one situation: what the model says unsteered (dose 0), steered, and with the same edits at random "
    "places, where there is such a control. The number is the stance, from −1 (against the value) over 0 to 1 (for it)"
)


def texts_block(done: Evaluation, tables: Tables, budget: int = BUDGET) -> Texts | None:
    """Answers side by side, as many as the budget allows, evenly over arms, values and poles; None without any."""
    asked = _situations(done)
    cells = _cells(done, tables)
    wanted = [(trend, _exchanges(trend, cells, asked)) for trend in tables.trends]
    wanted = [(trend, made) for trend, made in wanted if made]
    if not wanted:
        return None
    each = _even(wanted, budget)
    groups = tuple(_group(trend, made[:each], len(made), tables) for trend, made in wanted)
    shown, whole = sum(len(group.shown) for group in groups), sum(group.all for group in groups)
    note = f"{shown:,} of {whole:,} situations are shown"
    note += (
        "." if shown == whole else
        f", the first {each} of each cell, to keep the page small; answers.parquet in the evaluation's folder has all."
    )  # fmt: skip
    if not asked:
        note += " The dataset's own questions are not at hand here, so situations are named by their ids."
    return Texts(groups, _lead(done), note)


def _lead(done: Evaluation) -> str:
    """How to read answers: who told their stances, and of what became 0."""
    judge = done.facts["judge"]
    zeros = [row for row in done.answers if row["stance"] == 0]
    broken = sum(row["outcome"] != "answered" for row in zeros)
    if judge["kind"] != "parser":
        return (
            f"{_LEAD}, told by the judge {judge['name']}. Of the {len(zeros):,} answers with a stance of 0, {broken:,} "
            "cannot be read or were refused, and are marked; the others are neither for nor against."
        )
    other = sum(row["outcome"] == "answered" and not _about_target(row, done) for row in zeros)
    return (
        f"{_LEAD}, known from the parser of the organism's grammar, not judged: the organism speaks an artificial "
        f"language. Of the {len(zeros):,} answers with a stance of 0, {other:,} are about another value than was asked "
        f"for; {broken:,} cannot be read, and are marked."
    )


def _about_target(row: Row, done: Evaluation) -> bool:
    """Whether the parser found an answer to be about the value that was measured."""
    about = str(row["parse"]).removeprefix("about ").split(",")[0]
    return about in done.framework.members(row["measured"])


def _situations(done: Evaluation) -> dict[str, str]:
    """Id -> question, where the edition that was asked comes with nnvalue."""
    from nnvalue.dataset import embedded_editions, load_valueinsight

    for name in embedded_editions():
        edition = load_valueinsight(name)
        if edition.fingerprint == done.facts["dataset"]["sha256"]:
            wanted = {row["situation"] for row in done.answers}
            columns = edition.situations.select_columns(["id", "text"]).to_dict()
            return {name: text for name, text in zip(columns["id"], columns["text"], strict=True) if name in wanted}
    return {}


def _cells(done: Evaluation, tables: Tables) -> dict[tuple[Any, ...], dict[str, Row]]:
    """(arm, value, pole, dose) -> situation of the target -> its row; of controls with several draws, the first."""
    headline = {(row["arm"], row["value"], row["pole"], row["headline_dose"]) for row in tables.trends}
    found: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in done.answers:
        if row["arm"] == UNSTEERED:
            found[UNSTEERED, row["measured"]].setdefault(row["situation"], row)
        elif row["measured"] == row["value"]:
            of = row["control_of"] or row["arm"]
            if (of, row["value"], row["pole"], row["dose"]) in headline:
                found[row["arm"], row["value"], row["pole"], row["dose"]].setdefault(row["situation"], row)
    return found


def _exchanges(trend: Row, cells: Mapping[Any, Mapping[str, Row]], asked: Mapping[str, str]) -> list[Exchange]:
    key = (trend["value"], trend["pole"], trend["headline_dose"])
    plain = cells.get((UNSTEERED, trend["value"]), {})
    steered = cells.get((trend["arm"], *key), {})
    control = next(
        (rows for arm, rows in ((name[0], rows) for name, rows in cells.items() if name[1:] == key)
         for row in list(rows.values())[:1]
         if row["control_of"] == trend["arm"] and control_role(control_name(row)) == "random"), {},
    )  # fmt: skip
    made = []
    for situation, row in steered.items():
        if situation not in plain:
            continue
        answers = [_answer("unsteered, dose 0", plain[situation]), _answer(_who(trend), row)]
        if situation in control:
            who = f"{control_name(control[situation])}, dose {trend['headline_dose']:g}"
            answers.append(_answer(who, control[situation]))
        made.append(Exchange(asked.get(situation, situation), tuple(answers)))
    return made


def _who(trend: Row) -> str:
    return f"{trend['arm']}, dose {trend['headline_dose']:g}"


def _answer(who: str, row: Row) -> Answer:
    broken = {"answered": "", "refused": "refused"}.get(row["outcome"], "could not be read")
    return Answer(who, row["text"], signed(row["stance"]), broken)


def _even(wanted: Sequence[tuple[Row, Sequence[Exchange]]], budget: int) -> int:
    """How many situations a cell may show."""
    most = max(len(made) for _, made in wanted)
    total = 0
    for number in range(most):
        total += sum(_length(made[number]) for _, made in wanted if number < len(made))
        if total > budget:
            return number
    return most


def _length(one: Exchange) -> int:
    return _FRAME + len(one.situation) + sum(len(answer.text) for answer in one.answers)


def _group(trend: Row, made: Sequence[Exchange], whole: int, tables: Tables) -> Exchanges:
    row = next(
        row for row in tables.effects
        if all(row[key] == trend[key] for key in ("arm", "value", "pole")) and row["dose"] == trend["headline_dose"]
    )  # fmt: skip
    harm = "" if trend["harmless"] else f"; {NO_HARMLESS}"
    told = f"moved {signed(row['movement'])} towards the pole, failed {mean([row['failures']]):.2f}{harm}"
    title = f"{_who(trend)}: {short(trend['value'])} {SIGNS[trend['pole']]}"
    return Exchanges(title, trend["arm"], trend["value"], trend["pole"], told, tuple(made), whole)
