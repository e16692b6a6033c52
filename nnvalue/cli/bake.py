"""`nnvalue bake`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import print_json, quiet_libraries, say


@click.command(
    "bake",
    epilog=examples(
        "nnvalue bake --neurons RESULT --value power --factor 4 --out baked",
        "nnvalue bake --steering FOLDER --dose 0.5 --out baked",
        "nnvalue locate --model baked --value power",
    ),
)
@click.option("--steering", help="A saved steering of scope 'all': a folder, or a repository of the hub.")
@click.option("--neurons", type=click.Path(path_type=Path), help="A result of `nnvalue locate`, instead; scope is all.")
@click.option("--value", help="With --neurons: the value to steer by.")
@click.option("--pole", type=click.Choice(("positive", "negative")), help="With --neurons.  [default: positive]")
@click.option("--mode", help="With --neurons: gain, ablate, or effect (needs a bias in the MLP).  [default: gain]")
@click.option("--factor", type=float, help="With --mode gain: the factor at dose 1.  [default: 2]")
@click.option("--top", type=float, help="With --neurons: the strongest only, a share below 1 or a number.")
@click.option("--dose", type=float, help="The strength; 0 copies the model. Default: the saved one's, else 1.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the model that is written.")
@click.option("--overwrite", is_flag=True, help="Replace a model that was baked to --out before.")
@click.option("--model", "name", help="A folder or a hub id, opened here. Default: the embedded organism.")
@click.option("--dtype", help="float32, bfloat16 or float16, also of what is written. Default: the checkpoint's.")
@click.option("--device-map", help="As transformers takes it (auto, cuda, …); needs the extra nnvalue[device-map].")
@click.option("--revision", help="The hub's branch, tag or commit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
def command(
    steering: str | None,
    neurons: Path | None,
    dose: float | None,
    out: Path,
    overwrite: bool,
    name: str | None,
    dtype: str | None,
    device_map: str | None,
    revision: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write an edit into a model's weights.

    The result is an ordinary transformers checkpoint that is steered at every position, wherever it is run. Factors
    (gain, ablate) bake into every architecture; what adds needs a bias in the down projection.
    """
    from nnvalue.artifacts import read_json
    from nnvalue.findings import ValueNeurons
    from nnvalue.models import open_model
    from nnvalue.steering import bake, from_pretrained, neuron_steering
    from nnvalue.steering.baking import MARKER

    settings = {option: given for option, given in chosen.items() if given is not None}
    _check_choice(steering, neurons, settings)
    if steering is not None:
        made = from_pretrained(steering)
    elif neurons is not None:
        made = neuron_steering(ValueNeurons.load(neurons), **{"mode": "gain", **settings}, scope="all")
    made = made if dose is None else made.at(dose)
    quiet_libraries()
    subject = open_model(name, dtype=dtype, device_map=device_map, revision=revision)
    facts = read_json(bake(subject, made, out, overwrite=overwrite) / MARKER)
    if as_json:
        print_json({**facts, "out": str(out)})
        return
    done = ", ".join(facts["changed"]) or "nothing, the model is copied"
    say(f"Baked into '{subject.name}': {json.dumps(facts['steering'], ensure_ascii=False)}")
    say(f"Changed: {done}.")
    say(f"Written to {out}. Open it: --model {out}, or AutoModelForCausalLM.from_pretrained({str(out)!r}).")


def _check_choice(steering: str | None, neurons: Path | None, settings: dict[str, Any]) -> None:
    if (steering is None) == (neurons is None):
        raise click.UsageError("Give what is baked: --steering FOLDER, or --neurons RESULT with --value.")
    if steering is not None and settings:
        raise click.UsageError(f"--{next(iter(settings))} belongs to --neurons; a saved steering has its own.")
    if neurons is not None and "value" not in settings:
        raise click.UsageError("--neurons needs --value, the value to steer by.")
    if "factor" in settings and settings.get("mode", "gain") != "gain":
        raise click.UsageError("--factor belongs to --mode gain.")
