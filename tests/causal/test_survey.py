"""A survey against the organism's known people, against `measure`, and against scores worked by hand."""

import numpy as np
import pyarrow.parquet
import pytest

from nnvalue import measure
from nnvalue.artifacts import MANIFEST
from nnvalue.causal import Setting, Survey, SurveyItem, check_table, prompt_settings, survey, unsteered
from nnvalue.causal.settings import checked_settings
from nnvalue.dataset import generate_roles, role_of, voice
from nnvalue.errors import ArtifactError, DatasetError, InvalidInputError, ModelError, UnknownNameError
from nnvalue.organism import named_scores
from nnvalue.readout import read_questionnaire
from nnvalue.readout.questionnaire import portrait_questionnaire
from nnvalue.steering import NeuronSteering
from tests import tiny

ROLES = 6


@pytest.fixture(scope="module")
def roles(edition):
    return [role_of(row) for row in edition.roles if row["split"] == "train"][:ROLES]


@pytest.fixture(scope="module")
def settings(edition):
    edits = [("add", layer, n, 2.0) for layer in (2, 4) for n in range(40)]
    neurons = Setting.of("some neurons", NeuronSteering.from_edits(edits, dose=3.0))
    return [*prompt_settings(edition, ("power", "tradition")), neurons]


@pytest.fixture(scope="module")
def done(organism, edition, roles, settings):
    return survey(organism, settings, roles=roles, dataset=edition, split="locate", pairs=1)


def test_known_people_are_recovered_in_every_prompt_setting(done, roles):
    """An order, a keying, a setting or a role in another's place ends it; so does centring."""
    true = np.array(
        [
            [
                [named_scores(role.id, role.levels, (one.value, one.pole) if one.value else None)[value]
                 for value in done.values]
                for role in roles
            ]
            for one in done.settings[:5]
        ]
    )  # fmt: skip
    found = done.value_scores()[:5]
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] >= 0.9
    for place, one in enumerate(done.settings[1:5], start=1):
        column = done.values.index(one.value)
        assert (found[place, :, column] * one.target > 1).all()
    assert done.failed == 0
    assert done.mass[:5].min() > 0.98


def test_scores_are_those_of_measure(done, organism, edition, roles, settings):
    """The same answers by another road: one voice and steering at a time."""
    asked = portrait_questionnaire(edition, split="locate", pairs=1)
    for place, (role, setting) in {0: (2, None), 5: (4, settings[-1].steering)}.items():
        found = measure(organism, asked, voices={"one": voice(roles[role])}, steering=setting)
        rows = {(row["item"], row["order"]): row["score"] for row in found.answers}
        expected = [[rows[item.question, order] for order in done.orders] for item in done.items]
        np.testing.assert_allclose(done.scores[place, role], expected, atol=2e-4)


def test_the_same_is_asked_of_everybody_and_a_role_gets_one_description(done, roles, settings):
    assert done.scores.shape == (6, ROLES, 20, 2)
    assert done.settings[0].name == "unsteered"
    said = [settings[0].system(role.id, role) for role in roles]
    for text, role in zip(said, roles, strict=True):
        assert text.startswith("You are the following person")
        assert role.text in text
        assert sum(one in text for one in settings[0].descriptions) == 1
    assert len({next(one for one in settings[0].descriptions if one in text) for text in said}) > 1
    assert len(settings[0].descriptions) == len(settings[1].descriptions) > 5


def by_hand():
    """One role, two settings, four items of one value and two of another; 1–6."""
    items = (
        SurveyItem("a+", "joy", 1, "a"), SurveyItem("a−", "joy", -1, "a"), SurveyItem("b+", "joy", 1, "b"),
        SurveyItem("b−", "joy", -1, "b"), SurveyItem("c+", "awe", 1, "c"), SurveyItem("d+", "awe", 1, "d"),
    )  # fmt: skip
    answers = np.array([[[6, 2, 5, 3, 4, 6]], [[6, 4, 6, 4, 2, np.nan]]], dtype=np.float32)
    scores = np.stack([answers - 0.5, answers + 0.5], -1)
    facts = {"scale": [1, 6], "protocol": {"name": "options"}, "model": {"name": "m"}, "framework": "f"}
    return Survey(
        facts, ("joy", "awe"), (unsteered(), Setting("s", kind="prompt")), ("r",), items, ("up", "down"), scores,
        np.ones_like(scores),
    )  # fmt: skip


