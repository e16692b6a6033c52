"""`nnvalue doctor`: what it finds sound, what it finds broken, and what it must never tell."""

import json
import shutil
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from nnsight import CONFIG

import nnvalue.dataset
from nnvalue import doctor
from nnvalue.dataset import edition_folder
from nnvalue.models.server import client_version
from nnvalue.organism import folder
from tests.cli.running import typed

NDIF_KEY = "ndif-sentinel-5e471e1-42"
HUB_KEY = "hf_sentinelSENTINEL0815"


@contextmanager
def serving(answers):
    """A server that answers each path with a status and an object (or bytes), and keeps what headers it got."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            status, told = answers.get(self.path, (404, {"detail": "nothing here"}))
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def found(*arguments, status=0, **environment):
    """What --json tells, by part and name."""
    code, out, err = typed("doctor", *arguments, "--json", **environment)
    assert code == status, err
    told = json.loads(out)
    assert told["works"] is (status == 0)
    return {(one["part"], one["name"]): one for one in told["findings"]}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No key and no token but those that a test brings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for name in ("NDIF_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_here_everything_that_a_local_run_needs_is_there():
    told = found("--offline")
    assert {part for part, _ in told} == {
        "versions", "extras", "device", "folders", "shipped", "hub", "ndif", "terminal"
    }  # fmt: skip
    assert told["versions", "torch"]["facts"]["version"] == torch.__version__
    assert "float32" in told["device", "cpu"]["facts"]["dtypes"]
    assert {name for part, name in told if part == "shipped"} == {
        "organism", "organism's autoencoder", "dataset valueinsight", "dataset moral_foundations"
    }  # fmt: skip
    assert "--offline" in told["ndif", "server"]["told"]
    code, shown, _ = typed("doctor", "--offline", columns=60)
    assert code == 0
    assert "A local run can work" in shown
    assert all(len(line) <= 60 for line in shown.splitlines())


@pytest.mark.parametrize("name", ["model.safetensors", "situations.parquet"])
def test_a_damaged_part_of_the_package_is_a_fault(name, tmp_path, monkeypatch):
    """One changed byte in the weights, one row that is missing in the dataset: nothing else would tell."""
    weights = name == "model.safetensors"
    copy = shutil.copytree(folder() if weights else edition_folder("moral_foundations"), tmp_path / "copy")
    if weights:
        content = bytearray((copy / name).read_bytes())
        content[-1] ^= 1
        (copy / name).write_bytes(content)
        monkeypatch.setattr("nnvalue.organism.folder", lambda: copy)
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(copy / name)
        pyarrow.parquet.write_table(rows.slice(1), copy / name)
        load = nnvalue.dataset.load_valueinsight
        monkeypatch.setattr("nnvalue.dataset.edition_folder", lambda _: copy)
        monkeypatch.setattr("nnvalue.dataset.load_valueinsight", lambda _: load(copy))
    told = found("--offline", status=1)
    bad = [one for one in told.values() if one["status"] == "fault"]
    assert {one["part"] for one in bad} == {"shipped"}
    assert all("Install nnvalue again" in one["todo"] for one in bad)
    assert ("organism" in {one["name"] for one in bad}) is weights


def test_versions_are_held_against_our_own_metadata(monkeypatch):
    """A package outside of its range is a warning, one that is missing a fault; extras that are missing are neither."""
    from packaging.requirements import Requirement

    lines = ("torch>=2.6", "numpy>=99", "not-there>=1", 'also-not-there; extra == "llm"', 'numpy>=1; extra == "dev"')
    monkeypatch.setattr(doctor, "_metadata", lambda: (">=3.11", [Requirement(line) for line in lines], ["llm", "dev"]))
    told = found("--offline", status=1)
    assert told["versions", "torch"]["status"] == "ok"
    assert told["versions", "numpy"]["status"] == "warning"
    assert "pip install 'numpy>=99'" in told["versions", "numpy"]["todo"]
    assert told["versions", "not-there"]["status"] == "fault"
    assert told["extras", "llm"]["status"] == "ok"
    assert "pip install 'nnvalue[llm]'" in told["extras", "llm"]["told"]
    assert ("extras", "dev") not in told
    monkeypatch.setattr(doctor, "_metadata", lambda: (">=99", [], []))
    told = found("--offline", status=1)
    assert told["versions", "python"]["status"] == "fault"
    assert told["versions", "ranges"]["status"] == "warning"


def test_a_server_that_answers_and_one_that_does_not(monkeypatch):
    monkeypatch.setattr(doctor, "_shipped", lambda: iter(()))
    status = {"deployments": {"a": {"repo_id": "lab/mine", "deployment_level": "HOT"}}}
    for theirs, verdict in ((client_version(), "ok"), ("0.0.1", "warning")):
        with serving({"/status": (200, status), "/env": (200, {"packages": {"nnsight": theirs}})}) as (url, _):
            told = found("--host", url)
        assert told["ndif", "server"]["status"] == "ok"
        assert told["ndif", "server"]["facts"]["deployed"] == ["lab/mine"]
        assert told["ndif", "versions"]["status"] == verdict
        assert theirs in told["ndif", "versions"]["told"]
    monkeypatch.setattr(doctor, "_PATIENCE", 0.2)
    told = found("--host", url)  # it is gone by now
    assert told["ndif", "server"]["status"] == "warning"  # no fault: local runs work
    assert "docs/remote.md" in told["ndif", "server"]["todo"]
    told = found("--host", "http://ndif.example")
    assert "--allow-http" in told["ndif", "server"]["told"]


def test_what_the_hub_says_of_a_token(monkeypatch):
    monkeypatch.setattr(doctor, "_shipped", lambda: iter(()))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: HUB_KEY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "_server", lambda *_: iter(()))
    for answer, verdict, said in (
        ((200, {"name": "ada"}), "ok", "ada"),
        ((401, {"error": "no"}), "warning", "HTTP 401"),
        ((401, b"<html>Log in</html>"), "warning", "HTTP 401"),  # of a proxy
        ((200, b"<html>Welcome</html>"), "warning", "not as the hub does"),
    ):
        with serving({"/api/whoami-v2": answer}) as (url, seen):
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
            told = found()["hub", "login"]
        assert told["status"] == verdict
        assert said in told["told"]
        assert told["facts"]["from"] == "a stored login"
        assert seen[0]["authorization"] == f"Bearer {HUB_KEY}"
    told = found()["hub", "login"]  # the server is gone
    assert "no answer" in told["told"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in found()["hub", "login"]["told"]


def test_a_token_goes_to_nobody_that_should_not_have_it(monkeypatch):
    """HF_ENDPOINT may name a mirror by plain http, and a token may have been pasted with a blank."""
    monkeypatch.setattr(doctor, "_shipped", lambda: iter(()))
    monkeypatch.setattr(doctor, "_server", lambda *_: iter(()))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.example")
    asked = []
    monkeypatch.setattr(doctor, "_whoami", lambda url, _: asked.append(url) or (200, {"name": "ada"}))
    assert found()["hub", "login"]["status"] == "ok"  # without a token nothing is sent
    monkeypatch.setattr("huggingface_hub.get_token", lambda: HUB_KEY)
    told = found()["hub", "login"]
    assert (told["status"], asked) == ("warning", [])
    assert "unprotected" in told["told"]
    assert found("--allow-http")["hub", "login"]["told"].endswith("ada")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: HUB_KEY + " and more")
    asked.clear()
    told = found("--allow-http")["hub", "login"]
    assert (told["status"], asked) == ("warning", [])
    assert "holds blanks" in told["told"]  # it said that there was no token
    assert told["facts"]["token"] is True


def test_what_cannot_be_looked_at_is_a_finding_and_the_rest_is_told(monkeypatch):
    """A broken torch ended the doctor with a traceback's sentence, and nothing else was told."""

    def broken(*_):
        raise OSError(f"libtorch.so cannot be opened, {NDIF_KEY}")

    monkeypatch.setattr(doctor, "_shipped", lambda: iter(()))
    monkeypatch.setattr(doctor, "working_dtypes", broken)
    monkeypatch.setattr("huggingface_hub.get_token", broken)
    monkeypatch.setattr(CONFIG.API, "APIKEY", NDIF_KEY)
    told = found("--offline", status=1, NDIF_API_KEY=NDIF_KEY)
    assert {part for part, _ in told} == {"versions", "extras", "device", "folders", "hub", "ndif", "terminal"}
    assert told["device", "device"]["status"] == "fault"
    assert told["hub", "hub"]["status"] == "warning"
    for one in (told["device", "device"], told["hub", "hub"]):
        assert "libtorch.so cannot be opened" in one["told"]
        assert NDIF_KEY not in one["told"]
    assert told["ndif", "key"]["status"] == "ok"


