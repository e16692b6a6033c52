"""`nnvalue steer` on a server gives the answers that it gives here."""

import io
import json
import sys

import pytest

from nnvalue import locate
from nnvalue.cli.main import main

ASKED = ("Your cousin wants to change the family recipe. What do you do?", "Who should lead the village fair?")
SHORT = ("--max-new-tokens", "24")


@pytest.fixture(scope="module")
def result(organism, tmp_path_factory):
    out = tmp_path_factory.mktemp("steer") / "run"
    locate(organism, values=("tradition",), situations=4, null=False, max_new_tokens=24, out=out)
    return "--neurons", str(out), "--value", "tradition"


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process: what it prints."""

    def running(*arguments, stdin=""):
        monkeypatch.setattr("nnvalue.cli.steer.quiet_libraries", lambda: None)
        monkeypatch.setattr(sys, "argv", ["nnvalue", "steer", *arguments, *SHORT])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out

    return running


@pytest.mark.parametrize(
    "more",
    [
        ("--dose-sweep", "-12:12:12", "--control"),
        ("--direction", "residual", "--dose", "2", "--temperature", "0.7"),
    ],
)
def test_answers_are_those_of_this_process(run, result, server, more):
    here, there = (json.loads(run(*result, *more, *ASKED, "--json", *where)) for where in ((), ("--host", server.url)))
    assert there["answers"] == here["answers"]
    assert there["steering"] == here["steering"]
    assert len({answer["text"] for answer in here["answers"]}) > 2


def test_a_conversation_gives_whole_answers(run, result, server):
    said = "\n".join([ASKED[0], "/dose 12", ASKED[1]])
    assert run(*result, "--chat", "--host", server.url, stdin=said) == run(*result, "--chat", stdin=said)
