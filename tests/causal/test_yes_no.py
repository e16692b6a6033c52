"""The paper's way of asking: the rule against cases, the judge behind it, and a survey made of it."""

import numpy as np
import pytest

from nnvalue.causal import YesNo, read_answer, survey
from nnvalue.dataset import import_layout, load_valueinsight, role_of
from nnvalue.llm import CompletionClient, FromFunction
from nnvalue.models import Response
from nnvalue.readout import read_questionnaire
from tests.dataset.foreign import valuebench

REPLIES = {
    "Thought: I like it.\nAnswer: yes": "yes",
    "I like it. ANSWER: **Yes**, always": "yes",
    "Answer: Sure.": "yes",
    " no": "no",
    "Thought: the answer: is hard.\nAnswer: No!": "no",
    "Answer: Not at all": None,
    "Answer: none of these": None,
    "Answer: nobody knows": None,
    "Answer: yesterday": None,
    "Answer: I cannot say": "unsure",
    "Answer: unsure": "unsure",
    "Answer: I am unable to tell": "unsure",
    "": None,
    "Perhaps.": None,
}


@pytest.mark.parametrize(("text", "expected"), REPLIES.items())
def test_replies_are_read_by_their_last_answer(text, expected):
    assert read_answer(text) == expected


def test_the_published_rule_takes_words_that_begin_with_no_for_a_no():
    for text in ("Answer: Not at all", "Answer: none of these", "Answer: nobody knows"):
        assert read_answer(text, as_published=True) == "no"
    assert read_answer("Answer: yesterday", as_published=True) == "yes"
    assert read_answer("Perhaps.", as_published=True) is None


@pytest.fixture
def asked(monkeypatch):
    """What a model is shown, and what it says: by turns yes, no, something else."""
    shown = []

    def reply(subject, prompts, **settings):
        shown.extend(prompts)
        said = ("Fine. Answer: yes", "Fine. Answer: no", "Well, well.")
        return [Response(one.id, (1,), (2,), said[n % 3], True) for n, one in enumerate(prompts)]

    monkeypatch.setattr("nnvalue.causal.yes_no.generate_responses", reply)
    return shown


def test_a_survey_of_yes_and_no(organism, edition, asked, tmp_path):
    """Closed questions are put where there are some, and agreement decides what yes says of a value."""
    import_layout(valuebench(tmp_path / "vb").parents[1], "valuebench", tmp_path / "items")
    items = read_questionnaire(tmp_path / "items")
    people = {"ann": "Ann, who is never late.", "nobody": None}
    found = survey(organism, [], roles=people, instrument=items, dataset=edition, protocol="yes_no")
    assert found.scale == (-1, 1)
    assert found.orders == ("",)
    put = [one.user for one in asked]
    assert sum("Should I keep lists, of all kinds?" in one for one in put) == 2
    assert asked[0].system.endswith("Ann, who is never late.")
    assert asked[-1].system is None
    assert all(one.count("Answer: ") >= 2 and one.endswith("Thought:") for one in put)
    assert {tuple(row) for row in found.scores[0, :, :, 0].round().tolist()} <= {
        tuple(row) for row in found.scores[0, :, :, 0].tolist()
    }
    assert set(np.unique(found.scores)) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(found.mass, np.abs(found.scores))
    assert found.failed == 0
    assert found.facts["protocol"]["name"] == "yes_no"


def test_portraits_are_put_as_themselves(organism, edition, asked):
    role = role_of(edition.roles[0])
    survey(organism, [], roles=[role], dataset=edition, split="locate", pairs=1, protocol=YesNo())
    assert len(asked) == 20
    assert all("Is this person like you?" in one.user and role.text in one.system for one in asked)


def test_a_judge_reads_what_the_rule_cannot(organism, edition, asked, tmp_path):
    """Its answers are read by the same rule, it is asked nothing twice, and a failure is unsure."""
    seen = []

    def judge(request):
        seen.append(request.messages[-1][1])
        if len(seen) == 2:
            raise RuntimeError("out of order")
        return "Yes."

    role = role_of(edition.roles[0])
    with CompletionClient(FromFunction(judge, "mine"), tmp_path / "log.jsonl") as client:
        found = survey(
            organism, [], roles=[role], dataset=edition, split="locate", pairs=1, protocol=YesNo(client)
        )  # fmt: skip
    assert len(seen) == 6  # a third of twenty, rounded down
    assert "Well, well." in seen[0]
    scores = found.scores[0, 0, :, 0]
    assert (scores[2::3] == [1, 0, 1, 1, 1, 1]).all()
    assert (scores[0::3] == 1).all()
    assert (scores[1::3] == -1).all()
    assert found.facts["protocol"]["judge"] == {"function": "mine"}


def test_the_organism_is_asked_for_real_and_what_cannot_be_read_is_unsure(organism, edition):
    """It has not learned this frame: the run ends all the same, and nothing is made up."""
    found = survey(
        organism, [], roles={"nobody": None}, dataset=load_valueinsight(), split="locate", pairs=1,
        protocol=YesNo(max_new_tokens=4),
    )  # fmt: skip
    assert set(np.unique(found.scores)) <= {-1.0, 0.0, 1.0}
    assert found.mass.min() >= 0
