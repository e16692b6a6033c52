"""Tables from rows made by hand, where every figure is known."""

import json

import numpy as np
import pytest

from nnvalue.evaluation import Arm, Design, tables_of
from nnvalue.values import load_framework

SCHWARTZ = load_framework("schwartz")
DESIGN = Design(("power", "benevolence"), (Arm("neurons", doses=(1, 2)),), others=2)
NOTHING = {"control_of": None, "value": None, "pole": None, "dose": 0.0, "draw": 0}


def answer(situation, measured, stance, outcome="answered", lost=1.0, **where):
    return {
        "arm": "unsteered", **NOTHING, **where, "measured": measured, "situation": situation, "core": situation[:2],
        "stance": stance, "outcome": outcome, "text": "", "tokens": 4, "log_perplexity": lost, "distinct_2": 0.9,
        "repeated_4": 0.0, "finished": True, "judge": "parser", "parse": "",
    }  # fmt: skip


def cell(value, pole, dose, arm="neurons", **more):
    return {"arm": arm, "value": value, "pole": pole, "dose": float(dose), **more}


SITUATIONS = [f"{value[0]}{number}" for value in ("power", "benevolence") for number in range(4)]
MEASURED = {name: "power" if name[0] == "p" else "benevolence" for name in SITUATIONS}


def rows():
    """Unsteered 0 everywhere; power + moves its own by .25 a dose and benevolence by −.1; its control not at all."""
    made = [answer(name, MEASURED[name], 0.0) for name in SITUATIONS]
    for dose in (1, 2):
        for value in ("power", "benevolence"):
            for pole, sign in (("positive", 1), ("negative", -1)):
                where = cell(value, pole, dose)
                own = [name for name in SITUATIONS if MEASURED[name] == value]
                wobble = (0.01, -0.01, 0.02, -0.02)
                made += [
                    answer(name, value, sign * (0.25 * dose + w), lost=1.5, **where)
                    for name, w in zip(own, wobble, strict=True)
                ]
                others = [name for name in SITUATIONS if MEASURED[name] != value][:2]
                made += [answer(name, MEASURED[name], sign * -0.1, **where) for name in others]
                for draw in (0, 1):
                    control = cell(value, pole, dose, "neurons, random neurons", control_of="neurons", draw=draw)
                    made += [answer(name, value, 0.02 * (1 - 2 * draw), **control) for name in own]
    return made


def item(name, score, measured="power", keying=1, kind="portrait", **where):
    return {
        "arm": "unsteered", **NOTHING, **where, "item": name, "unit": name[:-1], "measured": measured,
        "keying": keying, "kind": kind, "score": score, "mass": 1.0,
    }  # fmt: skip


def test_movement_controls_and_q_by_hand():
    tables = tables_of(DESIGN, SCHWARTZ, rows(), [], [])
    by_cell = {(row["arm"], row["value"], row["pole"], row["dose"]): row for row in tables.effects}
    assert len(by_cell) == 2 * 2 * 2 * 2
    for pole in ("positive", "negative"):  # towards the asked pole, whichever it is
        row = by_cell["neurons", "power", pole, 2.0]
        assert row["movement"] == pytest.approx(0.5)
        assert (row["n"], row["cores"], row["failures"]) == (4, 4, 0.0)
        assert row["against_random"] == pytest.approx(0.5)  # the draws' mean is 0
        assert row["log_perplexity_rise"] == pytest.approx(0.5)
        assert 0 < row["p"] < row["q"] + 1e-12 < 0.01
    control = by_cell["neurons, random neurons", "power", "positive", 1.0]
    assert control["movement"] == pytest.approx(0.0)
    assert (control["draws"], control["least_draw"], control["most_draw"]) == (2, -0.02, 0.02)
    assert np.isnan(control["q"])  # controls are no family of findings
    assert np.isnan(by_cell["neurons", "power", "positive", 1.0]["portraits"])


def test_trends_headlines_and_leakage_by_hand():
    tables = tables_of(DESIGN, SCHWARTZ, rows(), [], [])
    trend = tables.trends[0]
    assert trend["slope"] == pytest.approx(0.25)
    assert (trend["headline_dose"], trend["headline_movement"], trend["on_front"]) == (2.0, pytest.approx(0.5), True)
    (found,) = tables.leakage["neurons"].values()
    assert np.array(found["matrix"]) == pytest.approx(np.array([[0.5, -0.1], [-0.1, 0.5]]))
    assert found["by_value"][0]["per_unit"] == pytest.approx(0.2)
    assert found["by_value"][0]["nlr"] == 0.0
    assert found["circle"] is None


