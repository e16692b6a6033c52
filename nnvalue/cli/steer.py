"""`nnvalue steer`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.steer_choice import Chosen, choose, chosen_as_data, print_choice
from nnvalue.cli.steer_inputs import Doses, Layers, read_prompts
from nnvalue.cli.steer_source import Plan, check_source, learn, read_source, read_words
from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import open_console, print_json, progress_bars, quiet_libraries

if TYPE_CHECKING:
    from nnvalue.models import Subject
    from nnvalue.progress import Progress
    from nnvalue.prompts import Prompt
    from nnvalue.steering import Steering

    Arm = tuple[str, float, Steering | None]

_PATH = click.Path(path_type=Path)


@click.command(
    "steer",
    epilog=examples(
        'nnvalue steer --neurons RESULT --value power --dose 8 "Who should lead?"',
        "nnvalue steer --neurons RESULT --value power --direction residual --chat",
        "nnvalue steer --describe power --pole negative --prompts questions.txt",
        'nnvalue steer --survey FOLDER --value power --protect benevolence,universalism "Who should lead?"',
    ),
)
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--neurons", type=_PATH, metavar="RESULT", help="Steer by value neurons: a folder of nnvalue locate.")
@click.option("--directions", type=_PATH, metavar="FOLDER", help="Steer along saved ValueDirections.")
@click.option("--features", type=_PATH, metavar="RESULT", help="Steer by features of an SAE: of nnvalue sae features.")
@click.option("--sae", metavar="SAE", help="With --features: a folder or hub id.  [default: the organism's]")
@click.option("--at-text", metavar="WORDS", help="With --features: at these words of the prompt only, as the paper.")
@click.option("--steering", metavar="FOLDER", help="A saved steering: a folder, or a repository of the hub.")
@click.option("--survey", type=_PATH, metavar="FOLDER", help="Steer as a survey recommends for --value; see --protect.")
@click.option(
    "--protect", metavar="VALUES", help="With --survey: values that should stay, by commas.  [default: see docs]"
)
@click.option("--graph", type=_PATH, metavar="FOLDER", help="With --survey: what lies downstream is no side effect.")
@click.option(
    "--by", type=click.Choice(("settings", "roles")), help="With --survey: choose among.  [default: settings]"
)
@click.option("--penalty", type=float, help="With --survey: how much protected movement counts.  [default: 1]")
@click.option("--describe", metavar="VALUE", help="Say a description of a person at the value's pole first.")
@click.option("--role", help="Say a role first: words of your own, or the id of one of the dataset's.")
@click.option("--value", help="With neurons, directions, features and surveys: which value.")
@click.option("--pole", type=click.Choice(("positive", "negative")), help="Towards which pole.  [default: positive]")
@click.option("--dose", type=float, help="How strongly; below 0 towards the other pole.  [default: 1, or as saved]")
@click.option("--dose-sweep", type=Doses(), help="An answer for each dose of a grid, e.g. -2:2:0.5.")
@click.option(
    "--mode", help="npti, valuelocate, effect, gain, ablate, clamp_range; of features add, clamp, min_clamp, scale."
)
@click.option(
    "--top", type=float, help="The strongest neurons of a pole: a share below 1, or a number.  [default: all]"
)
@click.option("--factor", type=float, help="With --mode gain: the factor at dose 1.  [default: 2]")
@click.option("--part", type=click.Choice(("both", "add", "cap")), help="With npti and valuelocate: one step alone.")
@click.option("--as-published", is_flag=True, help="With npti and valuelocate: full caps, decode, keep .9.")
@click.option("--direction", type=click.Choice(("residual", "mlp_out")), help="Learn a direction from RESULT instead.")
@click.option("--layers", type=Layers(), help="Of the direction.  [default: the middle, with --goal the sure ones]")
@click.option("--goal", type=float, help="Of the direction: the probability that its probe shall see, e.g. 0.99.")
@click.option("--scope", type=click.Choice(("answer", "decode", "all")), help="Which tokens.  [default: answer]")
@click.option("--control", is_flag=True, help="Show the same edits at random neurons beside.")
@click.option("--dataset", help="Of descriptions and roles: valueinsight (default), moral_foundations, or a folder.")
@click.option(
    "--prompts", "prompts_file", metavar="FILE", help="One a line, or .jsonl of id, user, system; - is stdin."
)
@click.option("--chat", is_flag=True, help="Talk at the terminal; /dose X, /plain, /reset and /quit.")
@click.option("--max-new-tokens", default=128, show_default=True, help="Length limit of an answer.")
@click.option("--temperature", type=float, help="Draw tokens.  [default: take the likeliest]")
@click.option("--top-k-tokens", type=int, help="With --temperature: among so many likeliest tokens only.")
@click.option("--top-p", type=float, help="With --temperature: among the likeliest tokens of this probability only.")
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch.")
@click.option("--seed", default=0, show_default=True, help="Of drawn tokens, descriptions and random neurons.")
@click.option("--save", type=_PATH, metavar="FOLDER", help="Save the steering at its dose, with or without prompts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@model_options
@server_options
def command(**options: Any) -> None:
    """Answer with a value turned up or down, beside the answer as it is.

    One of --neurons, --directions and --steering goes together with --describe and --role. The dose is then that of
    the former; words are said at every dose but 0, and below 0 a description is one of the other pole.
    """
    _check_output(options)
    check_source(options)
    prompts = read_prompts(options["prompts"], options["prompts_file"])
    name, opening = take_subject(options)
    chosen = choose(options) if options["survey"] is not None else None
    inside: Any = read_source(options)  # a steering; or neurons, where a direction is learned of their responses
    words = read_words(options)
    if chosen is not None:
        inside, words = chosen.inside, chosen.words or words

    from nnvalue.models import open_model
    from nnvalue.steering import save_steering

    usual = 1.0 if inside is None or not (options["steering"] or chosen) else inside.dose
    doses = options["dose_sweep"] or (usual if options["dose"] is None else options["dose"],)
    learns = options["direction"] is not None
    for dose in () if learns else doses:
        Plan(inside, words).at(dose)  # a dose that it has not is refused before a model is opened
    quiet_libraries()
    with progress_bars() as progress:
        subject = open_model(name, **opening)
        plan = Plan(learn(subject, inside, options, progress) if learns else inside, words)
        strongest = plan.at(max(doses, key=lambda dose: (abs(dose), dose)))
        strongest.require_model(subject.identity())
        arms = _arms(plan, doses, subject, options)
        if options["save"]:
            save_steering(strongest, options["save"])
        answers = _answers(subject, prompts, arms, options, progress)
    if options["chat"]:
        from nnvalue.cli.steer_chat import Chat

        Chat(subject, plan.at, doses[0], _settings(options)).run()
    elif options["as_json"]:
        _print_json(subject, strongest, doses, answers, options, chosen)
    else:
        if chosen is not None:
            print_choice(open_console(), chosen)
        _print_tables(subject, strongest, answers, options)


def _check_output(options: dict[str, Any]) -> None:
    """Raises click's UsageError for two ways to ask, or two ways to answer."""
    asked = [options[name] for name in ("prompts", "prompts_file", "chat") if options[name]]
    if len(asked) > 1:
        raise click.UsageError("Prompts on the line, --prompts and --chat are three ways to ask; take one of them.")
    if not asked and not options["save"]:
        raise click.UsageError("No prompt; write one on the line, or give --prompts FILE or --chat.")
    for name in ("as_json", "dose_sweep", "control") if options["chat"] else ():
        if options[name]:
            flag = name.removeprefix("as_").replace("_", "-")
            raise click.UsageError(f"--{flag} is no part of a conversation; leave it out, or --chat.")
    for name in ("dose", "save") if options["dose_sweep"] else ():
        if options[name] is not None:
            raise click.UsageError(f"--{name} is about one dose; leave it out, or --dose-sweep.")


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """What `generate` is told of how to decode."""
    names = ("max_new_tokens", "batch_tokens", "temperature", "top_p", "seed")
    return {name: options[name] for name in names} | {"top_k": options["top_k_tokens"]}


