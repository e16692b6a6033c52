"""Free text as a readout, on the organism, whose parser knows what is true of every answer."""

import json
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from nnvalue.dataset import load_valueinsight, role_of, voice
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.llm import CompletionClient, FromFunction, LocalModel
from nnvalue.organism import parse
from nnvalue.readout.agreement import profile_agreement
from nnvalue.readout.bootstrap import mean_interval
from nnvalue.readout.judging import FunctionJudge, ParserJudge
from nnvalue.readout.profile import ValueProfile
from nnvalue.readout.rating import LLMJudge
from nnvalue.readout.rubrics import Rubrics
from nnvalue.readout.scale import measure
from nnvalue.readout.text import ask_situations, judged_profile, movement
from nnvalue.steering import NeuronSteering
from nnvalue.steering_protocol import Sampling
from nnvalue.values import load_framework

FRAMEWORK = load_framework("schwartz")
SHORT = {"situations": 3, "max_new_tokens": 40}


@pytest.fixture(scope="module")
def described(edition):
    """Two voices: people at either pole of power."""
    rows = [row for row in edition.descriptions if row["value"] == "power" and row["split"] == "test"]
    return {row["pole"]: voice(None, row["text"]) for row in rows[:2]}


def test_everybody_is_asked_the_same_situations_and_fewer_are_a_prefix(organism, edition, described):
    few = ask_situations(organism, edition, ["power"], described, situations=3, max_new_tokens=4)
    more = ask_situations(organism, edition, ["power"], described, situations=6, max_new_tokens=4)
    for pole in described:
        mine = [one.situation_id for one in more if one.voice == pole]
        assert len(mine) == len(set(mine)) == 6
        assert [one.situation_id for one in few if one.voice == pole] == mine[:3]
    ids = {one.situation_id for one in more}
    assert len(ids) == 6
    rows = {row["id"]: row for row in edition.situations if row["id"] in ids}
    assert {(row["value"], row["split"]) for row in rows.values()} == {("power", "test")}
    assert len({one.core for one in more}) == 6  # every core once before any a second time
    assert all(one.prompt.user == rows[one.situation_id]["text"] for one in more)
    assert {one.prompt.system for one in more} == set(described.values())
    other = ask_situations(organism, edition, ["power"], described, situations=6, seed=1, max_new_tokens=4)
    assert {one.situation_id for one in other} != ids


def test_a_value_and_its_group_share_answers(organism, edition):
    asked = ask_situations(organism, edition, ["PO", "self_enhancement"], situations=20, max_new_tokens=4)
    assert Counter(one.value for one in asked) == {"power": 20, "self_enhancement": 20}
    of_group = {row["value"] for row in edition.situations if row["id"] in {o.situation_id for o in asked[20:]}}
    assert of_group <= set(FRAMEWORK.members("self_enhancement"))
    assert len(of_group) > 1


def test_the_scores_are_the_means_of_what_the_parser_reads(organism, edition, described):
    profile = judged_profile(
        organism, ParserJudge(FRAMEWORK), edition, ["power", "tradition"], described, situations=6, max_new_tokens=40
    )
    cells = defaultdict(list)
    cores = defaultdict(list)
    for row in profile.answers:
        reading = parse(row["answer"])
        cells[row["voice"], row["value"]].append(reading.stance * (reading.value == row["value"]))
        cores[row["voice"], row["value"]].append(row["core"])
    for (who, value), stances in cells.items():
        at = profile.voices.index(who), profile.values.index(value)
        assert profile.scores[at] == pytest.approx(np.mean(stances))
        assert (profile.low[at], profile.high[at]) == mean_interval(stances, cores[who, value])
        assert profile.low[at] <= profile.scores[at] <= profile.high[at]
    assert profile.scores[0, 0] > 0.5 > -0.5 > profile.scores[1, 0]  # a described person answers as described
    assert (profile.n == 6).all()
    assert profile.outcomes == {"answered": 24, "refused": 0, "failed": 0}
    mean_of_halves = (profile.parts["first half"] + profile.parts["second half"]) / 2
    assert np.allclose(mean_of_halves, profile.scores)
    assert profile.readout["judge"]["kind"] == "parser"
    assert profile.readout["centred"] is False


