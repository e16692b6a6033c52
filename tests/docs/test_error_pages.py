"""Every class of errors has a page, and raising it for real gives the message that stands there, word for word.

Catches a class without a page, a page of a class that is gone, and a message that was changed in the code alone.
"""

import inspect
import re
import runpy
from contextlib import nullcontext
from pathlib import Path

import pytest
from nnsight import CONFIG

import nnvalue.errors
from nnvalue.cli.main import cli
from nnvalue.errors import NnvalueError
from nnvalue.models.server import client_version
from tests.cli.running import run_here
from tests.docs.blocks import DOCS, blocks_of
from tests.docs.refusing_server import TAKEN, refusing

FOLDER = DOCS / "errors"
CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(nnvalue.errors, inspect.isclass)
    if kind.__module__ == "nnvalue.errors"
}
SHOWN = "http://127.0.0.1:5001"  # the server's address on the pages
ELSEWHERE = {"/status": (200, {"deployments": {"a": {"repo_id": "meta-llama/Llama-3.1-8B-Instruct"}}})}


def ended(description: str) -> dict:
    return {**TAKEN, "/response": (200, {"status": "ERROR", "description": description})}


SERVERS = {  # what the server says, by path
    "RemoteError": {},
    "RefusedKeyError": {"/request": (401, {"detail": "Invalid API key."})},
    "PayloadTooLargeError": {"/request": (413, {})},
    "VersionMismatchError": {
        "/request": (400, {"detail": "Client nnsight version 0.8.1 is below 0.9."}),
        "/env": (200, {"packages": {"nnsight": "0.9.3"}}),
    },
    "NotDeployedError": {**ended("Could not deploy this model. No room."), **ELSEWHERE},
    "ServerTraceError": ended("Traceback (most recent call last):\nValueError: the trace went wrong"),
    "JobLostError": TAKEN,
    "RunTimeoutError": {**TAKEN, "/response": (200, {"status": "QUEUED"})},
    "ResultError": {"/request": (200, {})},
}
RAISED = sorted(set(CLASSES) - {"NnvalueError"})  # the base is never raised; its page's code runs with all pages


def test_every_class_has_a_page_and_stands_in_the_list():
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"index"}
    assert pages == set(CLASSES)
    listed = (FOLDER / "index.md").read_text(encoding="utf-8")
    for name, kind in CLASSES.items():
        page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {name}\n")
        assert "## What to do" in page
        assert f"({name}.md)" in listed
        bases = [base.__name__ for base in kind.__mro__[1:] if base.__name__ in CLASSES]
        assert re.findall(r"\[`(\w+)`\]", page.partition("\n\n")[2].partition("\n\n")[0]) == bases


@pytest.mark.parametrize("name", RAISED)
def test_the_message_on_the_page_is_the_one_that_is_raised(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CONFIG.API, "APIKEY", None if name == "MissingKeyError" else "0123-a-key-4567")
    monkeypatch.setattr(CONFIG.API, "HOST", "https://api.ndif.us")
    with refusing(SERVERS[name]) if name in SERVERS else nullcontext(SHOWN) as url:
        raised, printed = raised_by(blocks_of(FOLDER / f"{name}.md"), url)
    assert type(raised) is CLASSES[name]
    assert isinstance(raised, NnvalueError)
    assert "\n" not in str(raised)
    told = str(raised).replace(url, SHOWN).replace(client_version(), "0.8.1")
    assert told == printed.partition(": ")[2]


def test_the_command_prints_the_message_as_the_page_shows_it(capsys, monkeypatch):
    """The words before it, which the others take for granted."""
    ((words, printed),) = blocks_of(FOLDER / "UnknownNameError.md")[0].answers()
    status, out, err = run_here(capsys, monkeypatch, *words[1:])
    assert status
    assert not out
    assert " ".join(err.split()) == printed


def raised_by(blocks, url):
    """Run a page's command or code; the error that comes of it, and what the page says of it, blanks evened out."""
    first = blocks[0]
    if first.language == "console":
        ((words, printed),) = first.answers()
        assert printed.startswith("Error: ")
        assert words[0] == "nnvalue"
        with pytest.raises(NnvalueError) as caught:
            cli.main([word.replace(SHOWN, url) for word in words[1:]], prog_name="nnvalue", standalone_mode=False)
        return caught.value, printed
    assert (first.language, blocks[1].language) == ("python", "text")
    Path("page.py").write_text(first.text.replace(SHOWN, url), encoding="utf-8")  # nnsight reads a trace's source
    with pytest.raises(NnvalueError) as caught:
        runpy.run_path("page.py")
    printed = " ".join(blocks[1].text.split())
    assert printed.startswith(f"{type(caught.value).__name__}: ")
    return caught.value, printed
