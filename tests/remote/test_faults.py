"""Every fault ends in success after another try, with equal sums, or in an error of ours that says what to do.

In all of them the API key is looked for afterwards: in what was logged, raised, and written.
"""

from __future__ import annotations

import logging
import socket
import time
import traceback
from pathlib import Path

import pytest
import torch
from nnsight import CONFIG

from nnvalue.artifacts import Journal
from nnvalue.dataset import build_contrasts, load_valueinsight
from nnvalue.errors import (
    InsecureHostError,
    InvalidInputError,
    JobLostError,
    MissingKeyError,
    NotDeployedError,
    RefusedKeyError,
    RemoteError,
    RunTimeoutError,
    ServerTraceError,
    UnreachableError,
    VersionMismatchError,
)
from nnvalue.locator import gather_contrasts
from nnvalue.models import RemoteOptions, generate_responses, open_model
from tests import tiny
from tests.remote.conftest import QUICK, SENTINEL

UNREADABLE = (
    "Your request payload could not be read (ModuleNotFoundError: No module named 'nnsight.future'). It may be "
    "truncated or corrupted in transit, or check that the client and server nnsight versions match."
)


@pytest.fixture(scope="module")
def work(organism):
    """Stored responses in three folds, and what the local pass makes of them."""
    contrasts = build_contrasts(load_valueinsight(), "power", situations=12, folds=3)
    poles = [
        generate_responses(organism, [getattr(contrast, pole) for contrast in contrasts])
        for pole in ("positive", "negative")
    ]
    arguments = (*poles, [contrast.fold for contrast in contrasts], "gate")
    return arguments, gather_contrasts(organism, *arguments, batch_tokens=60)


def gather(subject, work, folder: Path):
    """Small batches in big bundles, as a server sees them."""
    with Journal(folder / "work", {}) as journal:
        return gather_contrasts(subject, *work[0], batch_tokens=60, journal=journal)


def assert_equal(made, work):
    expected = work[1]
    for pole in ("positive", "negative"):
        assert torch.equal(getattr(made, pole).fired, getattr(expected, pole).fired)
        assert torch.allclose(getattr(made, pole).total, getattr(expected, pole).total, rtol=1e-12)
    assert torch.allclose(made.firing.total, expected.firing.total, atol=1e-6)


@pytest.fixture(autouse=True)
def key_is_seen_nowhere(caplog, capfd, tmp_path):
    caplog.set_level(logging.DEBUG)
    yield
    captured = capfd.readouterr()
    places = {"log": caplog.text, "stdout": captured.out, "stderr": captured.err}
    places |= {str(path): path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()}
    assert [name for name, text in places.items() if SENTINEL in text] == []


