"""A conversation at the terminal, under a steering."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformers import TextStreamer

from nnvalue.cli.steer_show import steering_in_words
from nnvalue.cli.terminal import progress_bars, say
from nnvalue.errors import InvalidInputError, NnvalueError
from nnvalue.models import Subject, encode_prompt
from nnvalue.prompts import Prompt
from nnvalue.steering import Steering, generate

_COMMANDS = "/dose X, /plain (the steering off and on), /reset (forget the conversation) and /quit"


class _Aloud(TextStreamer):
    """Prints an answer word by word, and keeps what was said of it."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.said = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        text = text if self.said else text.lstrip()
        self.said += text
        say(text, nl=stream_end)


@dataclass
class Chat:
    """A conversation: lines from stdin, answers to stdout, all else to stderr.

    at: the steering at a dose.
    settings: of `generate`.
    plain: whether the steering is off.
    full: whether it was said that the conversation outgrows the model.
    """

    subject: Subject
    at: Callable[[float], Steering]
    dose: float
    settings: Mapping[str, Any]
    history: tuple[tuple[str, str], ...] = ()
    plain: bool = False
    full: bool = False

    def run(self) -> None:
        """Talk until /quit or the end of the input; Ctrl-C stops an answer, or at the prompt the conversation."""
        self._tell()
        _say(f"Say something, or {_COMMANDS}.")
        while (line := _next_line()) not in (None, "/quit"):
            try:
                if line.startswith("/"):
                    self._command(*line.split())
                elif line:
                    self._answer(line)
            except NnvalueError as error:  # a slip of the tongue does not end a conversation
                _say(f"Error: {error}")

    def _tell(self) -> None:
        words = steering_in_words(self.at(self.dose).describe())
        _say("Not steered." if self.plain else f"Steered at dose {self.dose:g} by {words}.")

    def _command(self, name: str, *rest: str) -> None:
        if name == "/dose" and len(rest) == 1:
            dose = _number(rest[0])
            self.at(dose)
            self.dose, self.plain = dose, False
            self._tell()
        elif name == "/plain" and not rest:
            self.plain = not self.plain
            self._tell()
        elif name == "/reset" and not rest:
            self.history = ()
        else:
            raise InvalidInputError(f"There is no command '{' '.join((name, *rest))}'; there are {_COMMANDS}.")

    def _answer(self, line: str) -> None:
        steering = None if self.plain else self.at(self.dose)
        prompt = self._fitting(Prompt(line, None, line, self.history), steering)
        aloud = _Aloud(self.subject.tokenizer) if self.subject.runtime.name == "local" else None
        try:
            if aloud is not None:
                answer = generate(self.subject, [prompt], steering=steering, streamer=aloud, **self.settings)[0].text
            else:
                with progress_bars("asking the server") as progress:
                    made = generate(self.subject, [prompt], steering=steering, progress=progress, **self.settings)
                answer = made[0].text
                say(answer)
        except KeyboardInterrupt:
            answer = "" if aloud is None else aloud.said.strip()
            say("")
            _say("(stopped)")
        self.history = (*prompt.history, (line, answer)) if answer else prompt.history

    def _fitting(self, prompt: Prompt, steering: Steering | None) -> Prompt:
        """The prompt without the oldest exchanges that the model has no room for."""
        room = getattr(self.subject.config, "max_position_embeddings", None)

        def fits() -> bool:
            put = prompt if steering is None else steering.speak(prompt)
            asked = len(encode_prompt(self.subject.tokenizer, put)) + self.settings["max_new_tokens"]
            return room is None or asked <= room

        while prompt.history and not fits():
            prompt = replace(prompt, history=prompt.history[1:])
            if not self.full:
                _say(f"The conversation outgrows the model's {room:,} tokens; its oldest exchanges are left out.")
            self.full = True
        return prompt


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(f"A dose is a number, '{text}' given.") from None


def _next_line() -> str | None:
    """What is said next; None where the input ends."""
    _say("> ", nl=False)
    line = sys.stdin.readline()
    if not line:
        _say("")
    return line.strip() if line else None


def _say(text: str, **how: Any) -> None:
    say(text, err=True, **how)
