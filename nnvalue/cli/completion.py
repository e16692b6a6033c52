"""`nnvalue completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import print_json

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=examples(
        "nnvalue completion bash > ~/.local/share/bash-completion/completions/nnvalue",
        "nnvalue completion zsh > ~/.zfunc/_nnvalue",
        "nnvalue completion fish > ~/.config/fish/completions/nnvalue.fish",
    ),
)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the script.")
def command(shell: str | None, as_json: bool) -> None:
    """Print the script that lets a SHELL complete nnvalue; by default for the shell that you are in.

    Write it where your shell looks for completions, as below, and open a new shell. Of zsh, ~/.zfunc must be in fpath
    before compinit is called: put fpath+=~/.zfunc above it in ~/.zshrc. Completed are verbs, options, choices, files,
    and the names of values, frameworks, datasets, methods, sites, modes and presets.
    """
    from nnvalue.cli.main import cli

    if shell is None:
        shell = Path(os.environ.get("SHELL", "")).name
        if shell not in _SHELLS:
            raise click.UsageError(f"Which shell? Give one of {', '.join(_SHELLS)}.")
    found = get_completion_class(shell)
    assert found is not None  # click knows the three
    script = found(cli, {}, "nnvalue", "_NNVALUE_COMPLETE").source()
    if as_json:
        print_json({"shell": shell, "script": script})
        return
    click.echo(script)
