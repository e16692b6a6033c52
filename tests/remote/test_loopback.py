"""The stand-in server itself, driven by plain nnsight: what it says must be what NDIF would say."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import httpx
import nnsight
import pytest
import torch
from nnsight import CONFIG, TransformersModel
from nnsight.intervention.backends.remote import RemoteError
from nnsight.modeling import huggingface
from nnsight.schema.request import RequestModel
from transformers import AutoTokenizer

import nnvalue
from tests.remote.loopback import Loopback

FOLDER = str(Path(nnvalue.__file__).parent / "organism" / "model")
NAME, KEY = "loopback/organism", "b7a6f2d4-3c1e-4f7e-9a58-0d2c9e1f6a11"
PATIENCE = 60.0
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Loopback(tmp_path_factory.mktemp("loopback"), {NAME: FOLDER}) as running:
        yield running


@pytest.fixture(scope="module")
def model():
    patch = pytest.MonkeyPatch()
    patch.setitem(huggingface._ID_CACHE, FOLDER, NAME)
    patch.setattr(CONFIG.APP, "REMOTE_LOGGING", False)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    yield TransformersModel(FOLDER, task="text-generation", tokenizer=tokenizer, dispatch=True, dtype=torch.float32)
    patch.undo()


def firings(layer):
    return (layer.mlp.down_proj.input > 0).sum((0, 1))


def blocking(model, remote):
    with torch.no_grad(), model.trace(IDS, remote=remote) as tracer:
        counts = nnsight.save([])
        for layer in model.model.layers:
            counts.append(firings(layer))
        tracer.stop()
    return torch.stack(counts)


def submit(model, url):
    """A job that is not waited for, of two traces."""
    with model.session(remote=url, blocking=False) as session:
        counts = nnsight.save([])
        for ids in IDS.split(1):
            with torch.no_grad(), model.trace(ids, use_cache=False) as tracer:
                counts.append(firings(model.model.layers[2]))
                tracer.stop()
    return session.backend


def failing(model, url):
    with model.trace(IDS, remote=url):
        hidden = model.model.layers[0].output
        nnsight.save(hidden @ torch.zeros(3, 3))


def importing(model, url):
    with model.trace(IDS, remote=url):
        from nnvalue import layers

        nnsight.save(str(layers))


def weighing(model, url):
    with torch.no_grad(), model.trace(IDS, remote=url) as tracer:
        nnsight.save(model.model.layers[0].mlp.down_proj.weight.cpu())
        tracer.stop()


def seconds(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def wait(backend):
    deadline = time.monotonic() + PATIENCE
    while (result := backend()) is None:
        assert time.monotonic() < deadline, f"the job is still {backend.status}"
        time.sleep(0.02)
    return result


def post(server, **headers):
    """A request of the right form with nonsense in it."""
    return httpx.post(
        f"{server.url}/request",
        data={"data": RequestModel(model_key='nobody:{"repo_id": "x"}').metadata()},
        files={"blob": ("request", b"nonsense\r\n--", "application/octet-stream")},
        headers=headers,
    )


def ended(server, job_id):
    deadline = time.monotonic() + PATIENCE
    while (response := httpx.get(f"{server.url}/response/{job_id}").json())["status"] not in ("COMPLETED", "ERROR"):
        assert time.monotonic() < deadline, response
        time.sleep(0.02)
    return response


def test_a_blocking_trace_equals_the_local_one_and_comes_back_at_once(server, model):
    assert torch.equal(blocking(model, server.url), blocking(model, False))
    assert min(seconds(lambda: blocking(model, server.url)) for _ in range(3)) < 2  # an unanswered goodbye costs three


def test_a_session_that_is_not_waited_for_equals_the_local_counts(server, model):
    before = server.executed()
    backend = submit(model, server.url)
    counts = wait(backend)["counts"]
    assert torch.equal(sum(counts), blocking(model, False)[2])
    assert backend.meta["runtime"] > 0
    assert server.executed() == before + 1
    executed = server.log("executed")[-1]
    assert executed["id"] == backend.job_id
    assert 0 < executed["result_bytes"] < executed["raw_bytes"]
    assert server.requests()[-1]["nnsight-version"] == nnsight.__version__


def test_a_failing_block_reports_the_line(server, model):
    with pytest.raises(RemoteError) as failure:
        failing(model, server.url)
    text, line = str(failure.value), inspect.getsourcelines(failing)[1] + 3
    assert f'{__file__}", line {line}' in text
    assert "hidden @ torch.zeros(3, 3)" in text
    assert "loopback_server.py" not in text


def test_a_model_that_is_not_served_and_a_blob_that_cannot_be_read_are_told(server, model):
    assert "Could not deploy this model." in ended(server, post(server).json()["id"])["description"]
    form = {"data": {"data": RequestModel(model_key=model.to_model_key()).metadata()}, "files": {"blob": b"nonsense"}}
    job_id = httpx.post(f"{server.url}/request", **form).json()["id"]
    assert "Your request payload could not be read" in ended(server, job_id)["description"]
    assert httpx.get(f"{server.url}/response/{'0' * 32}").status_code == 404


def test_code_of_a_package_that_was_not_shipped_is_missing(server, model):
    with pytest.raises(RemoteError, match="No module named 'nnvalue'"):
        importing(model, server.url)


def test_status_and_env_are_read_by_nnsight(server, model, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "HOST", server.url)
    entry = nnsight.status()[NAME]
    assert (entry["state"], entry["level"], entry["task"]) == ("RUNNING", "HOT", "text-generation")
    raw = nnsight.status(raw=True)["deployments"]
    assert [deployment["model_key"] for deployment in raw.values()] == [model.to_model_key()]
    packages = nnsight.ndif.get_remote_env(force_refresh=True)["packages"]
    assert packages["torch"] == torch.__version__
    assert "nnvalue" not in packages
    assert httpx.get(f"{server.url}/ping").json() == "pong"


def test_faults_of_jobs(server, model):
    server.faults([{"on": "job", "kind": "lose"}, {"on": "job", "kind": "fail", "description": "out of memory"}])
    lost, failed, good = (submit(model, server.url) for _ in range(3))
    wait(good)
    assert httpx.get(f"{server.url}/response/{lost.job_id}").status_code == 404
    with pytest.raises(RemoteError, match="out of memory"):
        wait(failed)
    assert [fault["kind"] for fault in server.log("fault")][-2:] == ["lose", "fail"]


def test_faults_of_answers(server):
    url = server.url
    busy = {"on": "status", "kind": "status", "status": 503, "detail": "later", "headers": {"Retry-After": 7}}
    server.faults([{**busy, "after": 1, "times": 2}, {"on": "env", "kind": "replace", "body": {"packages": {}}}])
    answers = [httpx.get(f"{url}/status") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert (answers[1].json(), answers[1].headers["retry-after"]) == ({"detail": "later"}, "7")
    assert httpx.get(f"{url}/env").json() == {"packages": {}}
    server.faults([{"on": "status", "kind": kind, "seconds": 0.3} for kind in ("truncate", "close", "stall")])
    with pytest.raises(httpx.RemoteProtocolError, match="complete message"):
        httpx.get(f"{url}/status")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending"):
        httpx.get(f"{url}/status")
    assert seconds(lambda: httpx.get(f"{url}/status").raise_for_status()) > 0.3


def test_faults_of_results(server, model):
    backend = submit(model, server.url)
    wait(backend)
    whole = f"{server.url}/result/{backend.job_id}"
    server.faults([{"on": "result", "kind": "corrupt"}])
    first, second = httpx.get(whole).content, httpx.get(whole).content
    assert len(first) == len(second) == server.log("result")[-1]["bytes"]
    assert first != second


def test_faults_of_requests(server):
    count = len(server.requests())
    close = {"on": "request", "kind": "close"}
    server.faults([{"on": "request", "kind": "echo_key"}, close, {**close, "accept": True}])
    answer = post(server, **{"ndif-api-key": KEY})
    assert (answer.status_code, KEY in answer.json()["detail"]) == (401, True)
    for accepted in (0, 1):
        with pytest.raises(httpx.RemoteProtocolError):
            post(server)
        assert len(server.requests()) == count + accepted
    assert ended(server, server.requests()[-1]["id"])["status"] == "ERROR"
    assert KEY not in (server.state / "log.jsonl").read_text()


def test_keys_versions_and_sizes_are_checked(tmp_path):
    strict = ("--api-key", KEY, "--min-nnsight", "0.8", "--max-bytes", "2000")
    with Loopback(tmp_path, {NAME: FOLDER}, *strict) as server:
        missing, wrong = post(server), post(server, **{"ndif-api-key": "other"})
        assert (missing.status_code, wrong.status_code) == (401, 403)
        assert "Missing or invalid API key" in missing.json()["detail"]
        key = {"ndif-api-key": KEY}
        old, good = post(server, **key, **{"nnsight-version": "0.7.2"}), post(server, **key, **{"nnsight-version": "1"})
        assert (old.status_code, good.status_code) == (400, 200)
        assert "below the minimum supported 0.8" in old.json()["detail"]
        large = httpx.post(f"{server.url}/request", content=b"x" * 3000, headers=key)
        assert large.status_code == 413
        assert [request["has_key"] for request in server.requests()] == [True]
        assert KEY not in (tmp_path / "log.jsonl").read_text()


def test_an_untrusted_block_reads_activations_but_no_weights(tmp_path, model):
    with Loopback(tmp_path, {NAME: FOLDER}, "--trust-check") as server:
        assert torch.equal(blocking(model, server.url), blocking(model, False))
        with pytest.raises(RemoteError, match="meta"):
            weighing(model, server.url)


def test_only_finished_jobs_survive_a_crash(server, model):
    url, before = server.url, server.executed()
    server.faults([{"on": "job", "kind": "die_after"}, {"on": "job", "kind": "die", "after": 1}])
    kept = submit(model, url)
    assert server.wait() == 1
    server.restart()
    dropped = submit(model, url)
    assert server.wait() == 1
    server.restart().faults([{"on": "job", "kind": "stall", "seconds": 60}])
    killed = submit(model, url)
    server.kill()
    server.restart()
    assert (server.url, server.executed()) == (url, before + 1)
    assert len(wait(kept)["counts"]) == 2
    for lost in (dropped, killed):
        assert httpx.get(f"{url}/response/{lost.job_id}").status_code == 404