def test_yes_saying_falls_out_of_value_scores():
    """Half of 5.5 − 2.5 and of 6 − 4; awe has one keying only, so its mean is told from the middle, 3.5."""
    found = by_hand()
    np.testing.assert_allclose(found.value_scores()[:, 0], [[1.5, 1.5], [1.0, -1.5]])
    assert found.one_sided() == ["awe"]
    np.testing.assert_allclose(found.value_scores(["a"])[:, 0, 0], [2.0, 1.0])
    assert np.isnan(found.value_scores(["a"])[:, 0, 1]).all()
    shifted = by_hand()
    shifted.scores[..., :4, :] += 0.5  # says yes more
    np.testing.assert_allclose(shifted.value_scores()[..., 0], found.value_scores()[..., 0])
    np.testing.assert_allclose(found.yes_saying()[:, 0], [0.5, 1.5])  # (5.5 + 2.5) / 2 and (6 + 4) / 2, above 3.5
    np.testing.assert_allclose(shifted.yes_saying(), found.yes_saying() + 0.5)


def test_an_answer_counts_if_it_does_so_in_every_order():
    found = by_hand()
    found.scores[0, 0, 0, 1] = np.nan
    assert found.failed == 3
    np.testing.assert_allclose(found.value_scores()[0, 0, 0], (5 - 2.5) / 2)


def test_a_cell_without_any_answer_is_refused_by_name():
    found = by_hand()
    found.scores[1, 0, 4:] = np.nan
    many = Survey(
        found.facts, found.values, found.settings, tuple(f"r{n}" for n in range(12)), found.items, found.orders,
        np.repeat(found.scores, 12, axis=1), np.repeat(found.mass, 12, axis=1),
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="three values at least"):
        check_table(many.table())


def test_the_table_knows_what_every_setting_is_for(done):
    table = done.table()
    assert (len(table.scores), len(table.contexts), table.base) == (6 * ROLES, 6, 0)
    told = [(one.value, one.side, one.kind) for one in table.contexts]
    assert told == [
        (None, 0, "none"), ("power", 1, "prompt"), ("power", -1, "prompt"), ("tradition", 1, "prompt"),
        ("tradition", -1, "prompt"), (None, 0, "neurons"),
    ]  # fmt: skip
    np.testing.assert_array_equal(table.scores[8], done.value_scores()[1, 2])


