"""The command group, and what every verb shares: errors in one sentence, exit codes, `--debug`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from nnvalue import __version__
from nnvalue.errors import NnvalueError

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
    "bake": "Write an edit into a model's weights.",
    "data": "Show, check, import and build datasets.",
    "models": "What is embedded and which architectures are known.",
}
_INTERRUPTED = 130


class _Verbs(click.Group):
    """Verbs are imported when they are called, so that `--help` needs no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        return import_module(f"nnvalue.cli.{cmd_name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from nnvalue.errors import UnknownNameError

            raise click.UsageError(str(UnknownNameError("command", args[0], _VERBS)), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nnvalue")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Locate human values in the neurons of a language model."""


def main() -> None:
    """Entry point of the `nnvalue` command."""
    debug = "--debug" in sys.argv
    # One switch, wherever it stands on the line.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        sys.exit(cli.main(arguments, prog_name="nnvalue", standalone_mode=False) or 0)
    except click.ClickException as error:
        if debug:
            raise
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        if debug:
            raise
        click.echo("Stopped. Finished work is kept: the same command goes on from here.", err=True)
        sys.exit(_INTERRUPTED)
    except NnvalueError as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError as error:
        if debug:
            raise
        click.echo(f"Error: not enough memory ({error}); try a smaller --batch-tokens.", err=True)
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except Exception as error:  # the last net: whatever a library throws at a user is still one sentence
        if debug:
            raise
        if isinstance(error, RuntimeError) and "memory" in str(error):  # torch has no one class for it
            click.echo("Error: not enough memory; try a smaller --batch-tokens, or --dtype bfloat16.", err=True)
        else:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            click.echo(f"Unexpected error: {text} Run again with --debug for the traceback.", err=True)
        sys.exit(1)
