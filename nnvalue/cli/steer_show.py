"""How steered answers look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnvalue.cli.terminal import harmless

Answer = Mapping[str, Any]
"""An answer as `--json` has it."""


def print_beside(console: Console, answers: Sequence[Answer]) -> None:
    """Each prompt with its answers, one a column: unsteered, steered, and the control if there is one."""
    for question, own in _by_prompt(answers):
        table = _table()
        for answer in own:
            dose = "" if answer["arm"] == "unsteered" else f", dose {answer['dose']:g}"
            table.add_column(answer["arm"] + dose, ratio=1)
        table.add_row(*map(_text, own))
        console.print(question, table)


def print_sweep(console: Console, answers: Sequence[Answer]) -> None:
    """Each prompt with its answers, one dose a row."""
    for question, own in _by_prompt(answers):
        table = _table()
        table.add_column("dose", justify="right", no_wrap=True)
        for arm in dict.fromkeys(answer["arm"] for answer in own):
            table.add_column(arm, ratio=1)
        for dose, row in groupby(own, key=lambda answer: answer["dose"]):
            table.add_row(f"{dose:g}", *map(_text, row))
        console.print(question, table)


def steering_in_words(facts: Mapping[str, Any]) -> str:
    """What a steering is and does, of what its `describe` says."""
    if facts["kind"] == "combined":
        return "; ".join(map(steering_in_words, facts["parts"]))
    if facts["kind"] == "prompt":
        return "no words" if facts["system"] is None else f"the words “{facts['system']}”"
    if facts["kind"] == "neurons":
        which = "random neurons" if "control" in facts else "neurons"
        what = f"{facts['neurons']} {which}, mode {facts.get('mode', 'of your own')}"
    elif facts["kind"] == "features":
        which = facts.get("control", "features")
        what = f"{which} {', '.join(map(str, facts['features']))} of an SAE, mode {facts['mode']}, at {facts['site']}"
    else:
        what = f"a direction of {facts['place']}" + (f", goal {facts['goal']:g}" if "goal" in facts else "")
    layers = ""
    if "layers" in facts:
        layers = f", layer{'s' * (len(facts['layers']) > 1)} {', '.join(map(str, facts['layers']))}"
    towards = f" towards the {facts['pole']} pole of {facts['value']}" if {"pole", "value"} <= set(facts) else ""
    return f"{what}{layers}, scope {facts['scope']}{towards}"


def _by_prompt(answers: Sequence[Answer]) -> Any:
    for _, some in groupby(answers, key=lambda answer: answer["id"]):
        own = list(some)
        system = f"{own[0]['system']}\n" if own[0]["system"] else ""
        yield Text.assemble((harmless(system), "dim"), (harmless(own[0]["prompt"]), "bold")), own


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)


def _text(answer: Answer) -> Text:
    """The text; an ellipsis where the length limit cut it off."""
    return Text(harmless(answer["text"]) + " …" * (not answer["finished"]) if answer["text"] else "(nothing)")
