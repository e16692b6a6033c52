"""`nnvalue survey`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.endpoints import endpoint_options, take_endpoint
from nnvalue.cli.examples import examples
from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import open_console, print_json, progress_bars, quiet_libraries

if TYPE_CHECKING:
    from nnvalue.causal import Setting, YesNo
    from nnvalue.dataset import ValueInsight
    from nnvalue.models import Subject

_PATH = click.Path(path_type=Path)
_UNASKED = (  # how it is asked, and not what
    "out", "overwrite", "as_json", "batch_tokens", "concurrency", "attempts", "answer_timeout", "key_env",
    "judge_allow_http", "price_in", "price_out",
)  # fmt: skip
_DOSES = {"neurons": 8.0, "directions": 0.5, "features": 0.25, "features_at": 100.0}
_BY_FEATURES = ("features", "features_at")
_ABOUT = {"dose": ("neurons", "directions", *_BY_FEATURES), "mode": ("neurons", "features"), "sae": _BY_FEATURES}
_STEERED_BY = ("neurons", "directions", *_BY_FEATURES, "steerings")


@click.command(
    "survey",
    epilog=examples(
        "nnvalue survey --roles 100 --out runs/s",
        "nnvalue survey --neurons RESULT --dose 8 --no-prompts",
    ),
)
@model_options
@click.option("--roles", type=click.IntRange(min=1), help="Ask the first N roles of the dataset.  [default: 40]")
@click.option("--role-file", type=_PATH, metavar="FILE", help="Ask these: .csv, .jsonl, .parquet; columns id, text.")
@click.option("--new-roles", type=click.IntRange(min=1), help="Ask N generated roles; see --seed.")
@click.option("--instrument", multiple=True, help="As in nnvalue measure; repeatable.  [default: portraits]")
@click.option("--dataset", help="Of portraits, roles and descriptions: valueinsight (default), or a folder.")
@click.option("--split", default="all", show_default=True, help="Of portraits: test, locate or all.")
@click.option("--pairs", default=2, show_default=True, type=click.IntRange(min=1), help="Pairs of portraits a value.")
@click.option("--form", help="As in nnvalue measure.  [default: what suits the items]")
@click.option("--protocol", default="options", show_default=True, help="options, or yes_no as the paper asks.")
@click.option("--as-published", is_flag=True, help="Of yes_no: read replies by the paper's rule, defect and all.")
@endpoint_options
@click.option("--no-prompts", is_flag=True, help="Leave out the settings by descriptions of either pole of each value.")
@click.option("--value", "values", multiple=True, help="Steer this value only; repeatable.  [default: all]")
@click.option("--neurons", type=_PATH, metavar="RESULT", help="Steer by value neurons, too: of nnvalue locate.")
@click.option("--directions", type=_PATH, metavar="FOLDER", help="Steer along saved ValueDirections, too.")
@click.option("--features", type=_PATH, metavar="RESULT", help="Steer by features of an SAE: of nnvalue sae features.")
@click.option("--sae", metavar="SAE", help="Of features: a folder or hub id.  [default: the organism's]")
@click.option(
    "--features-at",
    metavar="WORDS",
    help="The paper's settings, not descriptions: add each of 24 features most active there, there.",
)
@click.option("--dose", type=float, help="Of neurons, directions, features.  [default: 8, 0.5, 0.25; at words 100]")
@click.option("--mode", help="Of neurons or features, as in nnvalue steer.  [default: effect; of features add]")
@click.option("--steering", "steerings", multiple=True, metavar="FOLDER", help="A saved steering, too; repeatable.")
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch.")
@click.option("--seed", default=0, show_default=True, help="Of descriptions and generated roles.")
@click.option("--out", type=_PATH, help="Result folder. Default: one in runs/, named by settings.")
@click.option("--overwrite", is_flag=True, help="Replace what other settings left at --out.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(**options: Any) -> None:
    """Ask roles the same items in many settings: the table that a causal value graph is told from.

    Settings are the model as it is, and a description of somebody at either pole of every value. Items are put in both
    keyings and option orders, one pass each, and nothing is generated. A run that was stopped goes on when it is
    started again.
    """
    from nnvalue.causal import survey
    from nnvalue.cli.survey_show import print_survey, survey_as_data
    from nnvalue.dataset import load_valueinsight
    from nnvalue.models import open_model

    check(options)
    options["judge_allow_http"] = bool(options["allow_http"])
    if options["endpoint"] is not None and not (options["remote"] or options["host"]):
        options["allow_http"] = None
    name, opening = take_subject(options)
    out = options["out"] or default_out(name, options, {**opening, "remote_options": None})
    edition = load_valueinsight(options["dataset"])
    people = read_people(edition, options)
    asked = {key: options[key] for key in ("split", "pairs", "form", "seed", "batch_tokens", "overwrite")}
    quiet_libraries()
    with progress_bars() as progress, _protocol(options, out) as protocol:
        settings = read_settings(edition, options)
        subject = open_model(name, **opening)
        if options["features_at"] is not None:
            settings = [*(settings or []), *_features_at(subject, edition, options, protocol)]
        done = survey(
            subject, settings, roles=people, instrument=options["instrument"] or ("portraits",), dataset=edition,
            protocol=protocol, out=out, progress=progress, **asked,
        )  # fmt: skip
    if options["as_json"]:
        print_json({**survey_as_data(done), "out": str(out)})
        return
    console = open_console()
    print_survey(console, done)
    console.print(f"Written to {out}. The graph: nnvalue graph {out}", soft_wrap=True, markup=False, highlight=False)


def check(options: Mapping[str, Any]) -> None:
    """Raises click's UsageError for options that do not go together."""
    who = [name for name in ("roles", "role_file", "new_roles") if options[name] is not None]
    if len(who) > 1:
        flags = " and ".join("--" + name.replace("_", "-") for name in who)
        raise click.UsageError(f"{flags} are two choices of who is asked; give one of them.")
    for name, about in _ABOUT.items():
        if options[name] is not None and not any(options[one] for one in about):
            flags = " or ".join("--" + one.replace("_", "-") for one in about)
            raise click.UsageError(f"--{name} goes with {flags}; give one of them, too.")
    if options["mode"] is not None and options["neurons"] and options["features"]:
        raise click.UsageError("--mode means another thing for neurons than for features; ask for them one by one.")
    if options["protocol"] != "yes_no" and (options["endpoint"] is not None or options["as_published"]):
        raise click.UsageError("--endpoint and --as-published are about --protocol yes_no; leave them out, or give it.")
    if options["no_prompts"] and not any(options[name] for name in _STEERED_BY):
        raise click.UsageError(
            "With --no-prompts nothing steers; give --neurons, --directions, --features or --steering."
        )


