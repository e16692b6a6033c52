"""`nnvalue data build` as a user types it: what goes together, and one sentence for what does not."""

import sys

import pytest

from tests.builder import scribe
from tests.cli.running import run_here
from tests.llm.openai_double import Say, serving


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs the command in this process and an empty folder: (exit status, what it printed, what it said on stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "mine.yaml").write_text(scribe.FRAMEWORK)

    def running(*arguments, framework="mine.yaml"):
        return run_here(capsys, monkeypatch, "data", "build", "--framework", framework, "--out", "out", *arguments)

    return running


HERE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Who shall answer?"),
        (("--llm", "x"), "--llm is about an endpoint"),
        (("--endpoint", HERE), "--llm"),
        (("--endpoint", HERE, "--llm", "x", "--model", "y"), "two who could answer"),
        (("--endpoint", HERE, "--llm", "x", "--remote"), "two who could answer"),
        (("--endpoint", HERE, "--llm", "x", "--in-flight", 3), "--in-flight is about a server"),
        (("--endpoint", "https://host/v1", "--llm", "x"), "OPENAI_API_KEY"),
        (("--endpoint", "https://host/v1", "--llm", "x", "--key-env", "MINE"), "variable MINE"),
        (("--endpoint", HERE, "--llm", "x", "--concurrency", 0), "concurrency must be above 0"),
        (("--endpoint", HERE, "--llm", "x", "--situations", 0), "situations must be at least 1"),
        (("--endpoint", HERE, "--llm", "x", "--dilemmas", 3), "share from 0 to 1"),
        (("--endpoint", HERE, "--llm", "x", "--domain", "a", "--domain", "a"), "Domains are different names"),
        (("--model", "no/such/folder"), "no/such/folder"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run, arguments, said):
    status, out, error = run(*arguments)
    assert status == (3 if "OPENAI_API_KEY" in said or "variable" in said else status)
    assert status in (1, 2, 3)
    assert out == ""
    assert said in error
    assert "Traceback" not in error


def test_without_the_extra_endpoints_are_explained(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    status, _, error = run("--endpoint", HERE, "--llm", "x")
    assert status == 1
    assert "pip install 'nnvalue[llm]'" in error


def test_a_build_tells_what_it_asked_what_it_cost_and_what_it_did_not_take(run):
    def script(body, times):
        if "response_format" in body:
            return Say(status=400, error={"message": "no response_format", "param": "response_format"})
        return Say(scribe.answer(scribe.said(body), body["seed"]))

    with serving(script) as server:
        line = ("--endpoint", server.url, "--llm", "scribe", "--situations", 10, "--descriptions", 4)
        status, out, _ = run(*line, "--price-in", 1_000, "--price-out", 2_000)
        assert status == 0
        assert "20 situations, 16 descriptions. Written to out." in out
        assert "0 refused, 0 failed" in out
        assert "$" in out
        assert "does not take json_object, json_schema" in out
        assert "praises or blames" in out
        assert "No faults." in out
        asked = len(server.asked)
        status, out, _ = run(*line)
        assert "nothing was asked" in out
        assert len(server.asked) == asked
        status, _, error = run(*line, "--seed", 1)
        assert status == 1
        assert "--overwrite" in error