def _arms(plan: Plan, doses: Sequence[float], subject: Subject, options: dict[str, Any]) -> list[Arm]:
    """(name, dose, steering) of every answer to a prompt."""
    plans = {"steered": plan}
    if options["control"]:
        plans["random neurons"] = plan.control(subject, options["seed"])
    plain: list[Arm] = [] if options["dose_sweep"] else [("unsteered", 0.0, None)]
    return plain + [(name, dose, each.at(dose)) for dose in doses for name, each in plans.items()]


def _answers(
    subject: Subject, prompts: Sequence[Prompt], arms: Sequence[Arm], options: dict[str, Any], progress: Progress
) -> list[dict[str, Any]]:
    """A row for every prompt and arm; all of them share their batches."""
    from nnvalue.steering import generate

    asked = [(prompt, arm) for prompt in prompts for arm in arms]
    if not asked:
        return []
    responses = generate(
        subject, [prompt for prompt, _ in asked], steering=[steering for _, (_, _, steering) in asked],
        progress=progress, **_settings(options),
    )  # fmt: skip
    return [
        {"id": prompt.id, "system": prompt.system, "prompt": prompt.user, "arm": name, "dose": dose,
         "text": response.text, "finished": response.finished, "tokens": len(response.token_ids)}
        for (prompt, (name, dose, _)), response in zip(asked, responses, strict=True)
    ]  # fmt: skip


def _print_json(
    subject: Subject, steering: Steering, doses: Sequence[float], answers: Any, options: Any, chosen: Chosen | None
) -> None:
    """Of a sweep, the steering is described at its strongest dose."""
    sampling = {name: _settings(options)[name] for name in ("temperature", "top_k", "top_p", "seed")}
    data = {
        "model": subject.identity(), "steering": steering.describe(), "doses": list(doses),
        "sampling": None if options["temperature"] is None else sampling, "answers": answers,
    }  # fmt: skip
    data |= {} if chosen is None else {"choice": chosen_as_data(chosen)}
    print_json(data | ({"saved": str(options["save"])} if options["save"] else {}))


def _print_tables(subject: Subject, steering: Steering, answers: Any, options: dict[str, Any]) -> None:
    from nnvalue.cli.steer_show import print_beside, print_sweep, steering_in_words

    console = open_console()
    (print_sweep if options["dose_sweep"] else print_beside)(console, answers)
    said = [f"{subject.name}, steered by {steering_in_words(steering.describe())}."]
    said += [f"Saved to {options['save']}."] if options["save"] else []
    console.print("\n".join(said), markup=False, highlight=False)
