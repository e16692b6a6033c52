"""The evaluation recipe on organisms whose answers are known: a perfect one, and ones with a known fault."""

from types import SimpleNamespace

import numpy as np
import pytest

from nnvalue.dataset import role_of, voice
from nnvalue.organism import causal_model, named_scores
from nnvalue.values import POLES
from recipes import evaluate_organism
from recipes.evaluate_organism import (
    effect_agreement,
    option_mass,
    portrait_scores,
    portraits_of,
    profile_recovery,
    total_effects,
)

MODEL = causal_model()
DIRECT = np.eye(len(MODEL.values)) + MODEL.matrix()


@pytest.fixture(scope="module")
def roles(edition):
    return [role_of(row) for row in edition.roles if row["split"] == "test"][:12]


@pytest.fixture
def oracle(edition, roles, monkeypatch):
    """Answers of the causal model itself; `fault` changes the scores, the keying or the mass on the options."""
    fault = SimpleNamespace(scores=lambda scores, described: scores, keying=1, mass=1.0)
    described = {row["text"]: (row["value"], row["pole"]) for row in edition.descriptions if row["split"] == "test"} | {
        None: None
    }
    speakers = {voice(role, text): (role, at) for role in roles for text, at in described.items()}

    def shares(subject, system, asked):
        role, set_to = speakers[system]
        scores = fault.scores(named_scores(role.id, role.levels, set_to), (role, set_to))
        found = []
        for row, form in asked:
            keying = 1 if row["keying"] == "positive" else fault.keying * -1
            score = scores[row["value"]]
            if form.name == "rating":
                of_likeness = MODEL.answers.ratings(score, keying)
            else:
                of_likeness = (1 - MODEL.answers.says_like_me(score, keying), MODEL.answers.says_like_me(score, keying))
            options = dict(zip(sorted(form.scores), of_likeness, strict=True))
            found.append(fault.mass * np.array([options[likeness] for likeness in form.scores]))
        return found

    monkeypatch.setattr(evaluate_organism, "_shares", shares)
    return fault


@pytest.mark.parametrize("form", ["rating", "choice"])
def test_a_perfect_organism_reaches_its_ceiling(oracle, edition, roles, form):
    found = profile_recovery(None, roles, portraits_of(edition, "test", 1), form, seed=0)
    assert found["r"] == pytest.approx(found["all_that_is_true"], abs=1e-6)
    assert found["attributes_alone"] < found["all_that_is_told"] < found["all_that_is_true"]
    assert found["above_attributes"][0] > 0
    assert found["interval"][0] <= found["r"] <= found["interval"][1]


def test_of_one_that_overlooks_the_keying_nothing_is_read(oracle, edition, roles):
    """Likings of portraits as such cancel out over the two keyings."""
    oracle.keying = -1
    systems = [voice(role) for role in roles]
    assert np.allclose(portrait_scores(None, systems, portraits_of(edition, "test", 1)), 0)


def test_total_effects_of_a_perfect_organism_are_those_of_the_model(oracle, edition, roles):
    measured = total_effects(None, edition, roles, portraits_of(edition, "test", 1))
    assert np.allclose(measured, evaluate_organism.perfect_effects(roles))
    found = effect_agreement(measured, seed=0)
    assert found["off_diagonal"]["r"] > 0.99
    assert found["indirect"]["r"] > 0.97
    assert (found["all_cells"]["cells"], found["off_diagonal"]["cells"]) == (100, 90)
    assert 0.9 < found["off_diagonal"]["slope"] < 1  # the scale has ends


def test_one_in_which_effects_do_not_travel_is_told_apart(oracle, edition, roles):
    """It knows I + B only: off the diagonal still .9, but nothing on the cells that are reached through others."""

    def direct_only(scores, speaker):
        role, set_to = speaker
        if set_to is None:
            return scores
        base = np.array(list(named_scores(role.id, role.levels).values()))
        moved = DIRECT[:, MODEL.values.index(set_to[0])] * MODEL.set * (1 if set_to[1] == POLES[0] else -1)
        own = MODEL.values.index(set_to[0])
        base[own] = 0
        return dict(zip(MODEL.values, base + moved, strict=True))

    oracle.scores = direct_only
    found = effect_agreement(total_effects(None, edition, roles, portraits_of(edition, "test", 1)), seed=0)
    assert found["off_diagonal"]["r"] == pytest.approx(found["off_diagonal"]["direct_alone"], abs=0.03)
    assert abs(found["indirect"]["slope"]) < 0.05


def test_the_mass_on_the_options_is_said(oracle, edition, roles):
    oracle.mass = 0.8
    assert option_mass(None, [voice(roles[0])], portraits_of(edition, "test", 1)) == pytest.approx(0.8)