def test_what_fails_counts_as_nothing_and_is_never_left_out(organism, edition):
    """A judge that fails every other text halves the score; dropping it would not."""
    calls = iter([1.0, 2.0, None, 1.0])
    judge = FunctionJudge(lambda text: next(calls), "stub")
    profile = judged_profile(organism, judge, edition, ["power"], situations=4, max_new_tokens=2)
    assert profile.scores[0, 0] == 0.5
    assert profile.n[0, 0] == 4
    assert profile.outcomes == {"answered": 2, "refused": 0, "failed": 2}
    assert Counter(row["outcome"] for row in profile.answers) == {"answered": 2, "failed": 1, "unreadable": 1}
    assert [row["score"] for row in profile.answers] == [1.0, 0.0, 0.0, 1.0]


def test_a_stopped_run_goes_on_and_a_finished_one_is_returned(organism, edition, tmp_path):
    """The answers come from the journal, the judgements from the client's log; then all from the result."""
    asked = []

    def answer(request):
        asked.append(request)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return "5"

    def run(log):
        with CompletionClient(FromFunction(answer, "stub"), log) as client:
            judge = LLMJudge(client, Rubrics(FRAMEWORK), samples=2, log_probabilities=False)
            return judged_profile(organism, judge, edition, ["power"], out=tmp_path / "p", **SHORT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "log.jsonl")
    profile = run(tmp_path / "log.jsonl")
    assert len(asked) == 7  # six, and the one that was not answered
    assert not (tmp_path / "p.work").exists()
    again = run(tmp_path / "other.jsonl")
    assert len(asked) == 7
    assert (again.scores == profile.scores).all()
    logged = {json.loads(line)["key"] for line in (tmp_path / "log.jsonl").read_text().splitlines()}
    for row in ValueProfile.load(tmp_path / "p").answers:  # prompt, raw answer and parse of every judgement
        assert set(row["requests"].split()) <= logged
        assert (row["raw"], row["score"]) == ("5\n5", 1.0)
        assert "digits 5 5" in row["parse"]


def test_a_local_model_judges_through_its_log_probabilities(organism, edition):
    """The organism knows the digits of a scale and nothing of rubrics: what is checked is the way, not the opinion."""
    judge = LLMJudge(CompletionClient(LocalModel(organism)), Rubrics(FRAMEWORK), samples=2)
    profile = judged_profile(organism, judge, edition, ["power"], **SHORT)
    assert judge.log_probabilities is True
    assert sum(profile.outcomes.values()) == 3
    assert {row["judge"] for row in profile.answers} == {"nnvalue/organism"}


def test_steering_and_its_scope_are_applied_and_recorded(organism, edition, tmp_path):
    steering = NeuronSteering.from_edits([("add", 3, n, 30.0) for n in range(40)], scope="answer")
    settings = {"sampling": Sampling(0.7, seed=3), "out": tmp_path / "p", **SHORT}
    judge = ParserJudge(FRAMEWORK)
    steered = judged_profile(organism, judge, edition, ["power"], steering=steering, **settings)
    assert steered.readout["steering"]["scope"] == "answer"
    assert steered.readout["steering"]["dose"] == 1
    assert steered.readout["sampling"] == {"temperature": 0.7, "top_k": None, "top_p": None, "seed": 3}
    assert steered.outcomes["failed"] == 3  # it broke the language, and that counts
    settings["out"] = tmp_path / "q"
    as_it_is = judged_profile(organism, judge, edition, ["power"], **settings)
    settings["out"] = tmp_path / "r"
    at_0 = judged_profile(organism, judge, edition, ["power"], steering=steering.at(0), **settings)
    assert [row["answer"] for row in at_0.answers] == [row["answer"] for row in as_it_is.answers]
    assert as_it_is.readout["steering"] is None


def test_a_second_framework_without_a_circle(organism):
    foundations = load_valueinsight("moral_foundations")
    judge = FunctionJudge(lambda text: 0.5, "half")
    profile = judged_profile(organism, judge, foundations, ["care", "binding"], situations=2, max_new_tokens=4)
    assert (profile.values, profile.framework) == (("care", "binding"), "moral_foundations")
    assert profile.readout["circle"] == []