def read_people(edition: ValueInsight, options: Mapping[str, Any]) -> Any:
    """Who is asked; None for the first roles of the dataset."""
    from nnvalue.dataset import generate_roles, role_of
    from nnvalue.dataset.tables import read_rows
    from nnvalue.errors import DatasetError

    if options["new_roles"] is not None:
        return generate_roles(options["new_roles"], seed=options["seed"], avoid=[row["name"] for row in edition.roles])
    if options["role_file"] is not None:
        file = options["role_file"]
        if file.suffix not in (".csv", ".jsonl", ".parquet"):
            raise DatasetError(f"{file} must end in .csv, .jsonl or .parquet, with the columns id and text.")
        found: dict[str, str] = {}
        for line, row in read_rows(file, "roles"):
            given = [str(row.get(name) or "").strip() for name in ("id", "text")]
            if not all(given) or given[0] in found:
                raise DatasetError(f"{file}, line {line}: a role needs an id of its own and a text; {given} given.")
            found[given[0]] = given[1]
        return found
    if options["roles"] is None:
        return None
    if options["roles"] > len(edition.roles):
        raise DatasetError(
            f"{options['roles']} roles asked for, but {edition.name} has {len(edition.roles)}; more can be generated "
            "(--new-roles)."
        )
    return [role_of(row) for row in list(edition.roles)[: options["roles"]]]


