"""Judging by comparison with anchors."""

import math
import re

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from nnvalue.errors import DatasetError, InvalidInputError
from nnvalue.llm import CompletionClient, FromFunction, Reply
from nnvalue.readout.judging import Text
from nnvalue.readout.ranking import Anchor, RankingJudge, parse_letter, position, sentence_anchors
from nnvalue.readout.rubrics import Rubrics
from nnvalue.values import load_framework

RUBRICS = Rubrics(load_framework("schwartz"))
ANCHORS = {"power": [Anchor("level -1", -1), Anchor("level 0", 0), Anchor("level 1", 1)]}


def shown(request):
    """The two texts of a request, A and B."""
    return re.findall(r"<<[AB] \w+\n(.*?)\n[AB] \w+>>", request.messages[1][1], re.DOTALL)


def judge(answer, **settings):
    return RankingJudge(CompletionClient(FromFunction(answer, "stub")), RUBRICS, ANCHORS, **settings)


def by_level(request):
    a, b = (float(text.split()[-1]) for text in shown(request))
    return "A" if a >= b else "B"  # of equal ones the first: a judge that likes what comes first


def test_the_place_of_a_text_is_the_likeliest_one():
    """Against a numerical optimum; and by hand: one win at level 0, slope 1, prior 1 has 1 − σ(θ) = θ, θ = .4011."""
    assert position([(0.0, True)], slope=1, prior=1) == pytest.approx(0.401058, abs=1e-5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        results = [
            (float(level), bool(won)) for level, won in zip(rng.uniform(-1, 1, 8), rng.random(8) < 0.6, strict=True)
        ]
        slope, prior = rng.uniform(0.5, 4), rng.uniform(0.3, 3)

        def loss(place, results=results, slope=slope, prior=prior):
            odds = [(1 if won else -1) * slope * (place - level) for level, won in results]
            return sum(math.log1p(math.exp(-one)) for one in odds) + place**2 / (2 * prior**2)

        best = minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-9}).x
        assert position(results, slope=slope, prior=prior) == pytest.approx(best, abs=1e-5)


def test_a_place_is_finite_orderly_and_symmetric():
    always = position([(level, True) for level in (-1, 0, 1)] * 50, slope=20, prior=10)
    assert 1 < always < 10
    assert position([(level, False) for level in (-1, 0, 1)] * 50, slope=20, prior=10) == pytest.approx(-always)
    assert position([(0.5, True), (0.5, False), (-0.5, True), (-0.5, False)]) == 0
    won = [position([(0.0, n < wins) for n in range(6)]) for wins in range(7)]
    assert won == sorted(won)
    with pytest.raises(InvalidInputError):
        position([(0.0, True)], slope=0)


def test_texts_are_placed_among_the_anchors_in_both_orders():
    texts = [Text(f"t{level}", "q", f"level {level}", "power") for level in (-2, -0.5, 0, 0.5, 2)]
    made = judge(by_level).judge(texts)
    stances = [one.stance for one in made]
    assert stances == sorted(stances)
    assert stances[2] == 0  # a liking for what comes first cancels out
    assert stances[0] == -stances[4]
    assert stances[1] == pytest.approx(-stances[3])
    assert {one.how for one in made} == {"ranking"}
    assert len(set(made[0].keys)) == 6
    assert made[0].judge == "stub, ranking"


def test_a_judge_that_always_says_a_says_nothing():
    (one,) = judge(lambda request: "A").judge([Text("t", "q", "level 2", "power")])
    assert one.stance == 0


@pytest.mark.parametrize(
    ("text", "letter"),
    [("A", "A"), ("b.", "B"), ("**B**", "B"), ("Text A", "A"), ("Answer: B", "B"), ("0", "0"), ("A or B", None),
     ("a text", None), ("C", None), ("", None), ("Both", None)],
)  # fmt: skip
def test_what_counts_as_a_letter(text, letter):
    assert parse_letter(text) == letter


def test_failures_refusals_and_unreadable_texts_are_counted():
    calls = iter(["A", "hm", "A", "hm", "B", "B"])
    (one,) = judge(lambda request: next(calls)).judge([Text("t", "q", "x", "power")])
    assert one.outcome == "answered"
    assert "2 failed or refused" in one.parse
    calls = iter(["A", "hm", "A", "hm", "hm", "B"])
    (one,) = judge(lambda request: next(calls)).judge([Text("t", "q", "x", "power")])
    assert (one.outcome, one.stance) == ("failed", None)
    assert one.raw == ("A", "hm", "A", "hm", "hm", "B")
    (one,) = judge(lambda request: Reply("refused", reason="no")).judge([Text("t", "q", "x", "power")])
    assert one.outcome == "refused"
    (one,) = judge(lambda request: "0").judge([Text("t", "q", "x", "power")])
    assert (one.outcome, one.stance) == ("unreadable", 0.0)


def test_anchors_come_from_the_dataset(edition):
    made = sentence_anchors(edition, ("power", "self_enhancement"), pairs=3)
    assert [anchor.level for anchor in made["power"]] == [1, -1] * 3
    own = {row["positive"] for row in edition.sentences if row["value"] == "achievement"}
    assert own & {anchor.text for anchor in made["self_enhancement"]}  # a group's members take turns
    with pytest.raises(DatasetError, match="pairs of sentences"):
        sentence_anchors(edition, ("power",), pairs=1000)
    RankingJudge(CompletionClient(FromFunction(by_level, "stub")), RUBRICS, made)


def test_anchors_that_cannot_be():
    client = CompletionClient(FromFunction(by_level, "stub"))
    for bad in ([Anchor("x", 1)], [Anchor("x", 1), Anchor("y", 1)], [Anchor("x", 2), Anchor("y", 0)]):
        with pytest.raises(InvalidInputError):
            RankingJudge(client, RUBRICS, {"power": bad})
    with pytest.raises(InvalidInputError, match="no anchors of 'security'"):
        judge(by_level).judge([Text("t", "q", "x", "security")])
