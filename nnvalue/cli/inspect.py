"""`nnvalue inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("inspect")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--value", "values", multiple=True, help="Only this value; repeatable.")
@click.option("--top", type=click.IntRange(min=0), default=5, show_default=True, help="Neurons a pole to print.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(result: Path, values: tuple[str, ...], top: int, as_json: bool) -> None:
    """Show a saved RESULT, a folder that `nnvalue locate` wrote."""
    from rich.console import Console

    from nnvalue.cli.show import findings_as_data, print_findings
    from nnvalue.findings import ValueNeurons

    found = ValueNeurons.load(result)
    if values:
        found = found.of(values)
    if as_json:
        click.echo(json.dumps({**findings_as_data(found, top), "out": str(result)}, ensure_ascii=False))
        return
    print_findings(Console(), found, top)
