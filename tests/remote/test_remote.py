"""The remote path against the local one. What runs on the server has never heard of nnvalue."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from click.testing import CliRunner

from nnvalue import locate
from nnvalue.artifacts import Journal, digest
from nnvalue.cli.main import cli
from nnvalue.dataset import build_contrasts
from nnvalue.errors import ArtifactError, InvalidInputError, ModelError
from nnvalue.findings import ValueNeurons
from nnvalue.locator import Reading, exact_quantiles, gather_contrasts, gather_readings
from nnvalue.locator.collect import ContrastBatches
from nnvalue.models import RemoteOptions, generate_responses, open_model
from nnvalue.models.jobs import HandedInError, HandIn
from tests import tiny
from tests.remote.conftest import NAME, SENTINEL
from tests.remote.strangers import run_stranger

SMALL = {"values": ("power", "benevolence"), "situations": 6, "folds": 3, "null": False}
LAYERS, WIDTH = 5, 512
ROOT = Path(__file__).parents[2]


def assert_equal(mine: ValueNeurons, theirs: ValueNeurons) -> None:
    """Rankings and counts identical, means too where one thread computes the same batches."""
    assert mine.values == theirs.values
    for name in mine.columns:
        assert np.array_equal(mine.columns[name], theirs.columns[name]), name
    for name in mine.maps:
        assert np.array_equal(mine.maps[name], theirs.maps[name]), name
    assert digest(mine.config["counts"]) == digest(theirs.config["counts"])
    assert list(mine.response_table()) == list(theirs.response_table())


@pytest.fixture(scope="module")
def local():
    return locate(**SMALL)


def test_a_remote_run_gives_the_same_value_neurons(local, remote):
    found = locate(remote, **SMALL)
    assert_equal(local, found)
    assert all(value.is_meta for value in remote.model._module.parameters())
    found.require_model(open_model().identity())  # the weights are not known, all else fits


def test_the_null_runs_there_too(remote):
    settings = {"values": ("power",), "situations": 4, "folds": 2}
    assert_equal(locate(**settings), locate(remote, **settings))


@pytest.mark.parametrize("method", ["contrastive", "probe"])
def test_another_method_runs_there_too(remote, method):
    settings = {**SMALL, "situations": 4, "method": method}
    assert_equal(locate(**settings), locate(remote, **settings))


@pytest.mark.parametrize("method", ["attribution", "value_plane"])
def test_methods_that_read_weights_are_refused(remote, method):
    with pytest.raises(InvalidInputError, match=f"{method} needs the model's weights here"):
        locate(remote, **SMALL, method=method)


def test_another_framework_runs_there_too(remote):
    settings = {"dataset": "moral_foundations", "values": ("binding",), "situations": 2, "folds": 2, "null": False}
    assert_equal(locate(**settings), locate(remote, **settings))


def test_the_command_line_needs_one_flag(local, server, tmp_path):
    line = [
        "locate",
        "--host",
        server.url,
        "--value",
        "power",
        "--value",
        "benevolence",
        "--situations",
        "6",
        "--no-null",
    ]
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnvalue.cli.locate.quiet_libraries", lambda: None)
        made = CliRunner().invoke(cli, [*line, "--json", "--out", str(out)], catch_exceptions=False)
    assert made.exit_code == 0
    assert json.loads(made.stdout)["out"] == str(out)
    here = locate(**{**SMALL, "folds": 16})
    assert_equal(here, ValueNeurons.load(out))


def test_a_rehearsal_gives_the_same_and_leaves_the_path_alone(local):
    before = list(sys.path)
    assert_equal(local, locate(open_model(remote="dry-run"), **SMALL))
    assert sys.path == before


def responses_of(subject, situations: int):
    from nnvalue.dataset import load_valueinsight

    contrasts = build_contrasts(load_valueinsight(), "power", situations=situations, folds=4)
    poles = [
        generate_responses(subject, [getattr(contrast, pole) for contrast in contrasts])
        for pole in ("positive", "negative")
    ]
    return poles, [contrast.fold for contrast in contrasts]


@pytest.mark.parametrize("readings", [[Reading("gate")], [Reading("gate"), Reading("down_in", "last_prompt")]])
def test_what_comes_back_has_the_size_of_the_model(organism, remote, server, readings):
    """56 bytes a neuron and reading, and 8 kB, however many situations; one request a bundle, one bundle a fold."""
    sizes = set()
    for situations in (4, 32):
        poles, folds = responses_of(organism, situations)
        before = len(server.log("executed")), len(server.requests())
        there = gather_readings(remote, *poles, folds, readings, batch_tokens=200)
        here = gather_readings(organism, *poles, folds, readings, batch_tokens=200)
        for reading in readings:
            assert torch.equal(there[reading].negative.fired, here[reading].negative.fired)
            assert torch.allclose(there[reading].mean.total, here[reading].mean.total, atol=1e-5)
        executed = server.log("executed")[before[0] :]
        assert len(executed) == len(server.requests()) - before[1] == 4
        sizes |= {entry["raw_bytes"] for entry in executed}
        assert all(entry["result_bytes"] <= entry["raw_bytes"] for entry in executed)
    assert len(sizes) == 1
    assert sizes.pop() <= 56 * len(readings) * LAYERS * WIDTH + 8_000


def test_q95_comes_from_passes_over_the_chosen_neurons_only(organism, remote, server):
    poles, _ = responses_of(organism, 4)
    neurons = torch.tensor([[0, 5], [3, 500]])
    before = len(server.log("executed"))
    there = exact_quantiles(remote, poles[0], "gate", neurons, dtype="float32")
    assert torch.equal(there, exact_quantiles(organism, poles[0], "gate", neurons))
    executed = server.log("executed")[before:]
    assert len(executed) == 3  # digits of 11 bits
    assert all(entry["raw_bytes"] <= len(neurons) * 2**11 * 4 + 64_000 for entry in executed)


def test_limits_cut_work_into_more_bundles_with_the_same_sums(organism, server):
    poles, folds = responses_of(organism, 8)
    whole = gather_contrasts(organism, *poles, folds, "gate", batch_tokens=120)
    for limits in ({"bundle_seconds": 1e-6}, {"bundle_bytes": 1}):
        cut = open_model(remote=server.url, remote_options=RemoteOptions(**limits))
        before = len(server.requests())
        made = gather_contrasts(cut, *poles, folds, "gate", batch_tokens=120)
        assert len(server.requests()) - before > 4
        assert torch.equal(made.positive.fired, whole.positive.fired)
        assert torch.allclose(made.negative.total, whole.negative.total, rtol=1e-12)
        assert torch.allclose(made.firing.total, whole.firing.total, rtol=1e-5, atol=1e-6)


def test_jobs_of_all_folds_are_under_way_together(organism, server, tmp_path):
    """Two are handed in before the first is waited for; their ids are in the journal by then."""
    poles, folds = responses_of(organism, 8)
    server.faults([{"on": "job", "kind": "stall", "seconds": 1.0}])
    heard = []
    with Journal(tmp_path / "work", {}) as journal:

        def progress(stage, done, total):
            heard.append((stage, len(list(journal.folder.glob("*-job-*")))))

        gather_contrasts(
            remote := open_model(remote=server.url), *poles, folds, "gate", journal=journal, progress=progress
        )
    assert any("bundle 2 of 4" in stage and jobs == 2 for stage, jobs in heard)
    assert any("bundle 1 of 4 queued at 1" in stage for stage, _ in heard)
    assert not list((tmp_path / "work").glob("*-job-*"))
    assert remote.runtime.server.requests == 4


def test_opening_costs_the_same_for_any_size_of_model(tmp_path, server):
    """Config and tokenizer only: no weights are there at all, and one of 300 M parameters takes no more memory.

    Up to and with the writing down of a job; what comes back has the size of the activations' maps.
    """
    script = textwrap.dedent(f"""
        import resource, sys
        from nnvalue import open_model
        from nnvalue.locator.collect import ContrastBatches
        from nnvalue.locator.readings import Reading
        from nnvalue.models.jobs import HandedInError, HandIn
        from tests import tiny
        subject = open_model(sys.argv[1], remote="{server.url}", served_as="any/model")
        responses = tiny.random_responses(40, seed=3)
        batches = ContrastBatches(subject, responses[:20], responses[20:], [range(20)], [Reading("gate")], 8192)
        try:
            batches.sums_of((0,), HandIn())
        except HandedInError:
            values = list(subject.model._module.parameters())
        assert all(value.is_meta for value in values)
        print(sum(value.numel() for value in values), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)
    peaks = []
    for hidden, layers, low, high in ((256, 8, 5e6, 15e6), (1024, 24, 250e6, 400e6)):
        folder = tmp_path / str(hidden)
        sizes = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
        tiny.config("llama", **sizes).save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)
        made = subprocess.run(
            [sys.executable, "-c", script, folder], capture_output=True, text=True, check=True, cwd=ROOT
        )
        parameters, peak = map(int, made.stdout.split())
        assert low < parameters < high
        peaks.append(peak)
    assert peaks[1] < 1.05 * peaks[0]


