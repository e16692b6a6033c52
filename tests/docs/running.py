"""Running what stands on a page: commands through click in this process, Python in one namespace a page."""

from __future__ import annotations

import importlib
import json
import runpy
from collections.abc import Mapping
from pathlib import Path

import click
from click.testing import CliRunner

from nnvalue.cli.main import cli
from nnvalue.organism import folder, sae_folder
from tests.builder import scribe
from tests.docs.blocks import ROOT, Block
from tests.llm.openai_double import Say

TINY_LOCATE = {"situations": 2, "null": False, "max_new_tokens": 24}
LOCATE = "--situations 2 --no-null --max-new-tokens 24"
EVALUATE = "--situations 2 --others 0 --pairs 1 --random-sets 1 --held-out 1"
TINY = {  # what is added to a command, by its verb; the last of two equal options counts
    "locate": LOCATE,
    "steer": "--max-new-tokens 8",
    "evaluate": f"{EVALUATE} --value power",
    "measure": "--pairs 1",
    "measure --instrument": "",
    "measure --judge": "--situations 1 --max-new-tokens 16",
    "survey": "--roles 4 --pairs 1 --value power --out runs/another",
    "graph": "--resamples 4 --ways 1 --permutations 99",
    "structure": "--permutations 99",
    "side-effects": "--ways 1 --permutations 99",
    "sae features": "--top 2",
    "sae train": "--steps 3",
    "data check": "",
    "data build": "--situations 10 --descriptions 4",
}
PLACEHOLDERS = {
    "FOLDER_OR_HUB_ID": str(folder()),
    "FOLDER": str(folder()),
    "MODEL": str(folder()),
    "SAE": str(sae_folder()),
    "Openness": "Boldness",  # of the traits of the folder that stands for PersonalityBench
}
PARSED_ONLY = {  # commands that click reads here and that run elsewhere or not at all, by a piece of them
    "--device-map": "needs accelerate, which is not installed for the tests",
    "google/gemma-scope": "needs the hub",
    "evaluate --resume": "needs a run that was stopped; tests/evaluation stops one",
    "data build --framework mine.yaml --model": "tests/builder/test_local_model.py trains a model that can write",
    "python -m recipes.": "tests/recipes runs every recipe at a tiny setting",
}


def words_of(command: list[str], endpoint: str) -> list[str]:
    """A command's words with placeholders filled in, and what the test adds."""
    words = [PLACEHOLDERS.get(word, word) for word in command]
    for place, word in enumerate(words[:-1]):
        if word == "--endpoint":
            words[place + 1] = endpoint
        if word == "--llm":
            words[place + 1] = "double"
    return words


def added(words: list[str]) -> list[str]:
    """What makes a command of nnvalue tiny."""
    fitting = [verb for verb in TINY if f"{' '.join(words)} ".startswith(verb.split(" --")[0] + " ")]
    fitting = [verb for verb in fitting if " --" not in verb or f"--{verb.partition(' --')[2]}" in words]
    more = TINY[max(fitting, key=len)].split() if fitting else []
    if words[0] == "locate" and not {"--value", "--dataset"} & set(words):  # all ten values would take long
        more += ["--value", "power", "--value", "tradition"]
    return more


def run_command(command: list[str], endpoint: str, at: str) -> str:
    """Run one command of a page, tiny; or, where it stands in `PARSED_ONLY`, read it. Returns what it printed."""
    line = " ".join(command)
    if any(piece in line for piece in PARSED_ONLY):
        parse(command, at)
        return "parsed"
    assert command[0] == "nnvalue", f"{at}: {line}: say '<!-- not run: why -->' above the block, or make it runnable"
    words = words_of(command, endpoint)[1:]
    done = CliRunner().invoke(cli, [*words, *added(words)], input="/quit\n")
    assert done.exit_code == 0, f"{at}: {line} {' '.join(added(words))}\n{done.output}\n{done.exception!r}"
    return done.output


_PLAIN = ("docs.commands", "docs.figures", "recipes.editions.sources")
"""What starts by python -m and reads its own few words."""


def parse(command: list[str], at: str) -> None:
    """Read a command of nnvalue, a recipe or a benchmark as click does; a wrong verb or option fails."""
    command = [word.removeprefix(".venv/bin/") for word in command]
    if command[0] == "bash" and command[1].endswith("run.sh"):
        assert (ROOT / command[1]).is_file(), at
        command = [word.removeprefix(".venv/bin/") for word in command[2:]]
    if command[0] == "nnvalue":
        _parse(cli, command[1:], at)
    elif command[:2] == ["python", "-m"] and command[2].startswith(("recipes.", "benchmarks.", "docs.")):
        module = importlib.import_module(command[2])
        main = getattr(module, "main", None)
        if isinstance(main, click.Command):
            _parse(main, command[3:], at)
        else:
            assert command[2] in _PLAIN, f"{at}: {command[2]} is no click command, so its options are not looked at"
    else:
        known = ("pip", "python", "python3", "ruff", "nnsight", "export", "vllm", "sphinx-build", "mypy")
        assert command[0] in known, f"{at}: {command[0]}: parse() does not know it"


def _parse(command: click.Command, words: list[str], at: str, parent: click.Context | None = None) -> None:
    if isinstance(command, click.Group):
        context = click.Context(command, parent=parent, info_name=command.name)
        verb = command.get_command(context, words[0]) if words else None
        assert verb is not None, f"{at}: {command.name} has no verb {words[:1]}"
        _parse(verb, words[1:], at, context)
        return
    try:
        command.make_context(command.name, list(words), parent=parent)
    except click.ClickException as error:
        raise AssertionError(f"{at}: {' '.join(words)}: {error.format_message()}") from None


def run_python(block: Block, namespace: Mapping, place: Path, number: int) -> dict:
    """Run a block in the names that the page made so far; from a file, because nnsight reads the source of a trace."""
    script = place / f"block{number}.py"
    script.write_text("\n" * (block.line) + block.text, encoding="utf-8")  # a traceback then names the page's line
    return runpy.run_path(str(script), init_globals=dict(namespace))


def judge_or_writer(body: dict, times: int) -> Say:
    """An endpoint's answer: texts where the dataset builder asks for them, else a judge's digit."""
    said = scribe.said(body)
    if "items" in said:
        return Say(scribe.answer(said, body.get("seed")))
    return Say("4")


QUESTIONS = "question,value\n" + "".join(
    f"Who {verb} here?,power\n" for verb in ["leads", "speaks", "asks", "pays", "waits"]
)


def prepared(place: Path) -> None:
    """The files that pages speak of as the reader's own."""
    (place / "questions.txt").write_text("What do you do on the holiday?\nWho should lead?\n")
    (place / "mine.yaml").write_text(scribe.FRAMEWORK)
    (place / "q.csv").write_text(QUESTIONS)
    people = [
        {"value": "power", "pole": pole, "pair": pair, "text": f"Number {pair} {verb} the lead.", "split": "locate"}
        for pair in (1, 2)
        for pole, verb in (("positive", "takes"), ("negative", "leaves"))
    ]
    (place / "d.jsonl").write_text("\n".join(map(json.dumps, people)))
    (place / "scale.csv").write_text(
        "statement,keying,value\nIt is good to lead.,1,power\nI like to follow.,-1,power\n"
    )
    (place / "items.csv").write_text("number,text\n" + "".join(f"{n},This is item {n}.\n" for n in range(1, 22)))
