"""Which way of steering does least else? Neurons, directions, SAE features, roles and prompts, at the same effect.

    python -m recipes.compare_steering [--model NAME --sae SAE --endpoint URL --llm JUDGE] [--situations 24]

Every arm is taken to the dose at which its targets move equally far, and what other values do there, how many answers
fail and how fluent they are is put side by side, with 95 % intervals over situations; what held-out sentences lose
stands in the tables above. Random neurons, directions and features of the same size are the controls. The last table
is written to OUT.matched.json, too.

All ten values take less than 20 minutes of one core. Expect that features and directions move other values more than
neurons and a prompt do, at the same effect (docs/sae.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from nnvalue.artifacts import library_versions, plain, write_json
from nnvalue.causal import descendants, read_reference
from nnvalue.causal.marks import heads
from nnvalue.cli.evaluate_show import print_evaluation
from nnvalue.cli.terminal import progress_bars, quiet_libraries
from nnvalue.evaluation import Arm, Design, Evaluation, Matched, evaluate, matched
from nnvalue.evaluation.design import UNSTEERED
from nnvalue.llm import CompletionClient, Endpoint
from nnvalue.models import open_model
from nnvalue.readout import LLMJudge, Rubrics
from nnvalue.values import SIGN, load_framework
from recipes.command import Recipe

FOUND = {"null": False}


def design(values: Sequence[str], situations: int, others: int, sae: str | None) -> Design:
    """What is compared."""
    arms = (
        Arm("neurons", doses=(4, 8, 12, 16), locate=FOUND),
        Arm("direction", "direction", (0.125, 0.25, 0.375, 0.5), locate=FOUND),
        Arm("features, add", "features", (0.125, 0.25, 0.375, 0.5), locate=FOUND, sae=sae),
        Arm("features, clamp", "features", (0.05, 0.1, 0.2), locate=FOUND, steering={"mode": "clamp"}, sae=sae),
        Arm("role", "role"),
        Arm("prompt", "prompt"),
    )
    return Design(
        tuple(values), arms, situations=situations, others=others, pairs=1, random_sets=2, held_out=8,
        locate_situations=32,
    )  # fmt: skip


@click.command(cls=Recipe)
@click.option("--model", help="A folder or hub id. Default: the embedded organism.")
@click.option("--sae", help="As nnvalue.sae.open_sae takes it. Default: the organism's.")
@click.option("--endpoint", help="Of the judge: an OpenAI-compatible URL; the key comes from OPENAI_API_KEY.")
@click.option("--llm", default="", help="What the endpoint calls the judge.")
@click.option("--value", "values", multiple=True, help="Steer this; repeatable.  [default: the ten basic values]")
@click.option("--situations", default=24, show_default=True, help="Of the steered value, in each cell.")
@click.option("--others", default=3, show_default=True, help="Of every other value, for leakage.")
@click.option("--effect", type=float, help="Of the targets, where arms are compared.  [default: what all reach]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/compare"), show_default=True)
def main(
    model: str | None, sae: str | None, endpoint: str | None, llm: str, values: tuple[str, ...], situations: int,
    others: int, effect: float | None, out: Path,
) -> None:  # fmt: skip
    """Run the comparison and print it."""
    if len(values) == 1 or others < 1:
        raise click.UsageError(
            "What else moves is read of other values: give two values at least, and --others above 0."
        )
    if llm and endpoint is None:
        raise click.UsageError("--llm names a judge at an --endpoint; give that, too.")
    asked = design(values or tuple(load_framework().values), situations, others, sae)
    out.parent.mkdir(parents=True, exist_ok=True)
    quiet_libraries()
    with ExitStack() as stack:
        judge = None
        if endpoint is not None:
            client = stack.enter_context(CompletionClient(Endpoint(endpoint, llm), out.with_name(f"{out.name}.jsonl")))
            judge = LLMJudge(client, Rubrics(load_framework()))
        progress = stack.enter_context(progress_bars())
        done = evaluate(open_model(model), asked, judge=judge, out=out, progress=progress)
    console = Console()
    console.width = max(console.width, 112)  # the table's numbers would be cut
    print_evaluation(console, done)
    told = print_matched(console, done, known=model is None, effect=effect)
    place = out.with_name(f"{out.name}.matched.json")
    write_json(place, plain(told))
    console.print(f"Written to {place}.", markup=False, highlight=False, soft_wrap=True)


def print_matched(console: Console, done: Evaluation, known: bool, effect: float | None = None) -> dict[str, Any]:
    """Every arm at the same effect, and the differences in leakage; the same as JSON data."""
    rows, pairs = matched(done, effect)
    told: dict[str, Any] = {"design": done.design.as_json(), "versions": library_versions(), "arms": [], "pairs": []}
    console.print(f"At the same effect, targets moved by {rows[0].effect:.2f}", style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ["arm", "dose", "reach", "others move", "", "failed", "ppl", "random"] + ["expected", "unexpected"] * known
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        sides = expected_and_not(done, row) if known else ()
        chance = moved_by_chance(done, row)
        told["arms"].append({
            **asdict(row), "random": chance, **dict(zip(("expected", "unexpected"), sides, strict=False))
        })  # fmt: skip
        table.add_row(
            row.arm, f"{row.dose:.2g}", f"{row.reached:.2f}", f"{row.leakage:.3f}", f"[{row.low:.3f}, {row.high:.3f}]",
            f"{row.failures:+.3f}", f"{row.log_perplexity:+.2f}", "" if chance is None else f"{chance:+.3f}",
            *(f"{one:.3f}" for one in sides),
        )  # fmt: skip
    console.print(table)
    console.print("reach: share of resamples that get to this effect, which intervals are over", style="dim")
    for (one, other), (mean, low, high) in pairs.items():
        told["pairs"].append({"arm": one, "less": other, "leakage": mean, "low": low, "high": high})
        console.print(f"{one} − {other}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]", markup=False, highlight=False)
    return told


def moved_by_chance(done: Evaluation, row: Matched) -> float | None:
    """How far random neurons, directions or features move the targets at the dose nearest to the arm's; None for words.

    The mean over all kinds and draws of the control.
    """
    base = {(one["measured"], one["situation"]): one["stance"] for one in done.answers if one["arm"] == UNSTEERED}
    dose = _nearest_dose(done, row)
    moved = [
        SIGN[one["pole"]] * (one["stance"] - base[one["measured"], one["situation"]])
        for one in done.answers
        if one["control_of"] == row.arm and one["dose"] == dose and one["measured"] == one["value"]
    ]
    return float(np.mean(moved)) if moved else None


def _nearest_dose(done: Evaluation, row: Matched) -> float:
    doses = sorted({one["dose"] for one in done.answers if one["arm"] == row.arm})
    return min(doses, key=lambda each: abs(each - row.dose)) if row.dose == row.dose else doses[-1]


def expected_and_not(done: Evaluation, row: Matched) -> tuple[float, float]:
    """Mean |movement| of values downstream of the target in the organism's causal model, and of all others.

    At the arm's dose that is nearest to the matched one.
    """
    values = done.design.values
    base = {(one["measured"], one["situation"]): one["stance"] for one in done.answers if one["arm"] == UNSTEERED}
    dose = _nearest_dose(done, row)
    changes: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in done.answers:
        if one["arm"] == row.arm and one["dose"] == dose:
            moved = SIGN[one["pole"]] * (one["stance"] - base[one["measured"], one["situation"]])
            changes.setdefault((one["value"], one["pole"]), {}).setdefault(one["measured"], []).append(moved)
    downstream = descendants(heads(read_reference("organism", values)))
    sides: dict[bool, list[float]] = {True: [], False: []}
    for (value, _), cells in changes.items():
        for expected in sides:
            other_moves = [
                abs(np.mean(cells[other])) for other, below in zip(values, downstream[values.index(value)], strict=True)
                if other != value and other in cells and bool(below) is expected
            ]  # fmt: skip
            sides[expected].append(np.mean(other_moves) if other_moves else np.nan)
    known = {expected: [one for one in found if np.isfinite(one)] for expected, found in sides.items()}
    expected, not_so = (float(np.mean(known[side])) if known[side] else float("nan") for side in (True, False))
    return expected, not_so


if __name__ == "__main__":
    main()
