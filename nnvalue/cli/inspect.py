"""`nnvalue inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import open_console, print_json

_OF_VALUES = ("value-neurons", "value-features", "value-directions")


@click.command(
    "inspect",
    epilog=examples(
        "nnvalue inspect runs/mine",
        "nnvalue inspect runs/mine --value power --top 20",
        "nnvalue inspect runs/mine --json",
    ),
)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--value", "values", multiple=True, help="Only this value; repeatable.")
@click.option("--top", type=click.IntRange(min=0), default=5, show_default=True, help="Neurons a pole to print.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(result: Path, values: tuple[str, ...], top: int, as_json: bool) -> None:
    """Show a saved RESULT: a folder that any verb of nnvalue wrote.

    These are value neurons, value features, directions, profiles, evaluations, surveys, graphs, steerings, sparse
    autoencoders and models that a steering was baked into.
    """
    from nnvalue.cli.inspect_kinds import KINDS, what_lies_in

    kind = what_lies_in(result)
    if values and kind not in _OF_VALUES:
        raise click.UsageError("--value is about neurons, features and directions; leave it out.")
    data, show = KINDS[kind](result, values, top)
    if as_json:
        print_json({**data, "out": str(result)})
        return
    show(open_console())
