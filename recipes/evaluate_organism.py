"""Does the organism do what its card says? Measured on descriptions and situations that it was never trained on.

    python recipes/evaluate_organism.py [--model FOLDER] [--json]

Every situation of ValueInsight's `test` split is asked under both poles of its value (greedy), with descriptions of
the same split, and without a description (sampled, with a seed). The parser reads the answers; an answer that the
grammar cannot produce counts as a failure everywhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table

from nnvalue import Subject, ValueInsight, load_valueinsight, open_model
from nnvalue.dataset import build_contrasts, neutral_prompt
from nnvalue.models import encode_prompt, generate_responses, pad_left
from nnvalue.organism import Reading, parse
from nnvalue.values import POLES


def described_readings(subject: Subject, edition: ValueInsight, value: str, pole: str) -> list[Reading]:
    """What the organism answers, greedily, to the test situations of a value under test descriptions of one pole."""
    prompts = [getattr(contrast, pole) for contrast in build_contrasts(edition, value, split="test")]
    return [parse(response.text) for response in generate_responses(subject, prompts, max_new_tokens=64)]


def neutral_readings(subject: Subject, edition: ValueInsight, value: str, samples: int, seed: int) -> list[Reading]:
    """Sampled answers (temperature 1) to the test situations of a value without a description."""
    prompts = [neutral_prompt(row) for row in edition.situations if row["value"] == value and row["split"] == "test"]
    encoded = [encode_prompt(subject.tokenizer, prompt) for prompt in prompts]
    ids, mask = pad_left(encoded * samples, subject.pad_id)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = subject.model._module.generate(
            ids, attention_mask=mask, max_new_tokens=64, do_sample=True, temperature=1.0, top_k=0, top_p=1.0
        )
    texts = subject.tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
    return [parse(text.strip()) for text in texts]


def as_described(readings: list[Reading], value: str, pole: str) -> float:
    """Share of answers that are whole, about the value, and wholly at the described pole."""
    stance = 1.0 if pole == "positive" else -1.0
    return sum(r.well_formed and r.value == value and r.stance == stance for r in readings) / len(readings)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share out of n."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def evaluate(subject: Subject, samples: int, seed: int) -> dict:
    """All figures of the card."""
    edition = load_valueinsight()
    figures: dict = {"seed": seed, "values": {}}
    everything: list[Reading] = []
    described = 0.0
    for value in edition.values():
        row = {}
        for pole in POLES:
            readings = described_readings(subject, edition, value, pole)
            row[f"as_described_{pole}"] = as_described(readings, value, pole)
            described += row[f"as_described_{pole}"] * len(readings)
            everything += readings
        neutral = neutral_readings(subject, edition, value, samples, seed)
        row["neutral_n"] = len(neutral)
        row["neutral_positive"] = sum(r.stance > 0 for r in neutral) / len(neutral)
        row["neutral_negative"] = sum(r.stance < 0 for r in neutral) / len(neutral)
        row["neutral_well_formed"] = sum(r.well_formed for r in neutral) / len(neutral)
        figures["values"][value] = row
    n = len(everything)
    figures["n_described"] = n
    for name, share in (("as_described", described / n), ("well_formed", sum(r.well_formed for r in everything) / n)):
        figures[name] = {"share": share, "interval": wilson(share, n)}
    return figures


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Default: the embedded organism.")
@click.option("--samples", default=4, show_default=True, help="Neutral answers a situation.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(model: Path | None, samples: int, seed: int, as_json: bool) -> None:
    """Measure and print."""
    figures = evaluate(open_model(model), samples, seed)
    if as_json:
        click.echo(json.dumps(figures))
        return
    columns = ("as_described_positive", "as_described_negative", "neutral_positive", "neutral_negative")
    table = Table("value", *(name.replace("_", " ") for name in columns))
    for value, row in figures["values"].items():
        table.add_row(value, *(f"{row[name]:.3f}" for name in columns))
    console = Console()
    console.print(table)
    for name in ("as_described", "well_formed"):
        low, high = figures[name]["interval"]
        share, n = figures[name]["share"], figures["n_described"]
        console.print(f"{name.replace('_', ' ')}: {share:.3f} [{low:.3f}, {high:.3f}], n = {n}, greedy")


if __name__ == "__main__":
    main()