def test_a_saved_survey_is_the_same(done, tmp_path):
    done.save(tmp_path / "s")
    found = Survey.load(tmp_path / "s")
    np.testing.assert_array_equal(found.scores, done.scores)
    np.testing.assert_array_equal(found.mass, done.mass)
    assert (found.items, found.roles, found.orders) == (done.items, done.roles, done.orders)
    assert [one.facts()["name"] for one in found.settings] == [one.name for one in done.settings]
    assert [one.target for one in found.settings] == [one.target for one in done.settings]
    assert [one.facts() for one in found.settings] == [one.facts() for one in done.settings]  # and they steer again
    rows = pyarrow.parquet.read_table(tmp_path / "s" / "scores.parquet").to_pandas()
    assert list(rows.columns) == [
        "setting", "role", "value", "item", "keying", "instrument", "unit", "order", "score", "mass",
    ]  # fmt: skip
    row = rows[(rows["setting"] == done.settings[3].name) & (rows["role"] == done.roles[1])].iloc[7]
    assert (row["item"], row["order"]) == (done.items[3].question, done.orders[1])
    assert row["score"] == pytest.approx(done.scores[3, 1, 3, 1])
    (tmp_path / "s" / "survey.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        Survey.load(tmp_path / "s")


def test_a_stopped_run_goes_on_and_a_finished_one_is_found(organism, edition, roles, tmp_path, monkeypatch):
    """What was asked before the stop is not asked again, and the result is that of one go."""
    monkeypatch.setattr("nnvalue.causal.surveying._BLOCK", {False: 50, True: 50})
    how = {"roles": roles[:3], "dataset": edition, "split": "locate", "pairs": 1, "out": tmp_path / "s"}
    settings = prompt_settings(edition, ("power",), ("positive",))
    seen = []

    def stop(stage, done, total):
        seen.append((stage, done, total))
        if done > 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(organism, settings, progress=stop, **how)
    assert seen[0] == ("surveying", 0, 240)
    assert len(list((tmp_path / "s.work").glob("block-*"))) == 1
    asked = []
    monkeypatch.setattr(
        "nnvalue.causal.surveying.option_log_probabilities",
        lambda subject, prompts, *rest, **more: asked.append(len(prompts)) or original(subject, prompts, *rest, **more),
    )
    from nnvalue.models import option_log_probabilities as original

    found = survey(organism, settings, **how)
    assert asked == [80, 80]
    assert not (tmp_path / "s.work").exists()
    whole = survey(organism, settings, **{**how, "out": None})
    np.testing.assert_allclose(found.scores, whole.scores, atol=1e-5)
    before = (tmp_path / "s" / MANIFEST).stat().st_mtime_ns
    asked.clear()
    again = survey(organism, settings, **how)
    assert not asked
    np.testing.assert_array_equal(again.scores, found.scores)
    assert (tmp_path / "s" / MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match="other settings"):
        survey(organism, settings, **{**how, "pairs": 2})


def test_several_instruments_are_asked_as_one(organism, edition, tmp_path):
    """Items keep where they are from, and units of two instruments are never one."""
    file = tmp_path / "mine.csv"
    file.write_text("number,text\n" + "".join(f"{n},Somebody who likes the number {n}.\n" for n in range(1, 22)))
    portraits = portrait_questionnaire(edition, split="locate", pairs=1)
    both = [portraits, f"pvq21={file}"]
    found = survey(organism, [], roles={"nobody": None}, instrument=both, dataset=edition)
    assert {item.instrument for item in found.items} == {"portraits", "pvq21"}
    assert len(found.items) == 20 + 21
    ours, *theirs = found.units()["power"]
    assert ours.startswith("portraits power ")
    assert theirs == ["pvq21 2", "pvq21 17"]
    assert found.scores.shape[2:] == (41, 2)
    with pytest.raises(InvalidInputError, match="of one scale are asked together"):
        survey(organism, [], instrument=[portraits, portrait_questionnaire(edition, form="choice")], dataset=edition)
    other = read_questionnaire("portraits", dataset="moral_foundations", pairs=1)
    with pytest.raises(InvalidInputError, match="of one framework are asked together"):
        survey(organism, [], instrument=[portraits, other], dataset=edition)
    with pytest.raises(InvalidInputError, match="id of its own"):
        survey(organism, [], instrument=[portraits, portraits], dataset=edition)


def test_anybody_can_be_asked(organism, edition):
    people = {"nobody": None, "words": "Somebody who lives for the stage.", "made": generate_roles(1, seed=4)[0]}
    found = survey(organism, [], roles=people, dataset=edition, split="locate", pairs=1)
    assert found.roles == ("nobody", "words", "made")
    assert found.facts["roles"]["words"] == "Somebody who lives for the stage."
    assert found.scores.shape == (1, 3, 20, 2)
    assert not np.allclose(found.scores[0, 0], found.scores[0, 2])


def test_settings_are_checked_before_anything_is_asked(organism, edition, roles, llama):
    with pytest.raises(InvalidInputError, match="Two settings are called 'a'"):
        checked_settings([Setting("a"), Setting("a")])
    with pytest.raises(UnknownNameError, match="did you mean power"):
        prompt_settings(edition, ("powr",))
    with pytest.raises(UnknownNameError, match="a group has no description of its own"):
        prompt_settings(edition, ("conservation",))
    with pytest.raises(DatasetError, match="no descriptions of 'power' in its 'nowhere' split"):
        prompt_settings(edition, ("power",), split="nowhere")
    decode = NeuronSteering.from_edits([("add", 1, 1, 1.0)], scope="decode")
    with pytest.raises(InvalidInputError, match="scope 'decode'"):
        survey(organism, [Setting.of("late", decode)], roles=roles, dataset=edition)
    other = NeuronSteering.from_edits([("add", 1, 1, 1.0)], model=llama.identity())
    with pytest.raises(ModelError, match="not in 'nnvalue/organism'"):
        survey(organism, [Setting.of("other", other)], roles=roles, dataset=edition)
    with pytest.raises(UnknownNameError, match="choose from options, yes_no"):
        survey(organism, roles=roles, dataset=edition, protocol="likert")
    with pytest.raises(InvalidInputError, match="nobody to ask"):
        survey(organism, roles={}, dataset=edition)
    with pytest.raises(InvalidInputError, match="share an id"):
        survey(organism, roles=[roles[0], roles[0]], dataset=edition)


def test_a_model_that_says_something_else_fails_and_is_counted(edition, subjects):
    """Tiny random models know no digits: every answer fails, none is made up."""
    with pytest.raises(InvalidInputError, match="does not tell options apart"):
        survey(subjects["llama"], [], roles={"nobody": None}, dataset=edition, pairs=1)
    assert tiny.VOCABULARY == 64
