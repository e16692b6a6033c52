"""`nnvalue measure`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.measure_judged import check_judge, judge_options, measure_judged
from nnvalue.cli.steer_source import Plan, check_source, find_role, read_source, read_words
from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import open_console, print_json, progress_bars, quiet_libraries

if TYPE_CHECKING:
    from nnvalue.dataset import ValueInsight
    from nnvalue.models import Subject
    from nnvalue.progress import Progress
    from nnvalue.readout import ValueProfile
    from nnvalue.steering import Steering

_PATH = click.Path(path_type=Path)
_SOURCES = ("neurons", "directions", "steering", "describe")
_OF_STEERING = (*_SOURCES, "value", "pole", "dose", "mode", "top", "scope")
# What `nnvalue steer` has beside, so that its reading of options can be used.
_NOT_HERE = dict.fromkeys(
    ("role", "direction", "layers", "goal", "factor", "part", "as_published", "control", "dataset")
)  # fmt: skip


@click.command(
    "measure",
    epilog=examples(
        "nnvalue measure --roles 3",
        "nnvalue measure --instrument pvq21=items.csv --model FOLDER_OR_HUB_ID",
        "nnvalue measure --neurons RESULT --value power --dose 8",
        "nnvalue measure --judge parser --measured power",
        "nnvalue measure --judge endpoint --endpoint URL --llm NAME --model FOLDER_OR_HUB_ID",
    ),
)
@model_options
@click.option(
    "--instrument",
    default="portraits",
    show_default=True,
    help="portraits; NAME=FILE, a published scale with your own text, as pvq21=items.csv; or an imported edition.",
)
@click.option("--dataset", help="Of portraits and roles: valueinsight (default), moral_foundations, or a folder.")
@click.option("--framework", help="schwartz19 takes the finer labels of portraits.  [default: the dataset's]")
@click.option("--split", default="test", show_default=True, help="Of portraits: test, locate or all.")
@click.option("--pairs", type=click.IntRange(min=1), help="At most so many pairs of portraits a value.")
@click.option("--form", help="rating, choice, agreement, similarity or importance.  [default: what suits the items]")
@click.option(
    "--role", "roles", multiple=True, help="Ask a role: the id of one of the dataset's, or words; repeatable."
)
@click.option("--roles", "first_roles", type=click.IntRange(min=1), help="Ask the dataset's first N held-out roles.")
@click.option("--neurons", type=_PATH, metavar="RESULT", help="Steer by value neurons: a folder of nnvalue locate.")
@click.option("--directions", type=_PATH, metavar="FOLDER", help="Steer along saved ValueDirections.")
@click.option("--steering", metavar="FOLDER", help="A saved steering: a folder, or a repository of the hub.")
@click.option("--describe", metavar="VALUE", help="Steer by words: a description of a person at the value's pole.")
@click.option("--value", help="With --neurons and --directions: which value.")
@click.option("--pole", type=click.Choice(("positive", "negative")), help="Towards which pole.  [default: positive]")
@click.option("--dose", type=float, help="How strongly; below 0 towards the other pole.  [default: 1, or as saved]")
@click.option("--mode", help="Of neurons, as in nnvalue steer.  [default: effect]")
@click.option("--top", type=float, help="The strongest neurons of a pole: a share below 1, or a number.")
@click.option("--scope", type=click.Choice(("answer", "all")), help="Which tokens.  [default: answer]")
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch.")
@click.option("--seed", default=0, show_default=True, help="Of intervals, descriptions and random choices.")
@click.option("--out", type=_PATH, help="Result folder. Default: one in runs/, named by settings.")
@click.option("--overwrite", is_flag=True, help="Replace what other settings left at --out.")
@judge_options
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(**options: Any) -> None:
    """Which values a model holds: by the items of a scale, or by what a judge reads in its answers.

    Every item of a scale is put in two option orders, one pass each, and nothing is generated. With --judge, situations
    are answered freely and the answers judged. With a steering, the model is measured without it too. A run that was
    stopped goes on when it is started again, and a judge is asked nothing twice.
    """
    steers, judged = check_steering(options), check_judge(options)
    name, opening = take_subject(options)
    out = options["out"] or default_out(name, options, {**opening, "remote_options": None})
    steering = read_steering(options) if steers else None

    from nnvalue.dataset import load_valueinsight
    from nnvalue.models import open_model

    edition = load_valueinsight(options["dataset"])
    arms = {"": None} if steering is None else {"unsteered": None, "steered": steering}
    voices = read_voices(edition, options)
    run = measure_judged if judged else _measure_scale
    quiet_libraries()
    with progress_bars() as progress:
        subject = open_model(name, **opening)
        if steering is not None:
            steering.require_model(subject.identity())
        profiles = run(subject, edition, arms, voices, out, options, progress)
    show(profiles, out, options["as_json"])


def _measure_scale(
    subject: Subject,
    edition: ValueInsight,
    arms: Mapping[str, Steering | None],
    voices: Any,
    out: Path,
    options: Mapping[str, Any],
    progress: Progress,
) -> dict[str, ValueProfile]:
    """A profile for each arm, by the items of a questionnaire."""
    from nnvalue.readout import measure, read_questionnaire

    names = ("framework", "split", "form", "pairs")
    asked = read_questionnaire(options["instrument"], dataset=edition, **{name: options[name] for name in names})
    settings = {name: options[name] for name in ("seed", "batch_tokens", "overwrite")}
    return {
        arm: measure(
            subject, asked, voices=voices, steering=steering, out=out / arm if arm else out, progress=progress,
            **settings,
        )
        for arm, steering in arms.items()
    }  # fmt: skip


def check_steering(options: Mapping[str, Any]) -> bool:
    """Whether anything steers. Raises click's UsageError for options of it that do not go together."""
    given = [name for name in _OF_STEERING if options[name] is not None]
    if given and not set(given) & set(_SOURCES):
        raise click.UsageError(
            f"--{given[0]} is about a steering; give --neurons RESULT, --directions, --steering or --describe too."
        )
    if given:
        check_source({name: options[name] for name in given})
    return bool(given)