def test_answers_that_cannot_be_read_count_and_cost_the_headline():
    made = rows()
    for row in made:
        if (
            row["arm"] == "neurons"
            and row["dose"] == 2
            and row["measured"] == row["value"]
            and row["situation"][1] == "0"
        ):
            row.update(stance=0.0, outcome="unreadable")
    tables = tables_of(DESIGN, SCHWARTZ, made, [], [])
    broken = next(row for row in tables.effects if row["arm"] == "neurons" and row["dose"] == 2)
    assert broken["failures"] == 0.25
    assert broken["movement"] == pytest.approx(0.5 * 3 / 4, abs=0.01)  # a failure is 0, not left out
    assert tables.trends[0]["headline_dose"] == 1.0  # .25 of failures is no harmless dose


def test_portraits_are_recoded_centred_and_compared_item_by_item():
    names = ["a+", "a-", "b+", "b-"]
    values = ["power", "power", "benevolence", "benevolence"]
    keyings = [1, -1, 1, -1]
    items = [item(name, 3.5, value, key) for name, value, key in zip(names, values, keyings, strict=True)]
    # Power rises by 1 in both keyings; all answers rise by .5 whatever is asked: yes-saying.
    given = [3.5 + 1 + 0.5, 3.5 - 1 + 0.5, 3.5 + 0.5, 3.5 + 0.5]
    where = cell("power", "positive", 1)
    items += [
        item(name, score, value, key, **where)
        for name, score, value, key in zip(names, given, values, keyings, strict=True)
    ]
    items += [item("t1", 4.0, None, 0, "statement"), item("t1", 4.5, None, 0, "statement", **where)]
    tables = tables_of(DESIGN, SCHWARTZ, rows(), items, [])
    row = next(row for row in tables.effects if (row["arm"], row["value"], row["dose"]) == ("neurons", "power", 1.0))
    assert row["portraits"] == pytest.approx(0.5)  # 1 beyond the mean of .5 over all items
    assert row["yes_saying"] == pytest.approx(0.5)
    assert row["statements"] == pytest.approx(0.5)
    items[-3]["score"] = None  # an answer that is none did not move, and is counted
    row = next(row for row in tables_of(DESIGN, SCHWARTZ, rows(), items, []).effects if row["value"] == "power")
    assert row["item_failures"] == pytest.approx(1 / 5)


def test_a_situation_judged_for_two_values_is_compared_with_itself_each_time():
    """A value and a group that has it share situations, whose unsteered stances differ."""
    design = Design(("power", "self_enhancement"), (Arm("words", "prompt"),), poles=("positive",))
    made = [answer(f"p{n}", "power", 0.5) for n in range(3)]
    made += [answer(f"p{n}", "self_enhancement", -0.5) for n in range(3)]
    for value in design.values:
        where = cell(value, "positive", 1, "words")
        made += [answer(f"p{n}", value, 0.5 + n / 100, **where) for n in range(3)]
    effects = {row["value"]: row["movement"] for row in tables_of(design, SCHWARTZ, made, [], []).effects}
    assert effects == {"power": pytest.approx(0.01), "self_enhancement": pytest.approx(1.01)}


def test_a_dose_without_harm_is_told_from_the_least_harm():
    made = rows()
    for row in made:
        if row["arm"] == "neurons" and row["measured"] == row["value"] and row["situation"][1] == "0":
            row.update(stance=0.0, outcome="unreadable")
    tables = tables_of(DESIGN, SCHWARTZ, made, [], [])
    assert not any(trend["harmless"] for trend in tables.trends)
    assert {trend["headline_dose"] for trend in tables.trends} == {1.0}
    assert "| 1* |" in tables.card({"model": {"name": "a model"}, "notes": []})


def test_figures_are_json_and_csv():
    tables = tables_of(DESIGN, SCHWARTZ, rows(), [], [])
    assert "NaN" not in json.dumps(tables.as_json())
    lines = tables.effects_csv().splitlines()
    assert len(lines) == 1 + len(tables.effects)
    assert lines[0].startswith("arm,control_of,value,pole,dose")