def raised_by(kind, call, *arguments) -> str:
    """The message of the expected error; its whole traceback, local variables included, is searched for the key."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert SENTINEL not in shown
    assert "\n" not in str(caught.value)
    return str(caught.value)


PASSING = [
    *({"on": "request", "kind": "status", "status": status, "detail": "busy"} for status in (409, 500, 502, 503)),
    {"on": "request", "kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "detail": "slow down"},
    {"on": "request", "kind": "truncate"},
    {"on": "request", "kind": "close"},
    {"on": "request", "kind": "close", "accept": True},
    {"on": "response", "kind": "status", "status": 503, "detail": "busy", "times": 2},
    {"on": "response", "kind": "truncate"},
    {"on": "response", "kind": "close", "after": 1},
    {"on": "response", "kind": "stall", "seconds": 10},
    {"on": "result", "kind": "status", "status": 500, "detail": "busy"},
    {"on": "result", "kind": "status", "status": 404, "detail": "gone"},
    {"on": "result", "kind": "status", "status": 403, "detail": "Request has expired"},
    {"on": "result", "kind": "truncate"},
    {"on": "result", "kind": "close"},
    {"on": "result", "kind": "corrupt"},
    {"on": "job", "kind": "lose"},
    {"on": "job", "kind": "fail", "description": "Replica was evicted while processing your request. Try again later."},
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault['on']}-{fault['kind']}-{fault.get('status', '')}")
def test_what_passes_is_tried_again_and_nothing_counts_twice(work, remote, server, tmp_path, fault):
    before = len(server.log("fault"))
    server.faults([fault])
    assert_equal(gather(remote, work, tmp_path), work)
    assert len(server.log("fault")) - before == fault.get("times", 1)
    assert not list((tmp_path / "work").glob("*-job-*"))


def test_a_server_that_is_too_slow_to_answer_is_asked_again(work, remote, server, tmp_path):
    remote.runtime.server.timeout = 1.0
    server.faults([{"on": "response", "kind": "stall", "seconds": 3}])
    assert_equal(gather(remote, work, tmp_path), work)


def test_a_request_that_is_too_large_is_halved_until_it_fits(work, remote, server, tmp_path):
    """Two refusals: the whole bundle of a fold, then its first half. Nothing is lost or doubled."""
    before = len(server.log("executed"))
    server.faults([{"on": "request", "kind": "status", "status": 413, "detail": "too large", "times": 2}])
    assert_equal(gather(remote, work, tmp_path), work)
    assert len(server.log("executed")) - before == 3 + 2


def test_a_job_that_takes_too_much_memory_is_halved(work, remote, server, tmp_path):
    told = "Traceback ...\ntorch.OutOfMemoryError: CUDA out of memory."
    server.faults([{"on": "job", "kind": "fail", "description": told}])
    assert_equal(gather(remote, work, tmp_path), work)


def test_a_request_may_be_too_large_when_it_is_repeated(work, remote, server, tmp_path):
    server.faults(
        [
            {"on": "job", "kind": "lose"},
            {"on": "request", "kind": "status", "status": 413, "detail": "too large", "after": 2},
        ]
    )
    assert_equal(gather(remote, work, tmp_path), work)


def test_what_was_halved_stays_halved_when_a_run_is_stopped(work, remote, server, tmp_path):
    """Both halves finish while nobody waits; the next run collects them and does not ask for the whole again."""
    told = "Traceback ...\ntorch.OutOfMemoryError: CUDA out of memory."
    server.faults(
        [{"on": "job", "kind": "fail", "description": told}, {"on": "job", "kind": "stall", "seconds": 1, "after": 1}]
    )

    def stop(stage, done, total):
        if len(list((tmp_path / "work").glob("*-job-*"))) == 2 and "bundle 2 of 4" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "work", {}) as journal:
        gather_contrasts(remote, *work[0], batch_tokens=60, journal=journal, progress=stop)
    time.sleep(2.5)
    before = len(server.requests())
    assert_equal(gather(remote, work, tmp_path), work)
    assert len(server.requests()) - before == 2  # the bundles of the other two folds


def test_jobs_under_way_survive_other_limits(work, remote, server, tmp_path):
    server.faults([{"on": "job", "kind": "stall", "seconds": 1}])

    def stop(stage, done, total):
        if "bundle 2 of 3" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "work", {}) as journal:
        gather_contrasts(remote, *work[0], batch_tokens=60, journal=journal, progress=stop)
    small = open_model(remote=server.url, remote_options=RemoteOptions(bundle_bytes=1))
    before = len(server.requests())
    assert_equal(gather(small, work, tmp_path), work)
    assert len(server.requests()) - before == 4  # the last fold's four batches, one by one


def test_waiting_in_a_queue_is_not_being_lost(work, server, tmp_path):
    server.faults([{"on": "job", "kind": "stall", "seconds": 2}])  # before it runs
    subject = open_model(remote=server.url, remote_options=RemoteOptions(job_timeout=0.8))
    before = len(server.requests())
    assert_equal(gather(subject, work, tmp_path), work)
    assert len(server.requests()) - before == 3


def test_even_one_batch_may_be_too_large(work, remote, server, tmp_path):
    server.faults([{"on": "request", "kind": "status", "status": 413, "detail": "too large", "times": 99}])
    assert "smaller --batch-tokens" in raised_by(RemoteError, gather, remote, work, tmp_path)


def test_no_key(work, server, tmp_path, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    told = raised_by(MissingKeyError, gather, open_model(remote=server.url, remote_options=QUICK), work, tmp_path)
    assert "NDIF_API_KEY" in told
    monkeypatch.setattr(CONFIG.API, "HOST", "https://api.ndif.us")
    assert "none is configured" in raised_by(MissingKeyError, lambda: open_model(remote=True))


def test_a_wrong_key(work, server, tmp_path, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "APIKEY", "00000000-wrong")
    told = raised_by(RefusedKeyError, gather, open_model(remote=server.url, remote_options=QUICK), work, tmp_path)
    assert "NDIF_API_KEY" in told
    assert "00000000-wrong" not in told


def test_a_server_that_quotes_the_key(work, remote, server, tmp_path):
    """As NDIF does: `Invalid API key format: '…'`."""
    server.faults([{"on": "request", "kind": "echo_key"}])
    assert "[API key]" in raised_by(RefusedKeyError, gather, remote, work, tmp_path)
    server.faults([{"on": "job", "kind": "fail", "description": f"Traceback\nValueError: {SENTINEL}"}])
    assert "[API key]" in raised_by(ServerTraceError, gather, remote, work, tmp_path)


def test_versions_that_do_not_fit(work, remote, server, tmp_path):
    """Both versions and what to install; said by the gate, or found out when the payload cannot be read."""
    theirs = {"on": "env", "kind": "replace", "body": {"python_version": "3.12", "packages": {"nnsight": "0.9.3"}}}
    for fault in (
        {"on": "request", "kind": "status", "status": 400, "detail": "Client nnsight version 0.8.1 is below 0.9."},
        {"on": "job", "kind": "fail", "description": UNREADABLE},
    ):
        server.faults([fault, theirs])
        told = raised_by(VersionMismatchError, gather, remote, work, tmp_path)
        assert "0.9.3" in told
        assert "0.8.1" in told
        assert "pip install 'nnsight==0.9.3'" in told
    old = {"on": "request", "kind": "status", "status": 400, "detail": "Client python version 3.11 is below 3.12."}
    server.faults([old])
    assert "does not take this Python" in raised_by(VersionMismatchError, gather, remote, work, tmp_path)
    other = "The model architecture on this server doesn't match the one your code was traced against."
    server.faults([{"on": "job", "kind": "fail", "description": other}, theirs])
    assert "pip install" in raised_by(VersionMismatchError, gather, remote, work, tmp_path)


def test_a_payload_that_was_damaged_on_its_way_is_sent_again(work, remote, server, tmp_path):
    """The same words as for other versions, but the versions are equal."""
    server.faults([{"on": "job", "kind": "fail", "description": UNREADABLE}])
    assert_equal(gather(remote, work, tmp_path), work)


def test_an_error_is_not_kept_for_the_next_run(work, remote, server, tmp_path):
    """A job that ended in an error is handed in anew: the server may have been mended since."""
    server.faults([{"on": "job", "kind": "fail", "description": "Could not deploy this model. No room."}])
    assert "No room." in raised_by(NotDeployedError, gather, remote, work, tmp_path)
    assert_equal(gather(remote, work, tmp_path), work)


def test_what_a_server_says_otherwise_is_passed_on(work, remote, server, tmp_path):
    server.faults([{"on": "job", "kind": "fail", "description": "Request cancelled by operator."}])
    assert "Request cancelled by operator." in raised_by(RemoteError, gather, remote, work, tmp_path)


def test_an_unhelpful_server_does_not_delay_an_error(work, remote, server, tmp_path):
    remote.runtime.server.patience = 300
    server.faults(
        [
            {"on": "job", "kind": "fail", "description": "Could not deploy this model."},
            {"on": "status", "kind": "status", "status": 503, "detail": "no", "times": 99},
        ]
    )
    started = time.monotonic()
    assert "it does not say what" in raised_by(NotDeployedError, gather, remote, work, tmp_path)
    assert time.monotonic() - started < 8


def test_a_model_that_is_not_deployed(work, server, tmp_path):
    folder = tiny.save(tmp_path / "model")
    subject = open_model(folder, remote=server.url, served_as="lab/other", remote_options=QUICK)
    told = raised_by(NotDeployedError, gather, subject, work, tmp_path)
    assert "lab/other" in told
    assert "It runs: nnvalue/organism" in told


def test_an_error_inside_the_trace_names_the_line(work, remote, server, tmp_path):
    object.__setattr__(remote.anatomy, "gate", ("model.layers.0.mlp.act_fn.output", "model.layers.9.mlp.act_fn.output"))
    told = raised_by(ServerTraceError, gather, remote, work, tmp_path)
    assert "9" in told
    assert "(in sites.py, line " in told


def test_a_job_that_is_lost_again_and_again(work, remote, server, tmp_path):
    server.faults([{"on": "job", "kind": "lose", "times": 99}])
    assert "forgotten" in raised_by(JobLostError, gather, remote, work, tmp_path)


def test_a_server_that_stops_answering(work, remote, server, tmp_path):
    server.faults([{"on": "response", "kind": "status", "status": 503, "detail": "gone", "times": 999, "after": 1}])
    assert "start the same command again" in raised_by(UnreachableError, gather, remote, work, tmp_path)
    server.faults([])
    assert_equal(gather(remote, work, tmp_path), work)  # the job that was under way is collected


def test_nobody_there(work, tmp_path, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "APIKEY", SENTINEL)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        subject = open_model(remote=url, remote_options=RemoteOptions(patience=2))
        assert "ConnectError" in raised_by(UnreachableError, gather, subject, work, tmp_path)


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "job", "kind": "stall", "seconds": 3},
        {"on": "response", "kind": "stall", "seconds": 3},
        {"on": "response", "kind": "status", "status": 503, "detail": "busy", "times": 99},
    ],
)
def test_the_time_for_the_run_is_over(work, server, tmp_path, fault):
    """While a job waits, while an answer does not come, while requests are repeated."""
    server.faults([fault])
    subject = open_model(remote=server.url, remote_options=RemoteOptions(timeout=1))
    time.sleep(1.2)  # the clock starts with the run
    subject.runtime.begin()
    started = time.monotonic()
    assert "goes on from here" in raised_by(RunTimeoutError, gather, subject, work, tmp_path)
    assert 0.5 < time.monotonic() - started < 2.5
    assert list((tmp_path / "work").glob("*-job-*"))
    server.faults([])
    subject.runtime.server.deadline = None
    assert_equal(gather(subject, work, tmp_path), work)


def test_a_proxy_of_the_environment_is_not_this_machine(work, remote, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert_equal(gather(remote, work, tmp_path), work)


@pytest.mark.parametrize("key", [f"{SENTINEL} x", f"{SENTINEL}\rx", f"{SENTINEL}ü"])
def test_a_key_that_cannot_be_one(server, monkeypatch, key):
    monkeypatch.setattr(CONFIG.API, "APIKEY", key)
    assert "no key has" in raised_by(RefusedKeyError, lambda: open_model(remote=server.url))


def test_a_key_from_a_file_with_line_ends(work, server, tmp_path, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "APIKEY", f" {SENTINEL}\r\n")
    assert_equal(gather(open_model(remote=server.url), work, tmp_path), work)


def test_another_dtype_midway_is_refused(work, remote, server, tmp_path, monkeypatch):
    """A deployment that was exchanged between two jobs: its sums are not those of the same model."""
    from nnvalue.errors import ResultError
    from nnvalue.locator import collect, exact_quantiles

    real, calls = collect.sum_contrasts, []

    def exchanged(*arguments):
        sums, dtype = real(*arguments)
        calls.append(dtype)
        return sums, dtype if len(calls) < 3 else "bfloat16"

    monkeypatch.setattr(collect, "sum_contrasts", exchanged)
    small = open_model(remote=server.url, remote_options=RemoteOptions(bundle_bytes=1, retry_pause=0.1))
    assert "--overwrite" in raised_by(ResultError, gather, small, work, tmp_path)
    neurons = torch.tensor([[0, 5]])
    quantiles = lambda **options: exact_quantiles(remote, work[0][0], "gate", neurons, **options)  # noqa: E731
    assert "were bfloat16 before" in raised_by(ResultError, lambda: quantiles(dtype="bfloat16"))
    assert "must be given" in raised_by(InvalidInputError, quantiles)


def test_hosts_that_are_not_talked_to():
    for host in ("http://api.example.org", "http://10.0.0.7:5001"):
        assert "--allow-http" in raised_by(InsecureHostError, lambda host=host: open_model(remote=host))
    assert open_model(remote="http://10.0.0.7:5001", remote_options=RemoteOptions(allow_http=True))
    for host in (
        "ftp://host",
        "api.ndif.us",
        "http://user:secret@127.0.0.1",
        "http://:secret@127.0.0.1",
        "http://[::1",
        "https://",
    ):
        message = raised_by(InvalidInputError, lambda host=host: open_model(remote=host))
        assert "secret" not in message


def test_a_result_that_is_code_is_not_run(remote, server, tmp_path, monkeypatch):
    """nnsight's own client would unpickle it; ours loads tensors and plain values only."""
    import io

    import zstandard

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    buffer = io.BytesIO()
    torch.save({"sums": Bomb()}, buffer)
    bomb = zstandard.ZstdCompressor().compress(buffer.getvalue())

    class Answer:
        content = bomb

    monkeypatch.setattr(remote.runtime.server, "_ask", lambda *_, **__: Answer())
    assert "cannot be read" in raised_by(RemoteError, remote.runtime.server.result, server.url + "/result/x")
    assert not (tmp_path / "exploded").exists()