def test_an_environment_that_leads_nowhere(monkeypatch):
    """A SOCKS proxy without the package for it, an endpoint that is no URL, a cache that cannot be reached."""
    monkeypatch.setattr(doctor, "_shipped", lambda: iter(()))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: HUB_KEY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.example")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/" + "x" * 300)  # raises as a closed folder does
    monkeypatch.setitem(sys.modules, "socksio", None)
    for name in ("NO_PROXY", "no_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    told = found("--host", "https://ndif.example", ALL_PROXY="socks5://127.0.0.1:9")
    assert "httpx[socks]" in told["hub", "hub"]["told"]
    assert "httpx[socks]" in told["ndif", "server"]["told"]
    assert told["folders", "hub cache"]["status"] == told["ndif", "server"]["status"] == "warning"
    assert "cannot be reached" in told["folders", "hub cache"]["told"]
    assert told["folders", "results"]["status"] == "ok"
    told = found("--host", "https://ndif.example", ALL_PROXY="socks4://127.0.0.1:9", HF_ENDPOINT="http://[bad")
    assert told["hub", "login"]["told"].startswith("HF_ENDPOINT: 'http://[bad' is no server's URL")
    assert "The proxy that the environment names" in told["ndif", "server"]["told"]


def test_no_key_is_ever_told(monkeypatch):
    """Servers that quote the key back, in every form of the output, with tracebacks and without."""
    monkeypatch.setattr(CONFIG.API, "APIKEY", NDIF_KEY)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: HUB_KEY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "_PATIENCE", 0.2)
    monkeypatch.setattr(doctor, "_shipped", lambda: iter(()))
    keys = {"NDIF_API_KEY": NDIF_KEY, "HF_TOKEN": HUB_KEY}
    shown = []
    for status in (200, 401, 500):
        quoted = {"detail": f"key {NDIF_KEY} and {HUB_KEY} are no good", "deployments": {NDIF_KEY: {}}}
        told = {"/status": (status, quoted), "/env": (status, {"packages": {"nnsight": NDIF_KEY}}),
                "/api/whoami-v2": (status, {"name": HUB_KEY, **quoted})}  # fmt: skip
        with serving(told) as (url, seen):
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
            for more in ((), ("--json",), ("--debug",), ("--debug", "--json"), ("--offline",)):
                code, out, err = typed("doctor", "--host", url, *more, **keys)
                assert code == 0, err
                assert "NDIF_API_KEY" in out  # where the key is from is told
                assert "HF_TOKEN" in out
                shown += [out, err]
        assert any(headers.get("ndif-api-key") == NDIF_KEY for headers in seen)  # and it was used
    assert not [text for text in shown if NDIF_KEY in text or HUB_KEY in text]
