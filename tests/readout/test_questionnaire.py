"""Who is asked what: our portraits, and other people's items as the importers leave them."""

import pytest

from nnvalue import load_valueinsight, measure
from nnvalue.dataset import import_layout
from nnvalue.errors import DatasetError
from nnvalue.readout import read_questionnaire
from tests.dataset import foreign
from tests.readout.questionnaires import answer_by


def test_portraits_are_asked_in_both_keyings_and_of_their_split(edition):
    asked = read_questionnaire("portraits", dataset=edition)
    rows = {row["id"]: row for row in edition.portraits if row["split"] == "test" and row["value"]}
    assert {question.id for question in asked.questions} == set(rows)
    for question in asked.questions:
        row = rows[question.id]
        assert question.text == row["text"]
        assert question.uses == ((row["value"], 1 if row["keying"] == "positive" else -1),)
    units = {}
    for question in asked.questions:
        units.setdefault(question.unit, []).append(question.uses[0])
    assert all(sorted(sign for _, sign in uses) == [-1, 1] for uses in units.values())
    assert all(len({value for value, _ in uses}) == 1 for uses in units.values())


def test_pairs_are_taken_whole(edition):
    """Half a pair would leave yes-saying in the scores."""
    asked = read_questionnaire("portraits", dataset=edition, split="all", pairs=3)
    assert len(asked.questions) == 10 * 3 * 2
    assert len({question.unit for question in asked.questions}) == 30


def test_the_finer_framework_takes_the_finer_labels(edition):
    asked = read_questionnaire("portraits", dataset=edition, framework="schwartz19", split="all")
    rows = {row["id"]: row["refined"] for row in edition.portraits if row["refined"]}
    assert {question.id: question.uses[0][0] for question in asked.questions} == rows
    assert len(asked.values) == 19
    assert asked.values == tuple(asked.framework.values)


@pytest.fixture
def statements(tmp_path):
    import_layout(foreign.valuebench(tmp_path / "theirs"), "valuebench", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def replies(tmp_path):
    import_layout(foreign.valueportrait(tmp_path / "theirs"), "valueportrait", tmp_path / "out")
    return tmp_path / "out"


def test_statements_are_agreed_with_and_keyed_as_they_say(statements, monkeypatch):
    """A reversed item that is not turned round, or an item of two values that is scored for one."""
    said = {"I keep lists": 6, "I let things lie": 2, "I nap": 5}
    asked = answer_by(monkeypatch, lambda prompt: next(given for text, given in said.items() if text in prompt.user))
    found = measure(instrument=statements)
    assert {prompt.user.rpartition("Answer")[0] for prompt in asked} == {
        "I keep lists, of all kinds. How far do you agree? ", "I let things lie. How far do you agree? ",
        "I nap. How far do you agree? ",
    }  # fmt: skip
    # Love of order: 6 and 7 − 2; ease: 2 (in each of two questionnaires) and 5. All uses: 6, 5, 2, 2, 5.
    assert dict(zip(found.values, found.scores[0], strict=True)) == pytest.approx(
        {"love_of_order": 5.5 - 4, "ease": 3 - 4}
    )
    assert dict(zip(found.values, found.n[0], strict=True)) == {"love_of_order": 4, "ease": 6}
    assert found.outcomes["answered"] == 8  # "I let things lie" stands in two questionnaires
    assert [row["value"] for row in found.answers if "lie" in row["item"]] == []
    two = [row for row in found.answers if row["value"] == "love_of_order, ease"]
    assert {row["keying"] for row in two} == {"negative, positive"}


def test_replies_are_compared_with_own_thoughts_and_weak_ones_left_out(replies, monkeypatch):
    """A correlation below .3 taken for a key, a negative one not turned round, a group counted as a value."""
    said = {"Sell it and sail": 5, "I do.": 3}
    asked = answer_by(monkeypatch, lambda prompt: next(given for text, given in said.items() if text in prompt.user))
    found = measure(instrument=replies)
    assert len(asked) == 4
    assert all("Somebody asks:\n" in prompt.user for prompt in asked)
    assert any("Shall I sell it?" in prompt.user for prompt in asked)
    # Benevolence 5, self-direction 7 − 5, power 3: their mean is 10 / 3.
    scores = dict(zip(found.values, found.scores[0] + 10 / 3, strict=True))
    assert scores == pytest.approx({"self_direction": 2, "power": 3, "benevolence": 5})
    left = found.readout["instrument"]["rows_left_out"]
    assert left["without a value"] == 1
    assert left["of a group"] >= 1
    assert found.readout["circle"]


def test_an_edition_without_items_says_what_else_can_be_asked(tmp_path):
    from nnvalue.dataset import write_edition

    write_edition(load_valueinsight("moral_foundations"), tmp_path / "out")
    with pytest.raises(DatasetError, match="has no items that tell about a value; its portraits are asked"):
        measure(instrument=tmp_path / "out")
