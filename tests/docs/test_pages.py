"""Every fenced block of the README and the documentation runs, page by page and in order.

Catches a renamed verb, option, function or argument, and code that only looks right. Commands run at tiny settings
(`running.TINY`), so what they print is not compared with the page; what is asserted on the page is asserted here.
"""

import ast
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import nnvalue
from nnvalue.causal import fit_graph
from nnvalue.evaluation import design
from tests.builder import scribe
from tests.dataset import foreign
from tests.docs.blocks import DOCS, PAGES, ROOT, blocks_of
from tests.docs.running import TINY_LOCATE, judge_or_writer, parse, prepared, run_command, run_python
from tests.docs.surveys import known_survey
from tests.llm.openai_double import serving

LANGUAGES = {"shell", "console", "python", "text", "yaml", "json"}
MOST_NOT_RUN = 20
# tests/docs/test_error_pages.py runs the blocks of the pages of errors.
RUN = [page for page in PAGES if page.parent != DOCS / "errors" or page.stem == "NnvalueError"]


RUNNING = ("shell", "console", "python")
PROMISED = {  # what the code of a page prints, whatever the settings
    "docs/causal.md": ("power → security", "'power': 1.0", "Choice(name='prompt power +'"),  # true of the organism
    "docs/measuring.md": ("True\n", "under the limit"),
}
BEFORE = {  # names that a page leaves to its reader
    "docs/dataset.md": {"my_model": lambda messages: scribe.answer(messages[-1][1], 0)},
}


@pytest.fixture(scope="module")
def endpoint():
    with serving(judge_or_writer) as server:
        yield server.url


@pytest.fixture(scope="module")
def shared(tmp_path_factory, endpoint):
    """What several pages begin with, made once: a located value, its features and a survey; two editions."""
    place = tmp_path_factory.mktemp("shared")
    before = Path.cwd()
    os.chdir(place)
    prepared(place)
    for line in (
        "nnvalue locate --value tradition --out runs/tradition",
        "nnvalue sae features runs/tradition",
        "nnvalue data build --framework mine.yaml --endpoint URL --llm NAME --out DIR",
    ):
        run_command(line.split(), endpoint, "shared")
    done = known_survey()
    graph = fit_graph(done, "effects", resamples=4, ways=1)
    for name in ("s", "survey"):  # as different pages call them
        done.save(place / "runs" / name)
        graph.save(place / "runs" / f"{name}.effects")
    shutil.copytree(place / "runs" / "tradition", place / "runs" / "neurons")
    foreign.personalitybench(place / "PersonalityBench")
    foreign.personalitybench(place / "NPTI")
    foreign.valuebench(place / "ValueBench")
    foreign.valueportrait(place / "ValuePortrait")
    os.chdir(before)
    return place


def tiny(call):
    """The same function at settings that no argument changes."""
    return lambda *given, **more: call(*given, **{**more, **TINY_LOCATE})


@pytest.fixture
def place(shared, tmp_path, monkeypatch):
    """A folder for one page, with tiny defaults for what pages call in Python."""
    shutil.copytree(shared, tmp_path / "page")
    monkeypatch.chdir(tmp_path / "page")
    monkeypatch.setattr(nnvalue, "locate", tiny(nnvalue.locator.locate), raising=False)
    monkeypatch.setattr(nnvalue.locator, "compare_methods", tiny(nnvalue.locator.compare_methods))
    for name, full in list(design.PRESETS.items()):
        arms = tuple(replace(arm, doses=arm.doses[:1]) for arm in full.arms)
        few = replace(full, arms=arms, poles=("positive",), locate_situations=2, max_new_tokens=16)
        monkeypatch.setitem(design.PRESETS, name, few)
    return tmp_path / "page"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_has_a_language(page):
    blocks = blocks_of(page)
    for block in blocks:
        assert block.language in LANGUAGES or block.language.startswith("{"), f"{block}: '{block.language}'"
    fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.strip().startswith("```")]
    assert len(fences) == 2 * len(blocks)  # none is overlooked


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, request, monkeypatch, capsys):
    blocks = blocks_of(page)
    if not any(block.language in RUNNING for block in blocks):
        return
    here = (
        request.getfixturevalue("place")
        if any(block.language in RUNNING and not block.why for block in blocks)
        else None
    )
    name = str(page.relative_to(ROOT))
    namespace, printed = dict(BEFORE.get(name, {})), ""
    for block in blocks:
        if block.language == "yaml":
            (here / "mine.yaml").write_text(block.text)  # as the page's commands call it
    for number, block in enumerate(blocks):
        if block.why and block.language == "python":
            ast.parse(block.text)
        elif block.language == "python":
            capsys.readouterr()
            namespace = run_python(block, namespace, here, number)
            said = capsys.readouterr().out
            printed += said
            if number + 1 < len(blocks) and blocks[number + 1].language == "text":
                assert said.split() == blocks[number + 1].text.split(), block
        elif block.language in RUNNING:
            for command in block.commands():
                if block.why:
                    parse(command, str(block))
                elif command[0] == "export":
                    monkeypatch.setenv(*command[1].replace("…", "a-key-of-mine").split("=", 1))
                else:
                    assert run_command(command, request.getfixturevalue("endpoint"), str(block)).strip()
    for promise in PROMISED.get(name, ()):
        assert promise in printed


@pytest.mark.parametrize(
    "line", ["nnvalue locat", "nnvalue locate --metod probe", "python -m recipes.value_graph --role 3"]
)
def test_a_wrong_verb_or_option_is_seen_where_nothing_runs(line):
    with pytest.raises(AssertionError, match="page"):
        parse(line.split(), "page")


def test_few_blocks_are_not_run_and_each_says_why():
    left_out = [block for page in PAGES for block in blocks_of(page) if block.why]
    assert all(len(block.why.split()) >= 3 for block in left_out)
    assert len(left_out) <= MOST_NOT_RUN, [str(block) for block in left_out]