def test_a_result_of_another_servers_model_is_another_result(server, tmp_path):
    """What a server calls a model is all that tells it apart from here."""
    folder = tiny.save(tmp_path / "model")
    subjects = [open_model(folder, remote=server.url, served_as=f"lab/{name}") for name in "ab"]
    assert subjects[0].identity() != subjects[1].identity()
    with Journal(tmp_path / "run.work", {"model": subjects[0].identity()}) as journal:
        journal.put_json("unit", 1)
    with pytest.raises(ArtifactError, match="unfinished work with other settings"):
        locate(subjects[1], out=tmp_path / "run", **SMALL)


def test_no_path_of_a_model_travels(server, tmp_path):
    """The server is told its own name for the model, and not where it lies here."""
    folder = tiny.save(tmp_path / "somebodys-secret-model")
    subject = open_model(folder, remote=server.url, served_as="lab/model")
    responses = tiny.random_responses(4, seed=3)
    batches = ContrastBatches(subject, responses[:2], responses[2:], [[0, 1]], [Reading("gate")], 8192)
    backend = HandIn()
    with pytest.raises(HandedInError):
        batches.sums_of((0,), backend)
    payload = zstandard.ZstdDecompressor().decompress(backend.payload)
    assert b"lab/model" in payload
    assert b"somebodys-secret-model" not in payload


