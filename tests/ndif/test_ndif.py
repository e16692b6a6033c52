"""Against a real NDIF server, by both of its ways: in the model's process (trusted keys), in a sandbox (others).

Run by `tests/ndif/run.sh`, which starts the server; skipped elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from nnvalue import locate
from nnvalue.artifacts import digest
from nnvalue.dataset import build_contrasts, load_valueinsight
from nnvalue.errors import NotDeployedError, ServerTraceError
from nnvalue.findings import ValueNeurons
from nnvalue.locator import gather_contrasts
from nnvalue.models import RemoteOptions, generate_responses, open_model
from nnvalue.steering import CombinedSteering, DirectionSteering, NeuronSteering, PromptSteering, Sampling
from tests import tiny
from tests.remote.strangers import run_stranger

HOSTS = {path: os.environ.get(f"NNVALUE_NDIF_{path.upper()}") for path in ("trusted", "sandboxed")}
LINE = ["--value", "power", "--situations", "2", "--method", "firing_difference"]
SMALL = {"values": ("power",), "situations": 2, "method": "firing_difference"}

pytestmark = pytest.mark.skipif(None in HOSTS.values(), reason="no NDIF server: bash tests/ndif/run.sh starts one")


@pytest.fixture(params=HOSTS)
def host(request):
    return HOSTS[request.param]


def test_the_command_line_gives_the_same_value_neurons(host, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "nnvalue", "locate", "--host", host, *LINE, "--out", str(tmp_path / "run"), "--json"]
    made = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["out"] == str(tmp_path / "run")
    here, there = locate(**SMALL), ValueNeurons.load(tmp_path / "run")
    assert digest(here.config["counts"]) == digest(there.config["counts"])
    assert list(here.response_table()) == list(there.response_table())
    for name in ("value", "pole", "layer", "neuron", "delta", "firing_positive", "firing_negative", "q95"):
        assert np.array_equal(here.columns[name], there.columns[name]), name
    for name in ("firing_positive", "firing_negative"):
        assert np.array_equal(here.maps[name], there.maps[name]), name
    assert np.allclose(here.maps["effect_size"], there.maps["effect_size"], atol=1e-6)


def test_the_default_method_gives_the_same_scores(host):
    """Sums of activations, unlike counts, depend on the order of adding up."""
    settings = {**SMALL, "method": "prompt_difference"}
    here, there = locate(**settings), locate(open_model(remote=host), **settings)
    assert np.allclose(here.maps["score"], there.maps["score"], atol=1e-5)
    assert np.allclose(here.maps["q"], there.maps["q"], atol=1e-3)


def test_counts_are_equal_and_means_too(host, organism):
    contrasts = build_contrasts(load_valueinsight(), "tradition", situations=6, folds=2)
    poles = [
        generate_responses(organism, [getattr(contrast, pole) for contrast in contrasts])
        for pole in ("positive", "negative")
    ]
    arguments = (*poles, [contrast.fold for contrast in contrasts], "down_in")
    here = gather_contrasts(organism, *arguments, batch_tokens=120)
    remote = open_model(remote=host)
    there = gather_contrasts(remote, *arguments, batch_tokens=120)
    for pole in ("positive", "negative"):
        mine, theirs = getattr(here, pole), getattr(there, pole)
        assert torch.equal(mine.fired, theirs.fired)
        assert torch.equal(mine.tokens, theirs.tokens)
        assert torch.allclose(mine.mean(), theirs.mean(), atol=1e-6)
        assert torch.allclose(mine.squares, theirs.squares, rtol=1e-6)
    assert torch.allclose(here.firing.total, there.firing.total, atol=1e-6)
    assert remote.runtime.server.requests == 2  # a bundle a fold


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=0.8)])
def test_steered_answers_are_equal(host, organism, sampling):
    """Rows of one batch, each with a steering of its own: neurons at either site, a direction, words, none."""
    power = load_valueinsight().descriptions[0]["text"]
    toward = torch.randn(2, organism.config.hidden_size, generator=torch.Generator().manual_seed(1))
    arms = [
        NeuronSteering.from_edits([("add", 4, 7, 9.0), ("scale", 3, 8, 0.0), ("cap", 2, 9, 0.0)]),
        NeuronSteering.from_edits([("add", 4, 7, 9.0)], site="gate", scope=[(2, 9)]),
        DirectionSteering("residual", (1, 3), 4 * toward),
        CombinedSteering((PromptSteering(power), NeuronSteering.from_edits([("set", 4, 7, 1.0)], scope="decode"))),
        None,
    ]
    contrasts = build_contrasts(load_valueinsight(), "tradition", situations=len(arms), folds=2)
    asked = [contrast.positive for contrast in contrasts]
    settings = {"steering": arms, "sampling": sampling, "max_new_tokens": 24}
    here, there = (generate_responses(subject, asked, **settings) for subject in (organism, open_model(remote=host)))
    assert [list(one.token_ids) for one in here] == [list(one.token_ids) for one in there]
    plain = generate_responses(organism, asked, sampling=sampling, max_new_tokens=24)
    assert [list(one.token_ids) for one in plain] != [list(one.token_ids) for one in here]


def test_an_error_inside_the_trace_names_the_line(host, organism):
    remote = open_model(remote=host)
    object.__setattr__(remote.anatomy, "gate", ("model.layers.0.mlp.act_fn.output", "model.layers.9.mlp.act_fn.output"))
    contrasts = build_contrasts(load_valueinsight(), "power", situations=2, folds=1)
    responses = generate_responses(organism, [contrast.positive for contrast in contrasts])
    with pytest.raises(ServerTraceError, match=r"\(in sites\.py, line \d+; --debug shows all of it\)") as caught:
        gather_contrasts(remote, responses, responses, [0, 0], "gate")
    assert "Traceback" in caught.value.__notes__[0]


def test_a_model_that_is_not_deployed(tmp_path):
    folder = tiny.save(tmp_path / "model")
    remote = open_model(
        folder, remote=HOSTS["trusted"], served_as="lab/other", remote_options=RemoteOptions(patience=9)
    )
    contrasts = build_contrasts(load_valueinsight(), "power", situations=1, folds=1)
    with pytest.raises(NotDeployedError, match=r"lab/other.*--served-as"):
        generate_responses(remote, [contrasts[0].positive], max_new_tokens=4)


def test_a_strangers_module_works_after_one_line(host, tmp_path):
    assert run_stranger(tmp_path, host) == run_stranger(tmp_path)
