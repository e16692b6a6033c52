"""What the writer is asked for, in words and as a JSON schema. The wording is our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnvalue.builder.config import BuildConfig
from nnvalue.builder.rules import LONGEST_GAP, WORDS
from nnvalue.builder.slots import PAIRED, Slot
from nnvalue.llm import Request
from nnvalue.values import Framework

SYSTEM = (
    "You write short texts for a data set about human values. Whoever reads one of them must not be able to tell which "
    "side its author is on."
)
_SHOWN = 20  # of what is there already
_SPARE = 0.25  # of what is needed is asked for in addition, because some will not do

_TASKS = {
    "descriptions": (
        "Write {count} pairs of descriptions of a person, {low} to {high} words each. The positive one of a pair shows "
        "a person who holds the value, the negative one a person at its opposing aspect, in the same respect. Show it "
        "by what the person does and cares about; leave the value's name out. Every pair is about something else."
    ),
    "situations": (
        'Write {count} situations from daily life, all from the domain "{domain}", {low} to {high} words each, told to '
        'the reader as "you" and ending with an open question about what the reader does or thinks. Each leaves room '
        "to act on the value and room to act on its opposing aspect{against}, with good reasons for both; it gives no "
        "hint which is better, and leaves the value's name out."
    ),
    "sentences": (
        "Write {count} pairs of sentences, {low} to {high} words each, that are the same but for the few words that "
        "decide: in the positive one somebody acts on the value, in the negative one on its opposing aspect."
    ),
    "portraits": (
        "Write {count} pairs of statements about a person, {low} to {high} words each, to which a reader can say if "
        "the person is like them. Whoever holds the value says yes to the positive one and no to the negative one."
    ),
}


def request_for(
    slot: Slot, framework: Framework, config: BuildConfig, round_number: int, missing: int, there: Sequence[str]
) -> Request:
    """The request for what a slot lacks.

    Args:
        round_number: 0 for the first request of the slot.
        missing: how many texts or pairs it lacks.
        there: texts that the writer has given for it so far, whether they were taken or not.
    """
    count = min(config.per_request, missing + math.ceil(_SPARE * missing))
    low, high = WORDS[slot.kind]
    against = f", which here serves {_named(framework, slot.second_value)}" if slot.second_value else ""
    task = _TASKS[slot.kind].format(count=count, low=low, high=high, domain=slot.domain, against=against)
    parts = [_value_in_words(framework, slot), task, _rules(slot, config)]
    if there:
        shown = "\n".join(f"- {text}" for text in there[-_SHOWN:])
        parts.append(f"These are there already; write about something else:\n{shown}")
    fields = fields_of(slot.kind)
    form = ", ".join(f'"{name}": "…"' for name in fields)
    parts.append(f'Answer with JSON and nothing else: {{"items": [{{{form}}}, …]}}')
    messages = (("system", SYSTEM), ("user", "\n\n".join(parts)))
    return Request(messages, config.temperature, config.max_tokens, schema_of(slot.kind), sample=round_number)


def fields_of(kind: str) -> tuple[str, ...]:
    """The texts of one item of a table."""
    return ("positive", "negative") if kind in PAIRED else ("text",)


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON schema of an answer."""
    fields = fields_of(kind)
    item = {
        "type": "object", "properties": {name: {"type": "string"} for name in fields}, "required": list(fields),
        "additionalProperties": False,
    }  # fmt: skip
    return {
        "type": "object", "properties": {"items": {"type": "array", "items": item}}, "required": ["items"],
        "additionalProperties": False,
    }  # fmt: skip


def _value_in_words(framework: Framework, slot: Slot) -> str:
    value = framework.values[slot.value]
    said = [f"Value: {_named(framework, slot.value)}."]
    if value.positive:
        said.append(f"Who holds it {value.positive}.")
    said.append(f"Its opposing aspect: {value.negative}." if value.negative else "Its opposing aspect is its contrary.")
    if slot.facet:
        said.append(f"This time it is about: {slot.facet.replace('_', ' ')}.")
    return " ".join(said)


def _named(framework: Framework, name: str) -> str:
    value = framework.values[name]
    return f"{value.title.replace('_', ' ')} ({value.gist})" if value.gist else value.title.replace("_", " ")


def _rules(slot: Slot, config: BuildConfig) -> str:
    rules = [f"Write in {config.language}."]
    if slot.kind in PAIRED:
        rules += [
            f"The two texts of a pair differ by at most {LONGEST_GAP[slot.kind]} words in length, and neither is the "
            "longer one as a rule.",
            "Do without negations such as not, never or without: say what somebody does instead.",
        ]
    return " ".join([*rules, "Praise and blame nobody."])
