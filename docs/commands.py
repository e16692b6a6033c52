"""The command reference, from `--help`: every verb and sub-verb, at 80 columns.

    python -m docs.commands            # writes docs/reference/commands.md
    python -m docs.commands --check    # says whether it is what `--help` says now

A test checks it too, so that the page and the command cannot part.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import click

from nnvalue.artifacts import write_bytes
from nnvalue.cli.main import cli

PAGE = Path(__file__).parent / "reference" / "commands.md"
WIDTH = 80
HEAD = """# Commands

What `nnvalue --help` and every verb's `--help` say. `python -m docs.commands` writes this page.

Every verb shares these habits. Results go to stdout, progress to stderr; `--json` prints one JSON object and nothing
else. A run that was stopped goes on when the same command is given again. An error is one sentence; `--debug` shows its
traceback. The exit status says how it ended: [exit codes](../exit_codes.md).
"""


def contexts(command: click.Command = cli, name: str = "nnvalue", parent: click.Context | None = None) -> Iterator:
    """The click context of every command, `nnvalue` first, in the order of `--help`."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    yield context
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            yield from contexts(command.get_command(context, verb), verb, context)


def page() -> str:
    """The whole page, as Markdown."""
    pieces = [HEAD]
    for context in contexts():
        depth = "##" if len(context.command_path.split()) < 3 else "###"
        pieces.append(f"{depth} {context.command_path}\n\n```text\n{context.command.get_help(context)}\n```\n")
    return "\n".join(pieces)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail where the page is not what --help says.")
def main(check: bool) -> None:
    """Write docs/reference/commands.md, or check it."""
    made = page()
    if not check:
        write_bytes(PAGE, made.encode())
        return
    kept = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if kept != made:
        changed = "\n".join(list(difflib.unified_diff(kept.splitlines(), made.splitlines(), lineterm="", n=0))[:20])
        raise click.ClickException(f"{PAGE.name} is stale; run python -m docs.commands.\n{changed}")


if __name__ == "__main__":
    main()