def test_bad_input(organism, edition):
    for error, settings in (
        (UnknownNameError, {"values": ["courage"]}), (InvalidInputError, {"values": []}),
        (InvalidInputError, {"values": ["power", "PO"]}), (InvalidInputError, {"values": ["power"], "voices": {}}),
        (InvalidInputError, {"values": ["power"], "situations": 0}),
        (DatasetError, {"values": ["power"], "situations": 10_000}),
    ):  # fmt: skip
        with pytest.raises(error):
            ask_situations(organism, edition, **settings)
    role = role_of(edition.roles[0])
    with pytest.raises(InvalidInputError, match="share an id"):
        ask_situations(organism, edition, ["power"], [role, role])


def test_movement_is_paired_by_answer(organism, edition):
    stances = iter([0.0, 1.0, -1.0, 0.5, 1.0, 1.0])
    judge = FunctionJudge(lambda text: next(stances), "stub")
    base, moved = (judged_profile(organism, judge, edition, ["power"], situations=3, max_new_tokens=2) for _ in "ab")
    found = movement(moved, base)
    assert found.scores[0, 0] == pytest.approx((0.5 + 0 + 2) / 3)
    cores = [row["core"] for row in base.answers]
    assert (found.low[0, 0], found.high[0, 0]) == mean_interval([0.5, 0.0, 2.0], cores)
    other = judged_profile(
        organism, FunctionJudge(lambda text: 0, "x"), edition, ["power"], situations=2, max_new_tokens=2
    )
    with pytest.raises(InvalidInputError, match="same voices and situations"):
        movement(moved, other)


@pytest.mark.slow
def test_portraits_and_parsed_text_see_the_same_people(organism, edition):
    """Held-out roles, items that the organism knows: two readouts that share nothing but the person who answers."""
    roles = [role_of(row) for row in edition.roles if row["split"] == "test"][:8]
    portraits = measure(organism, voices=roles, split="locate", pairs=3)
    judge = ParserJudge(FRAMEWORK)
    text = judged_profile(organism, judge, edition, portraits.values, roles, situations=4, max_new_tokens=64)
    found = profile_agreement(portraits, text)
    assert (found.voices, found.values) == (8, 10)
    assert found.pearson >= 0.8, found
    assert found.low > 0.7
    shuffled = profile_agreement(replace(portraits, voices=portraits.voices[::-1]), text)
    assert shuffled.pearson < 0.4  # it is these people, and not what all have in common


def test_the_agreement_of_profiles_by_hand(organism):
    def profile(scores):
        scores = np.array(scores, dtype=np.float64)
        shape = scores.shape
        voices = tuple(f"v{n}" for n in range(shape[0]))
        none = np.zeros(shape)
        outcomes = {"answered": 1, "refused": 0, "failed": 0}
        return ValueProfile(
            {}, "schwartz", voices, ("a", "b", "c"), scores, none, none, none.astype(np.int64), outcomes
        )

    x = np.random.default_rng(0).normal(size=(6, 3))
    shifted = 2 * x + np.arange(6)[:, None]
    found = profile_agreement(profile(x), profile(shifted))
    assert found.pearson == pytest.approx(1)  # a voice's yes-saying is no agreement and no disagreement
    assert found.as_they_are == pytest.approx(np.corrcoef(x.ravel(), shifted.ravel())[0, 1])
    y = x.copy()
    y[2, 1] = np.nan
    other = np.random.default_rng(1).normal(size=(6, 3))
    found = profile_agreement(profile(y), profile(other))
    kept = np.ones((6, 3), dtype=bool)
    kept[2, 1] = False
    centred = [np.where(kept, t, np.nan) - np.nanmean(np.where(kept, t, np.nan), 1, keepdims=True) for t in (y, other)]
    assert found.pearson == pytest.approx(np.corrcoef(centred[0][kept], centred[1][kept])[0, 1])
    assert found.low < found.pearson < found.high
    with pytest.raises(InvalidInputError, match="two voices"):
        profile_agreement(profile(x), profile(x[:1]))
