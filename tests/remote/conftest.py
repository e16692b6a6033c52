"""One stand-in server for all remote tests. nnvalue is not installed where it runs: what it needs must travel."""

from __future__ import annotations

import pytest
from nnsight import CONFIG

from nnvalue.models import RemoteOptions, open_model
from nnvalue.organism import folder
from tests.remote.loopback import Loopback

NAME = "nnvalue/organism"
SENTINEL = "5e471e1-not-to-be-seen-anywhere-42"
QUICK = RemoteOptions(patience=8.0, lost_after=1.5, retry_pause=0.2)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A server that asks for a key, which is configured here."""
    with Loopback(tmp_path_factory.mktemp("server"), {NAME: folder()}, "--api-key", SENTINEL) as server:
        yield server


@pytest.fixture
def server(served, monkeypatch):
    monkeypatch.setattr(CONFIG.API, "APIKEY", SENTINEL)
    served.faults([])
    yield served
    served.faults([])


@pytest.fixture
def remote(server):
    return open_model(remote=server.url, remote_options=QUICK)
