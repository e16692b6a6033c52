"""The command group, and what every verb shares: errors in one sentence, exit codes, `--debug`, completion."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from nnvalue import __version__
from nnvalue.cli.examples import examples
from nnvalue.cli.exits import DONE, FAILED, INTERRUPTED, MEANINGS, REMOTE, TERMINATED, Terminated
from nnvalue.cli.terminal import degrade_streams, print_json, say
from nnvalue.errors import NnvalueError, RemoteError, UnknownNameError

_VERBS = {
    "locate": "Find which neurons of a model carry which value.",
    "steer": "Answer with a value turned up or down.",
    "measure": "Which values a model holds, steered or not.",
    "evaluate": "Steer by several arms: what moves, what else, and what it costs.",
    "survey": "Ask roles the same items in many settings.",
    "graph": "Tell a causal value graph from a survey, and how stable it is.",
    "structure": "How values hang together, against the circle and people.",
    "side-effects": "What moves beside a steered value, foretold and checked.",
    "sae": "Open, check and use sparse autoencoders.",
    "inspect": "Show a saved result.",
    "report": "Show results on one page, to be looked at.",
    "plot": "Draw a result's figure for a paper.",
    "bake": "Write an edit into a model's weights.",
    "data": "Show, check, import and build datasets.",
    "models": "What is embedded and which architectures are known.",
    "doctor": "Look whether everything here is as it should be.",
    "completion": "Let a shell complete verbs, options and names.",
}
_COMPLETING = "_NNVALUE_COMPLETE"
_KEEPING = ("locate", "measure", "evaluate", "survey", "data build")  # verbs that go on where they were stopped
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
_SMALLER = {"--batch-tokens": "a smaller --batch-tokens", "--dtype": "--dtype bfloat16"}
_KEPT = " Finished work is kept: the same command goes on from here."


class _Verbs(click.Group):
    """Verbs are imported when they are called, so that `--help` needs no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"nnvalue.cli.{cmd_name.replace('-', '_')}").command
        if _COMPLETING in os.environ:
            from nnvalue.cli.completing import teach

            teach(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        # A shell that completes a line is to get no error into its prompt.
        if args and args[0] not in _VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(str(UnknownNameError("command", args[0], _VERBS)), ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without importing every verb for its help."""
        found = [CompletionItem(name, help=told) for name, told in _VERBS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl([(str(code), told) for code, told in MEANINGS.items()])
        super().format_epilog(ctx, formatter)


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "nnvalue locate --value power",
        "nnvalue inspect runs/organism-power-1a2b3c",
        "nnvalue doctor",
    ),
)
@click.version_option(__version__, prog_name="nnvalue")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; may stand anywhere on the line.")
def cli(debug: bool) -> None:
    """Locate human values in the neurons of a language model.

    Results go to stdout, all else to stderr. With --json, stdout holds one JSON object and nothing else: the result,
    or {"error": {"kind", "message", "exit_status"}}.
    """


def main() -> None:
    """Entry point of the `nnvalue` command."""
    degrade_streams()
    own, others = _parted(sys.argv[1:])
    debug, as_json = "--debug" in own, "--json" in own
    # One switch, wherever it stands on the line.
    arguments = [argument for argument in own if argument != "--debug"] + others
    try:
        with _sigterm():
            code = cli.main(arguments, prog_name="nnvalue", standalone_mode=False) or DONE
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        code = FAILED
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        code = _tell(error, arguments, debug, as_json)
    _settle_stdout()
    sys.exit(code)


def _tell(error: BaseException, arguments: list[str], debug: bool, as_json: bool) -> int:
    """Say what ended a verb, on stderr and where it is asked for as JSON; the exit status."""
    if isinstance(error, click.Abort) and isinstance(error.__cause__, EOFError):
        error = error.__cause__  # a file that ends too early; click takes it for the end of what is typed
    if debug:
        say("".join(traceback.format_exception(error)), err=True, nl=False)
    code, told = _fault(error, arguments)
    if as_json:
        message = told.removeprefix("Error: ")
        with suppress(OSError):  # nobody reads stdout, or its disk is full; stderr has the same sentence
            print_json({"error": {"kind": type(error).__name__, "message": message, "exit_status": code}})
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)
        told = shown.getvalue().rstrip("\n")
    say(told, err=True)
    return code


def _settle_stdout() -> None:
    """What stdout did not take is let go: at exit Python would try again, and end with a status of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parted(line: list[str]) -> tuple[list[str], list[str]]:
    """What stands before `--`, where options are, and what from it on."""
    end = line.index("--") if "--" in line else len(line)
    return line[:end], line[end:]


def _fault(error: BaseException, arguments: list[str]) -> tuple[int, str]:
    """The exit status for an error of a verb, and its sentence."""
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    if isinstance(error, Terminated | click.Abort | KeyboardInterrupt):
        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        line = " ".join(arguments) + " "
        return code, "Stopped." + _KEPT * any(line.startswith(f"{verb} ") for verb in _KEEPING)
    if isinstance(error, NnvalueError):
        return REMOTE if isinstance(error, RemoteError) else FAILED, f"Error: {error}"
    if _is_memory(error):
        detail = f" ({error})" if isinstance(error, MemoryError) and str(error) else ""
        return FAILED, f"Error: not enough memory{detail}; {_smaller(arguments)}."
    if isinstance(error, OSError):
        return FAILED, f"Error: {error}"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    return FAILED, f"Unexpected error: {text} Run again with --debug for the traceback."


def _is_memory(error: BaseException) -> bool:
    """Whether memory is short. torch's allocators have a class for it on GPUs, and words for it elsewhere."""
    own = getattr(sys.modules.get("torch"), "OutOfMemoryError", ())
    if isinstance(error, (MemoryError, own)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def _smaller(arguments: list[str]) -> str:
    """What makes a verb need less memory, of the options that it has."""
    command: click.Command = cli
    for word in arguments:
        below = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        command = below or command
    has = {name for one in command.params for name in one.opts}
    ways = [told for name, told in _SMALLER.items() if name in has]
    return f"try {' or '.join(ways)}" if ways else "close other programs, or take a larger machine"


@contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM ends a verb as Ctrl-C does: what is open is closed, and what is finished is kept."""

    def end(*_: object) -> None:
        raise Terminated

    try:
        before = signal.getsignal(signal.SIGTERM)
        if before is signal.SIG_DFL:  # who ignores it is to go on ignoring it
            signal.signal(signal.SIGTERM, end)
    except ValueError:  # another thread than the main one: signals are not ours
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
