"""The search for the largest harmless dose, against a loss that is known and on the organism."""

import json
import math
from dataclasses import dataclass, replace

import pytest

from nnvalue.dataset import neutral_prompt
from nnvalue.errors import InvalidInputError, NumericalError, UnknownNameError
from nnvalue.models import generate_responses
from nnvalue.prompts import Prompt
from nnvalue.readout import autodose
from nnvalue.readout.autodose import largest_dose, malformed_share
from nnvalue.readout.fluency import measure_fluency, organism_well_formed
from nnvalue.steering import NeuronSteering

ASKED = [Prompt("p", None, "What do you do?")]


@dataclass(frozen=True)
class Pretended:
    dose: float = 1.0

    def at(self, dose):
        return replace(self, dose=dose)

    def describe(self):
        return {"kind": "pretended", "dose": self.dose}


@pytest.fixture
def search(monkeypatch):
    """A search whose loss at each dose is a function's."""

    def run(loss, limit, **settings):
        monkeypatch.setattr(
            autodose, "generate_responses",
            lambda subject, prompts, steering, **_: [0.0 if steering is None else steering.dose],
        )  # fmt: skip
        return largest_dose(None, Pretended(), ASKED, limit, measure=lambda said: loss(said[0]), **settings)

    return run


def test_it_finds_the_place_where_the_loss_meets_the_limit(search):
    for steps in (3, 8):
        found = search(lambda dose: 5 + dose**2, 0.5, most=4, steps=steps)
        root = math.sqrt(0.5)
        assert found.dose <= root < found.dose + found.resolution
        assert found.resolution == 4 / 2**steps
        assert found.loss == pytest.approx(found.dose**2)
        assert found.loss <= 0.5
        assert (found.all_within, found.monotone) == (False, True)
        assert len(found.tried) <= steps + 3
        assert len({row["dose"] for row in found.tried}) == len(found.tried)  # no dose is measured twice
        assert found.steering == {"kind": "pretended", "dose": found.dose}


def test_it_tells_when_even_the_largest_is_harmless(search):
    found = search(lambda dose: 0.1 * dose, 0.5, most=4)
    assert (found.dose, found.all_within, found.resolution) == (4, True, 0)
    assert "Even dose 4" in found.in_words()
    assert len(found.tried) == 3  # 0, the largest, and half of it


def test_dose_0_is_always_allowed(search):
    found = search(lambda dose: 100.0 * (dose > 0), 0.0, most=4, steps=3)
    assert (found.dose, found.loss, found.all_within) == (0, 0, False)
    assert search(lambda dose: dose, 0.0, most=1, steps=2).dose == 0


def test_the_opposite_doses(search):
    found = search(lambda dose: dose**2 if dose < 0 else 99.0 * (dose > 0), 1.0, most=-4, steps=6)
    assert -1 <= found.dose <= -1 + 4 / 2**6
    assert all(row["dose"] <= 0 for row in found.tried)


def test_a_loss_that_is_not_steady_shows(search):
    found = search(lambda dose: 9.0 if dose == 1.5 else max(0.0, dose - 3), 0.0, most=4, steps=4)
    assert found.dose == 3
    assert not found.monotone  # its half, tried at the end, is over the limit
    assert "not rise steadily" in found.in_words()


def test_bad_input(search, organism):
    for bad in ({"limit": -1, "most": 1}, {"limit": math.nan, "most": 1}, {"limit": 1, "most": 0},
                {"limit": 1, "most": math.inf}, {"limit": 1, "most": 1, "steps": 0}):  # fmt: skip
        with pytest.raises(InvalidInputError):
            search(lambda dose: dose, **bad)
    with pytest.raises(NumericalError, match="finite"):
        search(lambda dose: math.nan, 1, most=1)
    with pytest.raises(UnknownNameError, match="repeated_4"):
        largest_dose(organism, Pretended(), ASKED, 1, most=1, measure="repeats")
    with pytest.raises(InvalidInputError):
        largest_dose(organism, Pretended(), [], 1, most=1)


def test_on_the_organism_the_dose_found_is_harmless_and_a_larger_one_is_not(organism, edition):
    rows = [row for row in edition.situations if row["value"] == "power" and row["split"] == "locate"]
    prompts = [neutral_prompt(row) for row in rows[::200]]
    steering = NeuronSteering.from_edits([("add", 3, n, 0.4 * (-1) ** n) for n in range(40)])
    for measure in ("log_perplexity", malformed_share(organism_well_formed)):
        found = largest_dose(organism, steering, prompts, 0.15, most=64, steps=3, measure=measure, max_new_tokens=40)
        assert 0 < found.dose < 64
        assert json.loads(json.dumps(found.as_json()))["dose"] == found.dose
        over = min(row["dose"] for row in found.tried if not row["within"])
        plain, at, beyond = (
            measure_fluency(
                organism, generate_responses(organism, prompts, steering=steering.at(dose), max_new_tokens=40),
                well_formed=organism_well_formed,
            )
            for dose in (0, found.dose, over)
        )  # fmt: skip
        if measure == "log_perplexity":
            assert at.log_perplexity - plain.log_perplexity == pytest.approx(found.loss, abs=1e-6)
            assert beyond.log_perplexity - plain.log_perplexity > 0.15
        else:
            assert plain.well_formed[0] - at.well_formed[0] == pytest.approx(found.loss)
            assert plain.well_formed[0] - beyond.well_formed[0] > 0.15
