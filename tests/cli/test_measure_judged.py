"""`nnvalue measure --judge` as a user types it."""

import json
import re

import pytest

from nnvalue.cli.measure import default_out
from tests.cli.running import run_here
from tests.llm.openai_double import Say, serving

SMALL = ("--measured", "power", "--measured", "tradition", "--situations", "4", "--max-new-tokens", "32")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs the command in this process and an empty folder: (exit status, what it printed, what it said on stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def running(*arguments):
        return run_here(capsys, monkeypatch, "measure", *arguments)

    return running


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--situations", 3), "--situations is about judged answers; give --judge too"),
        (("--judge", "endpoint"), "--judge endpoint needs --endpoint"),
        (("--judge", "model"), "--judge model needs --judge-model"),
        (("--judge", "parser", "--judge-model", "x"), "--judge parser has no use for --judge-model"),
        (("--judge", "parser", "--form", "rating"), "--form is about scales"),
        (("--judge", "parser", "--measured", "powre"), "did you mean power"),
        (("--judge", "parser", "--measured", "power", "--situations", 100_000), "situations asked for"),
        (("--judge", "nobody"), "is not one of"),
        (("--llm", "x"), "--llm is about judged answers"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run, arguments, said):
    status, out, error = run(*arguments)
    assert status in (1, 2)
    assert out == ""
    assert said in re.sub(r"\s+", " ", error)
    assert "Traceback" not in error


def test_the_parser_judges_and_a_second_run_finds_its_result(run):
    status, out, _ = run("--judge", "parser", *SMALL, "--json")
    assert status == 0
    data = json.loads(out)
    assert sum(data["outcomes"].values()) == 8
    again = json.loads(run("--judge", "parser", *SMALL, "--json")[1])
    assert again == data
    status, out, _ = run("--judge", "parser", *SMALL, "--describe", "power")
    assert status == 0
    row = next(line for line in out.splitlines() if line.strip().startswith("power"))
    unsteered, steered = map(float, re.findall(r"[+−-]\d\.\d+", row.replace("−", "-"))[:2])
    assert steered > unsteered  # a description of power makes answers speak for it


def test_a_model_behind_an_endpoint_judges_and_is_asked_nothing_twice(run, tmp_path):
    def script(body, times):
        """Finds power in every answer to a situation of power, and nothing to judge in others."""
        if body.get("logprobs"):
            return Say("4", logprobs=None)
        if body["seed"] == 1:
            return Say("I'd say it is great")
        return Say("5" if "Power" in json.dumps(body["messages"]) else "2")

    with serving(script) as server:
        line = ("--judge", "endpoint", "--endpoint", server.url, "--llm", "judge", "--judge-samples", 3, *SMALL)
        status, out, error = run(*line, "--out", "mine", "--json")
        assert status == 0, error
        data = json.loads(out)
        assert data["outcomes"] == {"answered": 8, "refused": 0, "failed": 0}
        assert "answered" in error
        asked = len(server.asked)
        assert asked >= 8 * 3
        log = [json.loads(row) for row in (tmp_path / "mine.judge.jsonl").read_text().splitlines()]
        assert all(row["request"]["messages"] and row["reply"]["text"] for row in log)
        (tmp_path / "mine" / "profile.json").unlink()  # the result is gone, the judgements are not
        (tmp_path / "mine").rename(tmp_path / "broken")
        assert run(*line, "--out", "mine", "--json")[0] == 0
        assert len(server.asked) == asked


def test_how_a_judge_is_asked_makes_no_other_question():
    """After a rate limit a rerun with fewer requests at once finds what was answered."""
    options = {"judge": "endpoint", "instrument": "portraits", "llm": "one", "concurrency": 8, "price_in": None}
    here = default_out(None, options, {})
    assert default_out(None, {**options, "concurrency": 2, "price_in": 0.5}, {}) == here
    assert default_out(None, {**options, "llm": "another"}, {}) != here
