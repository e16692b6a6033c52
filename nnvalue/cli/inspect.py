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
    """Show a saved RESULT, a folder that `nnvalue locate`, `measure`, `evaluate`, `survey` or `graph` wrote."""
    from rich.console import Console

    from nnvalue.artifacts import kind_of
    from nnvalue.cli.show import findings_as_data, print_findings
    from nnvalue.findings import ValueNeurons

    if (other := _OTHERS.get(kind_of(result))) is not None:
        if values:
            raise click.UsageError("--value is about neurons; leave it out.")
        other(result, as_json)
        return
    found = ValueNeurons.load(result)
    if values:
        found = found.of(values)
    if as_json:
        click.echo(json.dumps({**findings_as_data(found, top), "out": str(result)}, ensure_ascii=False))
        return
    print_findings(Console(), found, top)


def _profile(result: Path, as_json: bool) -> None:
    from rich.console import Console

    from nnvalue.cli.measure_show import print_profile, profile_as_data
    from nnvalue.readout import ValueProfile

    profile = ValueProfile.load(result)
    if as_json:
        click.echo(json.dumps({**profile_as_data(profile), "out": str(result)}, ensure_ascii=False))
        return
    print_profile(Console(), profile)


def _evaluation(result: Path, as_json: bool) -> None:
    from rich.console import Console

    from nnvalue.cli.evaluate_show import print_evaluation
    from nnvalue.evaluation import Evaluation

    done = Evaluation.load(result)
    if as_json:
        click.echo(json.dumps({**done.tables().as_json(), "notes": done.facts["notes"], "out": str(result)}))
        return
    print_evaluation(Console(), done)


def _survey(result: Path, as_json: bool) -> None:
    from rich.console import Console

    from nnvalue.causal import Survey
    from nnvalue.cli.survey_show import print_survey, survey_as_data

    done = Survey.load(result)
    if as_json:
        click.echo(json.dumps({**survey_as_data(done), "out": str(result)}, ensure_ascii=False))
        return
    print_survey(Console(), done)


def _graph(result: Path, as_json: bool) -> None:
    from rich.console import Console

    from nnvalue.causal import ValueGraph
    from nnvalue.cli.graph_show import graph_as_data, print_graph

    graph = ValueGraph.load(result)
    if as_json:
        click.echo(json.dumps({**graph_as_data(graph), "out": str(result)}, ensure_ascii=False))
        return
    print_graph(Console(), graph)


_OTHERS = {"profile": _profile, "evaluation": _evaluation, "survey": _survey, "graph": _graph}