def read_steering(options: Mapping[str, Any]) -> Steering:
    """The steering that the options ask for, at its dose."""
    from nnvalue.findings import ValueNeurons

    asked = {**options, **_NOT_HERE}
    inside, words = read_source(asked), read_words({**asked, "dataset": options["dataset"]})
    assert not isinstance(inside, ValueNeurons)  # which is what a direction is learned of, and none is here
    usual = 1.0 if options["steering"] is None or inside is None else inside.dose
    return Plan(inside, words).at(usual if options["dose"] is None else options["dose"])


def read_voices(edition: ValueInsight, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Who is asked, by name; None for the neutral voice."""
    from nnvalue.dataset import Role, role_of, voice
    from nnvalue.errors import DatasetError

    found: dict[str, Any] = {}
    for number, given in enumerate(options["roles"], start=1):
        role = find_role(edition, given)
        found |= {role.id: role} if isinstance(role, Role) else {f"role {number}": voice(role)}
    if options["first_roles"] is not None:
        held_out = [role_of(row) for row in edition.roles if row["split"] == "test"]
        if len(held_out) < options["first_roles"]:
            raise DatasetError(
                f"{options['first_roles']} roles asked for, but {edition.name} has {len(held_out)} held-out ones."
            )
        found |= {role.id: role for role in held_out[: options["first_roles"]]}
    return found or None


def show(profiles: Mapping[str, ValueProfile], out: Path, as_json: bool) -> None:
    """Print what was measured: one profile under no name, or `unsteered` and `steered`."""
    from nnvalue.cli.measure_show import (
        difference_as_data,
        print_difference,
        print_profile,
        profile_as_data,
    )
    from nnvalue.readout import difference, movement

    console = open_console()
    if len(profiles) == 1:
        (profile,) = profiles.values()
        if as_json:
            print_json({**profile_as_data(profile), "out": str(out)})
            return
        print_profile(console, profile)
    else:
        base, steered = profiles["unsteered"], profiles["steered"]
        moved = (movement if base.readout["kind"] == "judged text" else difference)(steered, base)
        if as_json:
            data = {name: profile_as_data(profile) for name, profile in profiles.items()}
            print_json({**data, "difference": difference_as_data(base, moved), "out": str(out)})
            return
        print_difference(console, base, steered, moved)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False, highlight=False)


def default_out(name: str | None, options: Mapping[str, Any], opening: Mapping[str, Any]) -> Path:
    """A folder of its own for every question that is asked; the same question finds its answer again."""
    from nnvalue.artifacts import digest

    unasked = (  # how it is asked, and not what
        "out", "overwrite", "as_json", "batch_tokens", "concurrency", "attempts", "answer_timeout", "key_env",
        "allow_http", "price_in", "price_out",
    )  # fmt: skip
    asked = {key: str(given) for key, given in {**options, **opening}.items() if key not in unasked}
    model = Path(name).name if name else "organism"
    instrument = options["judge"] or Path(options["instrument"].partition("=")[0]).name
    return Path("runs") / f"{model}-{instrument}-{digest([name, asked])[:6]}"