def test_a_folder_needs_a_name_on_the_server(tmp_path, server):
    folder = tiny.save(tmp_path / "model")
    with pytest.raises(ModelError, match="say what the server calls it"):
        open_model(folder, remote=server.url)
    subject = open_model(folder, remote=server.url, served_as="lab/model")
    again = open_model(folder, remote=server.url, served_as="lab/same-model")
    assert '"repo_id": "lab/model"' in subject.runtime.model_key
    assert '"repo_id": "lab/same-model"' in again.runtime.model_key
    assert subject.identity()["weights_sample_sha256"] is None
    assert subject.dtype is None


def test_the_stop_tokens_are_those_of_the_checkpoint(tmp_path, server):
    """They lie beside the weights, not in the config: Llama 3's two end tokens would be lost."""
    from nnvalue.models.generation import stop_tokens

    model = tiny.model("llama")
    model.generation_config.eos_token_id = [1, 7]
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    subject = open_model(tmp_path / "model", remote=server.url, served_as="lab/model")
    assert stop_tokens(subject) == stop_tokens(open_model(tmp_path / "model")) == (1, 7)


def test_what_makes_no_sense_is_refused(server):
    with pytest.raises(ModelError, match="server decides on dtype"):
        open_model(remote=server.url, dtype="bfloat16")
    with pytest.raises(ValueError, match="names a model on a server"):
        open_model(served_as=NAME)
    with pytest.raises(ValueError, match="in_flight must be above 0"):
        RemoteOptions(in_flight=0)
    with pytest.raises(ValueError, match="URL of a server"):
        open_model(remote="")


def test_a_strangers_module_works_after_one_line(server, tmp_path):
    """Its helpers call ours, in traces of its own, with nnsight's own client; here and on the server the same."""
    here = run_stranger(tmp_path)
    assert run_stranger(tmp_path, server.url, key=SENTINEL) == here
    assert len(here["loudest"]) == 4


def run(*line: str):
    return CliRunner().invoke(cli, line)


def test_what_a_server_runs_is_listed(server):
    told = json.loads(run("models", "--host", server.url, "--json").stdout)
    assert told["deployed"] == [NAME]
    assert f"{server.url} runs: {NAME}" in run("models", "--host", server.url).stdout


def test_options_about_a_server_need_one(tmp_path):
    for option in ("--timeout", "--in-flight", "--bundle-bytes"):
        made = run("locate", option, "5", "--out", str(tmp_path / "run"))
        assert made.exit_code == 2
        assert f"{option} is about a server; give --remote or --host too." in made.stderr
    assert "names a model on a server" in str(run("locate", "--served-as", "x").exception)
    assert "--allow-http" in str(run("locate", "--host", "http://10.0.0.7:1").exception)
    assert not list(tmp_path.iterdir())
