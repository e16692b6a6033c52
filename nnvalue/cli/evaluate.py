"""`nnvalue evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nnvalue.cli.endpoints import endpoint_options
from nnvalue.cli.examples import examples
from nnvalue.cli.measure_judged import JUDGES, check_who, open_judge
from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import open_console, print_json, progress_bars, quiet_libraries

_FIELDS = ("situations", "others", "pairs", "random_sets", "held_out", "seed")


@click.command(
    "evaluate",
    epilog=examples(
        "nnvalue evaluate --value tradition",
        "nnvalue evaluate --preset paper --out runs/paper",
        "nnvalue evaluate --design mine.yaml --judge endpoint --endpoint URL --llm NAME",
        "nnvalue evaluate --resume --out runs/paper",
    ),
)
@click.option("--preset", help="quick (minutes), paper (ValueLocate's claim) or full.  [default: quick]")
@click.option("--design", metavar="FILE", help="A YAML file: values, arms, doses and what is read of each.")
@model_options
@click.option(
    "--value", "values", multiple=True, help="Steer this value or group; repeatable.  [default: the design's]"
)
@click.option("--situations", type=int, help="Situations of the steered value in each cell.")
@click.option("--others", type=int, help="Situations of every other value, for leakage.")
@click.option("--pairs", type=int, help="Pairs of portraits a value.")
@click.option("--random-sets", type=int, help="Draws of random neurons.")
@click.option("--held-out", type=int, help="Pairs of held-out sentences.")
@click.option("--seed", type=int, help="Of situations, noise, draws and intervals.")
@click.option("--dataset", help="valueinsight (default), moral_foundations, or a folder in the same form.")
@click.option("--judge", type=click.Choice(JUDGES), help="Who reads answers.  [default: parser]")
@click.option("--judge-model", metavar="NAME", help="With --judge model: a folder or hub id, opened here.")
@click.option("--judge-samples", type=int, help="Of a judge that tells no probabilities: draws.  [default: 8]")
@click.option("--rubrics", metavar="FILE", help="YAML: what holds and opposes a value, in place of our own words.")
@endpoint_options
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder. Default: one in runs/, named by settings.")
@click.option("--overwrite", is_flag=True, help="Replace what other settings left at --out.")
@click.option("--resume", is_flag=True, help="Go on with the unfinished evaluation of --out, by its own design.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(**options: Any) -> None:
    """Steer by several arms and doses and read what moves, what else moves, and what it costs.

    Random neurons, single steps, dose 0 and statements about nothing that matters stand beside every arm as controls.
    A run that was stopped goes on when it is started again; nnvalue inspect shows a result again.
    """
    from nnvalue.cli.evaluate_show import print_evaluation
    from nnvalue.dataset import load_valueinsight
    from nnvalue.evaluation import evaluate
    from nnvalue.models import open_model
    from nnvalue.values import load_framework

    options["judge"] = options["judge"] or "parser"
    check_who(options)
    design = _design(options)
    name, opening = take_subject(options)
    edition = load_valueinsight(options["dataset"])
    out = options["out"] or _default_out(name, design, options, {**opening, "remote_options": None})
    quiet_libraries()
    with progress_bars() as progress, open_judge(options, load_framework(edition.framework), out) as judge:
        subject = open_model(name, **opening)
        done = evaluate(
            subject, design, dataset=edition, judge=None if options["judge"] == "parser" else judge, out=out,
            overwrite=options["overwrite"], batch_tokens=options["batch_tokens"], progress=progress,
        )  # fmt: skip
    if options["as_json"]:
        print_json({**done.tables().as_json(), "notes": done.facts["notes"], "out": str(out)})
        return
    console = open_console()
    print_evaluation(console, done)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False, highlight=False)


def _design(options: dict[str, Any]) -> Any:
    """The design that the options ask for."""
    from nnvalue.evaluation import preset, read_design

    given = {name: options[name] for name in _FIELDS if options[name] is not None}
    given |= {"values": options["values"]} if options["values"] else {}
    if options["preset"] and options["design"]:
        raise click.UsageError("--preset and --design are two designs; give one of them.")
    if options["resume"]:
        if given or options["preset"] or options["design"]:
            raise click.UsageError("--resume goes on by the design of the unfinished evaluation; leave others out.")
        return _unfinished(options)
    design = read_design(options["design"]) if options["design"] else preset(options["preset"] or "quick")
    return replace(design, **given)


def _unfinished(options: dict[str, Any]) -> Any:
    """The design of the unfinished evaluation at --out, or of the only one in runs/."""
    from nnvalue.artifacts import read_json
    from nnvalue.errors import InvalidInputError
    from nnvalue.evaluation.design import design_from

    places = (
        [options["out"]] if options["out"] else [path.with_suffix("") for path in Path("runs").glob("*-eval-*.work")]
    )
    if len(places) != 1:
        raise InvalidInputError(f"There are {len(places)} unfinished evaluations in runs; say which one with --out.")
    options["out"] = places[0]
    spec = places[0].with_name(f"{places[0].name}.work") / "spec.json"
    if not spec.is_file():
        raise InvalidInputError(f"There is no unfinished evaluation at {places[0]}; leave --resume out to begin one.")
    return design_from(read_json(spec)["design"], str(spec))


def _default_out(name: str | None, design: Any, options: dict[str, Any], opening: dict[str, Any]) -> Path:
    """A folder of its own for every question that is asked; the same question finds its answer again."""
    from nnvalue.artifacts import digest

    model = Path(name).name if name else "organism"
    names = ("dataset", "judge", "judge_model", "judge_samples", "rubrics", "endpoint", "llm")
    asked = [name, design.as_json(), {key: str(options.get(key)) for key in names}, str(opening)]
    return Path("runs") / f"{model}-eval-{digest(asked)[:6]}"
