"""`nnvalue sae`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import open_console, print_json, progress_bars, quiet_libraries, say

if TYPE_CHECKING:
    from rich.console import Console

    from nnvalue.sae import SparseAutoencoder

_PATH = click.Path(path_type=Path)
_SAE_OPTIONS = (
    click.option("--hookpoint", help="Which one, where a folder holds several, such as layers.3."),
    click.option("--release", help="A release of SAELens' list; needs pip install sae-lens."),
)


def sae_options(command: Any) -> Any:
    """Add the options that say which SAE of several is meant."""
    for option in reversed(_SAE_OPTIONS):
        command = option(command)
    return command


@click.group(
    "sae",
    epilog=examples("nnvalue sae inspect", "nnvalue sae features RESULT", "nnvalue sae train RESULT --out mine"),
)
def command() -> None:
    """Open, check and use sparse autoencoders: anybody's, or the organism's own."""


@command.command(
    "inspect",
    epilog=examples(
        "nnvalue sae inspect",
        "nnvalue sae inspect SAE --model MODEL --hookpoint layers.3",
    ),
)
@click.argument("source", required=False)
@sae_options
@model_options
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def inspect(source: str | None, **options: Any) -> None:
    """Show an SAE (a folder or hub id; the organism's by default), checked on a model's real activations."""
    from nnvalue.models import open_model
    from nnvalue.sae import check_sae

    sae = opened(source, options)
    name, opening = take_subject(options)
    quiet_libraries()
    with progress_bars():
        quality = check_sae(open_model(name, **opening), sae)
    figures = {**facts(sae), "quality": asdict(quality)}
    if options["as_json"]:
        print_json(figures)
        return
    print_facts(open_console(), {**facts(sae), **asdict(quality)})


@command.command(
    "features",
    epilog=examples(
        "nnvalue sae features RESULT",
        "nnvalue sae features RESULT --causal --out runs/features",
    ),
)
@click.argument("result", type=_PATH)
@click.option("--sae", "source", metavar="SAE", help="A folder or hub id.  [default: the organism's]")
@sae_options
@click.option("--value", "values", multiple=True, help="This value only; repeatable.  [default: the result's]")
@click.option("--texts", default="both", show_default=True, help="both: each text under either description; or own.")
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=1), help="Features a pole to keep.")
@click.option("--causal", is_flag=True, help="Rank by what turning each up does to the value's portraits.")
@click.option("--output-scores", is_flag=True, help="Show what each makes the model say (Arad et al.); local models.")
@click.option("--show", default=5, show_default=True, type=click.IntRange(min=1), help="Features a pole to print.")
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch.")
@model_options
@server_options
@click.option("--out", type=_PATH, help="Result folder.  [default: RESULT.features]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def features(result: Path, **options: Any) -> None:
    """Find the features that go with values, on the responses of a RESULT of nnvalue locate."""
    from nnvalue.findings import ValueNeurons
    from nnvalue.models import open_model
    from nnvalue.sae import locate_features, output_scores

    found = ValueNeurons.load(result)
    sae = opened(options["source"], options)
    name, opening = take_subject(options)
    out = options["out"] or Path(f"{str(result).rstrip('/')}.features")
    quiet_libraries()
    with progress_bars() as progress:
        subject = open_model(name, **opening)
        made = locate_features(
            subject, sae, found, options["values"] or None, texts=options["texts"], top=options["top"],
            batch_tokens=options["batch_tokens"], progress=progress,
        )  # fmt: skip
        if options["causal"]:
            from nnvalue.dataset import load_valueinsight
            from nnvalue.evaluation import rank_features

            made = rank_features(subject, made, sae, load_valueinsight(), progress=progress)
        rows = [row for value in made.values for pole in ("positive", "negative")
                for row in made.top(value, pole, options["show"])]  # fmt: skip
        told = output_scores(subject, sae, [row.feature for row in rows]).tolist() if options["output_scores"] else None
    made.save(out)
    if options["as_json"]:
        data = [row._asdict() | ({} if told is None else {"output_score": told[n]}) for n, row in enumerate(rows)]
        print_json({"features": data, "norm": made.norm, "out": str(out)})
        return
    console = open_console()
    print_features(console, rows, told)
    words = f"Written to {out}. Steer: nnvalue steer --features {out} --value {made.values[0]} …"
    console.print(words, soft_wrap=True, markup=False, highlight=False)


@command.command(
    "train",
    epilog=examples(
        "nnvalue sae train RESULT --out mine",
        "nnvalue sae train RESULT --layer 2 --features 2048 --out mine",
    ),
)
@click.argument("result", type=_PATH)
@click.option("--layer", type=int, help="After which layer, from 0.  [default: the middle]")
@click.option("--features", "count", default=1024, show_default=True, type=click.IntRange(min=2), help="How many.")
@click.option("--architecture", default="batchtopk", show_default=True, help="standard, topk or batchtopk.")
@click.option("--active", default=16, show_default=True, help="Mean features a token, of topk and batchtopk.")
@click.option("--steps", default=5000, show_default=True, type=click.IntRange(min=1), help="Of 1,024 tokens each.")
@click.option("--seed", default=0, show_default=True, help="Of the start and of what is drawn.")
@model_options
@server_options
@click.option("--out", type=_PATH, required=True, help="Folder, in SAELens' layout.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a sentence.")
def train(result: Path, **options: Any) -> None:
    """Train an SAE on a RESULT's prompts and responses: a small one, of activations that fit into memory."""
    from nnvalue.errors import InvalidInputError
    from nnvalue.findings import ValueNeurons
    from nnvalue.models import Response, open_model
    from nnvalue.sae import check_sae, response_activations, save_sae, train_sae

    found = ValueNeurons.load(result)
    name, opening = take_subject(options)
    quiet_libraries()
    with progress_bars() as progress:
        subject = open_model(name, **opening)
        found.require_model(subject.identity())
        blocks = subject.anatomy.block
        layer = len(blocks) // 2 if options["layer"] is None else options["layer"]
        if not 0 <= layer < len(blocks):
            raise InvalidInputError(f"There is no layer {layer}; the model has {len(blocks)}, counted from 0.")
        said = [Response("", row["prompt_ids"], row["token_ids"], "", True) for row in found.response_table()]
        tokens = response_activations(subject, said, blocks[layer], prompts=True, progress=progress)
        made = train_sae(
            tokens, options["count"], architecture=options["architecture"], active=options["active"],
            steps=options["steps"], seed=options["seed"], site=blocks[layer], facts={"model_name": subject.name},
            progress=progress,
        )  # fmt: skip
        save_sae(made, options["out"])
        quality = check_sae(subject, made)
    if options["as_json"]:
        print_json({**facts(made), "tokens": len(tokens), "quality": asdict(quality), "out": str(options["out"])})
        return
    say(
        f"Written to {options['out']}: {made.features} features after layer {layer}, from {len(tokens):,} tokens; on "
        f"other prompts explained variance {quality.explained_variance:.2f}, {quality.active:.1f} features a token, "
        f"{quality.dead:.0%} never active."
    )


def print_features(console: Any, rows: Any, told: list[float] | None) -> None:
    """A table of features, with output scores if they were taken."""
    from nnvalue.cli.tables import new_table, print_table

    names = ["value", "pole", "feature", "score", "AUROC", "on +", "on −", "q", *([] if told is None else ["S_out"])]
    table = new_table(*names, keys=2)
    before = None
    for number, row in enumerate(rows):
        table.add_row(
            row.value if row.value != before else "", "+" if row.pole == "positive" else "−", str(row.feature),
            f"{row.score:+.2f}".replace("-", "−"), f"{row.auroc:.2f}", f"{row.density_positive:.2f}",
            f"{row.density_negative:.2f}", f"{row.q:.0e}{' ✓' if row.called else ''}",
            *([] if told is None else [f"{told[number]:.2f}"]),
        )  # fmt: skip
        before = row.value
    print_table(console, table, keys=3)


def print_facts(console: Console, told: Mapping[str, Any]) -> None:
    """What is known of an SAE, a line each."""
    for key, one in told.items():
        shown = f"{one:.3g}" if isinstance(one, float) else str(one)
        console.print(f"{key.replace('_', ' ')}: {shown}", soft_wrap=True)


def opened(source: str | None, options: dict[str, Any]) -> SparseAutoencoder:
    """The SAE that a verb's options name; the organism's by default."""
    from nnvalue.organism import sae_folder
    from nnvalue.sae import open_sae

    hookpoint, release = options.pop("hookpoint"), options.pop("release")
    if source is None:
        return open_sae(sae_folder())
    return open_sae(source, hookpoint=hookpoint, release=release, revision=options["revision"])


def facts(sae: SparseAutoencoder) -> dict[str, Any]:
    """What an SAE is, as JSON data."""
    return {
        "architecture": sae.architecture, "inputs": sae.inputs, "features": sae.features, "site": sae.site,
        **dict(sae.facts),
    }  # fmt: skip
