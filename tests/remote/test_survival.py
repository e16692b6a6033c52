"""Servers die and clients are killed: the result is the same, and at most one bundle is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from nnsight import CONFIG

from nnvalue import locate
from nnvalue.findings import ValueNeurons
from nnvalue.models import RemoteOptions, open_model
from nnvalue.organism import folder
from tests.remote.conftest import NAME, SENTINEL
from tests.remote.loopback import Loopback

SMALL = {"values": ("power",), "situations": 8, "null": False}
LINE = ["--value", "power", "--situations", "8", "--no-null"]


@pytest.fixture(scope="module")
def undisturbed():
    return locate(**SMALL)


@pytest.fixture
def own_server(tmp_path):
    """A server of its own, to be killed."""
    with Loopback(tmp_path / "server", {NAME: folder()}, "--api-key", SENTINEL) as server:
        yield server


def assert_equal(found, undisturbed):
    for name in undisturbed.columns:
        assert np.array_equal(found.columns[name], undisturbed.columns[name]), name
    for name in undisturbed.maps:
        assert np.array_equal(found.maps[name], undisturbed.maps[name]), name


def redone(server) -> int:
    """Jobs that were run to their end beyond once for each payload; payloads are equal byte for byte."""
    payloads = {entry["id"]: entry["blob_sha256"] for entry in server.requests()}
    executed = [payloads[entry["id"]] for entry in server.log("executed")]
    return len(executed) - len(set(executed))


@pytest.mark.parametrize("fault", ["die", "die_after"])
def test_a_server_that_dies_and_comes_back(undisturbed, own_server, tmp_path, monkeypatch, fault):
    """Before it runs a job, or just after the result was kept: jobs in its queue are lost either way."""
    monkeypatch.setattr(CONFIG.API, "APIKEY", SENTINEL)
    own_server.faults([{"on": "job", "kind": fault, "after": 4}])

    def bring_back():
        own_server.wait()
        own_server.restart()

    thread = threading.Thread(target=bring_back)
    thread.start()
    subject = open_model(remote=own_server.url, remote_options=RemoteOptions(lost_after=2, patience=60))
    found = locate(subject, out=tmp_path / "run", **SMALL)
    thread.join()
    assert_equal(found, undisturbed)
    assert redone(own_server) <= 1


def start_client(server, home: Path, *more: str) -> subprocess.Popen:
    environment = {**os.environ, "NDIF_API_KEY": SENTINEL, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environment |= {"XDG_CONFIG_HOME": str(home / "config"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "nnvalue", "locate", "--host", server.url, *LINE, "--out", str(home / "run"), *more]
    with (home / "output").open("ab") as output:
        return subprocess.Popen(
            line, env=environment, stdout=output, stderr=output, cwd=home,
            # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


def wait_for(server, executed: int) -> None:
    deadline = time.monotonic() + 60
    while server.executed() < executed and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_client_that_is_stopped_and_started_again(undisturbed, own_server, tmp_path, sign):
    """Stopped between two jobs of the statistics; what finished meanwhile is collected and not run again."""
    home = tmp_path / "home"
    home.mkdir()
    own_server.faults([{"on": "job", "kind": "stall", "seconds": 1.5, "after": 5}])
    client = start_client(own_server, home)
    wait_for(own_server, 5)
    time.sleep(0.5)
    client.send_signal(sign)
    status = client.wait(30)
    assert status == (130 if sign == signal.SIGINT else -signal.SIGKILL)
    assert not (home / "run").exists()
    under_way = list((home / "run.work").glob("*-job-*"))
    assert under_way
    assert start_client(own_server, home).wait(120) == 0, (home / "output").read_text()
    assert_equal(ValueNeurons.load(home / "run"), undisturbed)
    assert redone(own_server) == 0
    if sign == signal.SIGINT:
        assert "the same command goes on from here" in (home / "output").read_text()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in files if SENTINEL.encode() in path.read_bytes()] == []


def test_a_key_in_the_environment_stays_there(own_server, tmp_path):
    """A refusal that quotes the key, shown with --debug: nothing that the command writes or prints holds it."""
    home = tmp_path / "home"
    home.mkdir()
    own_server.faults([{"on": "request", "kind": "echo_key"}])
    assert start_client(own_server, home, "--debug").wait(60) == 3
    assert "RefusedKeyError" in (home / "output").read_text()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in files if SENTINEL.encode() in path.read_bytes()] == []