def read_settings(edition: ValueInsight, options: Mapping[str, Any]) -> list[Setting] | None:
    """What steers; None for the default of the verb."""
    from nnvalue.causal import Setting, direction_settings, feature_settings, neuron_settings, prompt_settings
    from nnvalue.findings import ValueNeurons
    from nnvalue.organism import sae_folder
    from nnvalue.sae import ValueFeatures, open_sae
    from nnvalue.steering import ValueDirections, from_pretrained

    values = options["values"] or None
    if values is None and not options["no_prompts"] and not any(options[name] for name in _STEERED_BY):
        return None
    alone = options["no_prompts"] or options["features_at"] is not None  # the paper's settings are of features alone
    made = [] if alone else prompt_settings(edition, values, seed=options["seed"])
    doses = {name: (options["dose"] if options["dose"] is not None else usual,) for name, usual in _DOSES.items()}
    mode = {} if options["mode"] is None else {"mode": options["mode"]}
    if options["neurons"] is not None:
        made += neuron_settings(ValueNeurons.load(options["neurons"]), doses["neurons"], values, **mode)
    if options["directions"] is not None:
        made += direction_settings(ValueDirections.load(options["directions"]), doses["directions"], values)
    if options["features"] is not None:
        sae = open_sae(sae_folder() if options["sae"] is None else options["sae"])
        made += feature_settings(ValueFeatures.load(options["features"]), sae, doses["features"], values, **mode)
    made += [Setting.of(Path(folder).name, from_pretrained(folder)) for folder in options["steerings"]]
    return made


def _features_at(
    subject: Subject, edition: ValueInsight, options: Mapping[str, Any], protocol: str | YesNo
) -> list[Setting]:
    """The paper's settings, of the features that are active in the first item as it is put to nobody in particular."""
    from nnvalue.causal import YesNo, published_feature_settings
    from nnvalue.errors import InvalidInputError
    from nnvalue.organism import sae_folder
    from nnvalue.prompts import Prompt
    from nnvalue.readout import read_questionnaire
    from nnvalue.sae import open_sae
    from nnvalue.values.forms import forms

    name = (options["instrument"] or ("portraits",))[0]
    read = {key: options[key] for key in ("split", "form", "pairs")}
    first = next(one for one in read_questionnaire(name, dataset=edition, **read).questions if one.text is not None)
    way = YesNo() if protocol == "yes_no" else protocol
    asked = way.put(first) if isinstance(way, YesNo) else first.put(forms(first.form)[0])
    sae = open_sae(sae_folder() if options["sae"] is None else options["sae"])
    dose = _DOSES["features_at"] if options["dose"] is None else options["dose"]
    words = options["features_at"]
    if words not in asked:
        raise InvalidInputError(
            f"'{words}' does not stand in items as they are put: {asked[-100:]!r}. Give words that do; ' your values' "
            "stands in those of --protocol yes_no."
        )
    return published_feature_settings(subject, sae, Prompt("first", None, asked), words, dose=dose)


@contextmanager
def _protocol(options: dict[str, Any], out: Path) -> Iterator[str | YesNo]:
    """How items are put; with an endpoint, it judges the replies that the rule for yes and no cannot read."""
    from nnvalue.causal import YesNo
    from nnvalue.llm import CompletionClient

    found = take_endpoint(options, options["judge_allow_http"])
    if options["protocol"] != "yes_no":
        yield options["protocol"]
    elif found is None:
        yield YesNo(as_published=options["as_published"])
    else:
        with CompletionClient(found[0], out.with_name(f"{out.name}.judge.jsonl"), found[1]) as client:
            yield YesNo(client, options["as_published"])


def default_out(name: str | None, options: Mapping[str, Any], opening: Mapping[str, Any]) -> Path:
    """A folder of its own for every question that is asked; the same question finds its answer again."""
    from nnvalue.artifacts import digest

    asked = {key: str(given) for key, given in {**options, **opening}.items() if key not in _UNASKED}
    model = Path(name).name if name else "organism"
    return Path("runs") / f"{model}-survey-{digest([name, asked])[:6]}"
