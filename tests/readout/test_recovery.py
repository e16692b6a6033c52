"""The organism's known people: what is read of them is what they were made with."""

import numpy as np
import pytest

from nnvalue import load_valueinsight, measure
from nnvalue.dataset import role_of
from nnvalue.models import next_token_logits
from nnvalue.models.options import option_tokens
from nnvalue.organism import named_scores
from nnvalue.prompts import Prompt
from nnvalue.readout import difference
from nnvalue.steering import NeuronSteering, value_prompt
from nnvalue.values.forms import forms

ROLES, PAIRS = 8, 2


@pytest.fixture(scope="module")
def named(organism):
    """Named roles' profiles from portraits that the organism knows, and their true scores `[role, value]`."""
    roles = [role_of(row) for row in load_valueinsight().roles if row["split"] == "train"][:ROLES]
    found = measure(organism, voices=roles, split="locate", pairs=PAIRS, batch_tokens=2048)
    true = np.array([[named_scores(role.id, role.levels)[value] for value in found.values] for role in roles])
    return found, true


def r(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_known_profiles_are_recovered(named):
    """Anything turned round on the way (an order, a keying, the scale) or put in another's place ends it."""
    found, true = named
    assert r(found.scores, true - true.mean(axis=1, keepdims=True)) >= 0.9
    for name, part in found.parts.items():
        assert r(part, true - true.mean(axis=1, keepdims=True)) >= 0.8, name
    assert found.outcomes == {"answered": ROLES * 10 * PAIRS * 2 * 2, "refused": 0, "failed": 0}
    assert min(found.readout["option_mass"].values()) > 0.99
    assert max(map(abs, found.readout["yes_saying"].values())) < 0.3
    inside = (found.low <= found.scores) & (found.scores <= found.high)
    assert inside.all()


def test_a_description_moves_its_value(organism):
    edition = load_valueinsight()
    settings = {"model": organism, "split": "locate", "pairs": PAIRS}
    base = measure(**settings)
    for value in ("power", "tradition"):
        steered = measure(**settings, steering=value_prompt(edition, value))
        moved = difference(steered, base)
        place = base.values.index(value)
        assert moved.scores[0].argmax() == place
        assert moved.low[0, place] > 0.5
        assert steered.readout["steering"]["kind"] == "prompt"


def test_edits_act_where_the_answer_is_read_and_are_recorded(organism):
    """A steering that is described and not applied, or applied at another dose than it is described with."""
    steering = NeuronSteering.from_edits([("add", layer, n, 2.0) for layer in (2, 4) for n in range(40)], dose=3.0)
    base = measure(organism, pairs=1)
    steered = measure(organism, pairs=1, steering=steering)
    assert steered.readout["steering"] == steering.describe()
    assert (steered.readout["steering"]["scope"], steered.readout["steering"]["dose"]) == ("answer", 3.0)
    row = steered.answers[7]
    portrait = next(each for each in load_valueinsight().portraits if each["id"] == row["item"])
    form = next(form for form in forms("rating") if form.order == row["order"])
    logits = next_token_logits(organism, [Prompt("p", None, form.ask(portrait["text"]))], steering=steering)
    likely = logits.softmax(-1)[0]
    tokens = option_tokens(organism.tokenizer, [Prompt("p", None, "x")], form.options)[0]
    assert row["shares"] == pytest.approx([float(likely[ids].sum()) for ids in tokens], abs=1e-6)
    assert max(abs(np.subtract(row["shares"], base.answers[7]["shares"]))) > 0.01
    unmoved = measure(organism, pairs=1, steering=steering.at(0))
    assert unmoved.answers == base.answers
