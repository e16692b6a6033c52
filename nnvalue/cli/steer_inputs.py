"""What `nnvalue steer` reads: doses and layers as they are typed, prompts from the line, a file or stdin."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nnvalue.prompts import Prompt

_MOST_DOSES = 200
_FIELDS = ("id", "system", "user")


class Doses(click.ParamType[tuple[float, ...]]):
    """A grid of doses, its ends included; in decimals, so that .1 steps meet 0 and the stop."""

    name = "START:STOP:STEP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The doses of the grid; without 0 where it is not on it."""
        try:
            start, stop, step = map(Decimal, value.split(":"))
        except (ValueError, ArithmeticError):
            self.fail(f"'{value}' is not start:stop:step, three numbers such as -2:2:0.5.", param, ctx)
        if not (start.is_finite() and stop.is_finite() and step.is_finite() and step > 0 and stop >= start):
            self.fail(f"'{value}' needs finite numbers, a step above 0 and a stop not below the start.", param, ctx)
        if (stop - start) / step >= _MOST_DOSES:
            self.fail(f"'{value}' has more than {_MOST_DOSES} doses; take a larger step.", param, ctx)
        return tuple(float(start + number * step) for number in range(int((stop - start) / step) + 1))


class Layers(click.ParamType[tuple[int, ...]]):
    """Numbers of layers with commas between them."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        try:
            return tuple(map(int, value.split(",")))
        except ValueError:
            self.fail(f"'{value}' is no list of whole numbers such as 2,3.", param, ctx)


def read_prompts(texts: tuple[str, ...], source: str | None) -> list[Prompt]:
    """The prompts of the line or of a file (`-` for stdin), one a line, or an object a line in .jsonl.

    Raises InvalidInputError where there is none, or one that says nothing.
    """
    from nnvalue.errors import InvalidInputError
    from nnvalue.steering.use import as_prompts

    if source is None:
        if not all(map(str.strip, texts)):
            raise InvalidInputError("An empty prompt was given; a prompt is a question or a request in words.")
        return as_prompts(texts)
    shown = "stdin" if source == "-" else source
    lines = [(number, line.strip()) for number, line in enumerate(_read(source).splitlines(), 1) if line.strip()]
    if not lines:
        raise InvalidInputError(f"There is no prompt in {shown}; one a line is expected, or .jsonl objects.")
    if not source.endswith(".jsonl"):
        return as_prompts([line for _, line in lines])
    prompts = [_prompt(line, f"Line {number} of {shown}") for number, line in lines]
    ids = [prompt.id for prompt in prompts]
    if again := next((one for place, one in enumerate(ids) if one in ids[:place]), None):
        raise InvalidInputError(f"Two prompts of {shown} have the id '{again}'; give every prompt an 'id' of its own.")
    return prompts


def _read(source: str) -> str:
    from nnvalue.errors import InvalidInputError

    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InvalidInputError(f"The prompts '{source}' cannot be read: {reason}.") from None


def _prompt(line: str, where: str) -> Prompt:
    """A prompt from a JSON object; without an id its text is one, so that its noise does not depend on its place."""
    from nnvalue.errors import InvalidInputError
    from nnvalue.prompts import Prompt

    try:
        row = json.loads(line)
    except ValueError:
        row = None
    sound = (
        isinstance(row, dict)
        and set(row) <= set(_FIELDS)
        and all(isinstance(text, str) and text.strip() for text in row.values() if text is not None)
        and row.get("user")
    )
    if not sound:
        raise InvalidInputError(
            f"{where} must be a JSON object of texts, 'user' and if you like 'id' and 'system'; '{line[:60]}' given."
        )
    return Prompt(row.get("id") or row["user"], row.get("system"), row["user"])
