"""The parser and functions as judges, and what a judgement says."""

import random

import pytest

from nnvalue.organism import grammar
from nnvalue.readout.judging import FunctionJudge, ParserJudge, Text
from nnvalue.values import POLES, SIGN, load_framework

FRAMEWORK = load_framework("schwartz")


def test_the_parser_reads_what_the_grammar_wrote():
    """Texts of known value and pole: the stance is that pole's, 0 under another value, the member's under its group."""
    rng = random.Random(0)
    judge = ParserJudge(FRAMEWORK)
    for value in FRAMEWORK.values:
        for pole in POLES:
            answer = grammar.answer(rng, value, pole)
            group = FRAMEWORK.groups_of(value)[0]
            other = next(name for name in FRAMEWORK.values if name not in FRAMEWORK.members(group))
            own, wide, off = judge.judge([Text("a", "q", answer, about) for about in (value, group, other)])
            assert own.stance == wide.stance == SIGN[pole]
            assert own.score == 3 + 2 * SIGN[pole]
            assert (off.stance, off.score, off.outcome) == (0, 3, "answered")
            assert own.how == own.judge == "parser"


def test_what_the_grammar_cannot_say_is_unreadable_and_counts_as_nothing():
    for broken in ("", "://", "I keep keep the old.", "The old custom keep I"):
        (found,) = ParserJudge(FRAMEWORK).judge([Text("a", "q", broken, "power")])
        assert (found.status, found.outcome, found.readable) == ("answered", "unreadable", False)
        assert (found.stance, found.score) == (0.0, None)


def test_a_function_of_the_users_own():
    said = {"a": 1, "b": -0.25, "c": None, "d": 2, "e": float("nan"), "f": "high"}

    def read(text):
        return 1 / 0 if text.answer == "g" else said[text.answer]

    made = FunctionJudge(read, "mine").judge([Text(answer, "q", answer, "power") for answer in "abcdefg"])
    assert [one.outcome for one in made] == ["answered", "answered", "unreadable", *["failed"] * 4]
    assert [one.stance for one in made] == [1, -0.25, 0, None, None, None, None]
    assert "ZeroDivisionError" in made[-1].parse
    assert "'high'" in made[5].parse
    assert made[0].score == 5
    assert made[0].as_json()["judge"] == "mine"


@pytest.mark.parametrize("judge", [ParserJudge(FRAMEWORK), FunctionJudge(lambda text: 0, "zero")])
def test_no_texts_no_judgements(judge):
    assert judge.judge([]) == []
    assert judge.describe()["name"] == judge.name
