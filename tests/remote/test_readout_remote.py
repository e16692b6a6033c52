"""Readouts of scales on the stand-in server: the numbers of a local run, and little of it travels."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from nnvalue import load_valueinsight, measure, open_model
from nnvalue.artifacts import Journal
from nnvalue.cli.main import main
from nnvalue.dataset import role_of
from nnvalue.models import option_log_probabilities
from nnvalue.prompts import Prompt
from nnvalue.steering import CombinedSteering, NeuronSteering, value_prompt
from nnvalue.values.forms import forms
from tests.readout.questionnaires import item_file

CLOSE = 1e-4  # the server may use several threads


@pytest.fixture(scope="module")
def roles():
    return [role_of(row) for row in load_valueinsight().roles][:2]


@pytest.fixture(scope="module")
def steering():
    edits = NeuronSteering.from_edits([("add", layer, n, 6.0) for layer in (1, 3) for n in range(30)])
    return CombinedSteering((value_prompt(load_valueinsight(), "power"), edits))


def assert_same(there, here):
    for name in ("scores", "low", "high", "n"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=CLOSE)
    for name, part in here.parts.items():
        np.testing.assert_allclose(there.parts[name], part, atol=CLOSE)
    assert there.outcomes == here.outcomes
    assert there.voices == here.voices
    assert [row["item"] for row in there.answers] == [row["item"] for row in here.answers]


def test_a_profile_is_that_of_a_local_run(organism, remote, server, roles):
    settings = {"voices": roles, "pairs": 2, "batch_tokens": 900}
    before = len(server.requests())
    there = measure(remote, **settings)
    assert len(server.requests()) == before + 1  # many batches in one job
    assert_same(there, measure(organism, **settings))
    assert there.readout["model"]["runs_on"]["host"] == server.url
    assert all(value.is_meta for value in remote.model._module.parameters())


def test_so_is_a_steered_one(organism, remote, steering):
    settings = {"pairs": 1, "split": "locate", "steering": steering}
    here = measure(organism, **settings)
    assert_same(measure(remote, **settings), here)
    assert_same(measure(open_model(remote="dry-run"), **settings), here)
    assert abs(here.scores - measure(organism, pairs=1, split="locate").scores).max() > 0.1


def test_so_is_a_published_scale(organism, remote, tmp_path):
    instrument = f"svs57={item_file(tmp_path, 'svs57', leave_out=(3,))}"
    assert_same(measure(remote, instrument), measure(organism, instrument))


def test_the_vocabulary_stays_there(remote, server, monkeypatch):
    """What is delivered are a few numbers a row; the logits of one row alone would be 8 kB."""
    delivered = []
    result = type(remote.runtime.server).result

    def weighed(self, data):
        values = result(self, data)
        tensors = [part for value in values.values() if isinstance(value, list) for part in value]
        delivered.extend(part.shape for part in tensors if isinstance(part, torch.Tensor))
        return values

    monkeypatch.setattr(type(remote.runtime.server), "result", weighed)
    form = forms("rating")[0]
    prompts = [Prompt(f"p{n}", None, form.ask(f"This person sings {n} songs.")) for n in range(6)]
    option_log_probabilities(remote, prompts, form.options, batch_tokens=150)
    assert delivered
    assert {shape[1] for shape in delivered} == {6}
    assert sum(shape[0] for shape in delivered) <= 12  # nnsight delivers a batch under both of its names


def test_a_stopped_run_goes_on_there(organism, remote, tmp_path):
    """The first batch comes from a local journal, the rest from the server."""
    form = forms("rating")[0]
    prompts = [Prompt(f"p{n}", None, form.ask(f"This person sings {n} songs.")) for n in range(6)]
    whole = option_log_probabilities(organism, prompts, form.options, batch_tokens=100)

    def stop(stage, done, total):
        if done >= 2:
            raise KeyboardInterrupt

    settings = {"batch_tokens": 100}
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "w", {}) as journal:
        option_log_probabilities(organism, prompts, form.options, journal=journal, progress=stop, **settings)
    with Journal(tmp_path / "w", {}) as journal:
        assert len(list(journal.folder.glob("*.safetensors"))) == 1
        found = option_log_probabilities(remote, prompts, form.options, journal=journal, **settings)
    torch.testing.assert_close(found, whole, atol=CLOSE, rtol=0)


def test_the_command_gives_there_what_it_gives_here(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnvalue.cli.measure.quiet_libraries", lambda: None)

    def run(*where):
        line = ["nnvalue", "measure", "--describe", "tradition", "--pairs", "1", "--split", "locate", "--json", *where]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return json.loads(captured.out)

    here, there = run(), run("--host", server.url)
    for arm in ("unsteered", "steered"):
        for value, cell in here[arm]["voices"]["neutral"].items():
            assert there[arm]["voices"]["neutral"][value]["score"] == pytest.approx(cell["score"], abs=CLOSE)
    assert there["difference"]["neutral"]["tradition"]["scores"] > 0.5
    assert there["out"] != here["out"]
