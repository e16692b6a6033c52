"""What value features of the organism's SAE do to its answers, beside random features.

    python -m benchmarks.features [--quick] [--save]

For each of ten values and both poles: the dose is that of several which moves the stance of answers to `locate`
situations most while .98 of them are whole sentences; it is then read on `test` situations, with 95 % bootstraps over
situations' cores, beside random features whose shift is as long.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.measure import finish
from nnvalue import load_framework, load_valueinsight, locate, open_model
from nnvalue.dataset import neutral_prompt
from nnvalue.models import generate_responses
from nnvalue.organism import sae_folder
from nnvalue.readout import ParserJudge, Text, situations_of
from nnvalue.readout.bootstrap import mean_interval
from nnvalue.readout.fluency import organism_well_formed
from nnvalue.sae import check_sae, locate_features, open_sae, place_sae
from nnvalue.steering import random_features, value_features
from nnvalue.steering_protocol import Sampling
from nnvalue.values import POLES

DOSES = (0.125, 0.25, 0.3125, 0.375, 0.4375, 0.5, 0.5625)
TOP = 20
WHOLE = 0.98
PLACE = Path("runs/benchmarks-features")


@click.command()
@click.option("--quick", is_flag=True)
@click.option("--save", is_flag=True)
@click.option("--texts", default="both", show_default=True)
def main(quick: bool, save: bool, texts: str) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    subject, edition, framework = open_model(), load_valueinsight(), load_framework()
    sae = place_sae(subject, open_sae(sae_folder()))
    quality = check_sae(subject, sae)
    print(quality)
    located = locate(
        subject, situations=12 if quick else 32, null=False, dataset=edition, out=PLACE / f"neurons-{quick}"
    )
    found = locate_features(subject, sae, located, texts=texts, top=2 * TOP)
    count, draws = (8, 1) if quick else (100, 5)
    judge = ParserJudge(framework)

    def read(value: str, split: str, arms: list[Any], n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Stances and whether whole, `[arm, situation]`, and the situations' cores."""
        rows = situations_of(edition, framework, value, n, split, 0)
        put = [(neutral_prompt(row), arm) for arm in arms for row in rows]
        said = generate_responses(
            subject, [prompt for prompt, _ in put], steering=[arm for _, arm in put],
            sampling=Sampling(0.7), max_new_tokens=64,
        )  # fmt: skip
        judged = judge.judge(
            [Text(str(k), p.user, r.text, value) for k, ((p, _), r) in enumerate(zip(put, said, strict=True))]
        )
        stances = np.array([one.stance or 0.0 for one in judged]).reshape(len(arms), -1)
        whole = np.array([organism_well_formed(one.text) for one in said], dtype=float).reshape(len(arms), -1)
        return stances, whole, [row["core"] for row in rows]

    figures: dict[str, Any] = {"sae": vars(quality) | {"texts": texts, "top": TOP}, "values": {}}
    for value in framework.values:
        for pole in POLES:
            sign = 1 if pole == POLES[0] else -1
            steering = value_features(found, sae, value, pole, top=TOP)
            tried = [None, *(steering.at(dose) for dose in DOSES)]
            stances, whole, _ = read(value, "locate", tried, 8 if quick else 80)
            moved = sign * (stances[1:] - stances[0]).mean(1)
            fine = whole[1:].mean(1) >= WHOLE
            usable = [k for k in range(len(DOSES)) if fine[k]] or [0]
            dose = DOSES[max(usable, key=lambda k: moved[k])]
            arms = [None, steering.at(dose), *(random_features(steering.at(dose), sae, seed) for seed in range(draws))]
            stances, whole, cores = read(value, "test", arms, count)
            change = sign * (stances[1] - stances[0])
            control = sign * (stances[2:] - stances[0])
            low, high = mean_interval(change, cores)
            one = {
                "dose": dose, "movement": float(change.mean()), "low": low, "high": high, "n": len(change),
                "whole": float(whole[1].mean()), "random": float(control.mean()),
                "random_low": float(control.mean(1).min()), "random_high": float(control.mean(1).max()), "draws": draws,
                "features": list(steering.features),
            }  # fmt: skip
            figures["values"][f"{value} {pole}"] = one
            moved_by = f"{one['movement']:+.2f} [{low:+.2f}, {high:+.2f}]"
            by_chance = f"{one['random']:+.2f} [{one['random_low']:+.2f}, {one['random_high']:+.2f}]"
            side = "+" if sign > 0 else "−"
            print(
                f"{value:15} {side} dose {dose:<5} {moved_by} whole {one['whole']:.3f}  random {by_chance}", flush=True
            )
    reached = {
        value: max(
            figures["values"][f"{value} {pole}"]["movement"] for pole in POLES
            if figures["values"][f"{value} {pole}"]["whole"] >= 0.95
        ) if any(figures["values"][f"{value} {pole}"]["whole"] >= 0.95 for pole in POLES) else 0.0
        for value in framework.values
    }  # fmt: skip
    both = [value for value in framework.values
            if all(figures["values"][f"{value} {pole}"]["movement"] >= 0.4 for pole in POLES)]  # fmt: skip
    print(f"moved by .4 towards a pole: {sum(one >= 0.4 for one in reached.values())} of 10; towards both: {len(both)}")
    finish("features", {"figures": figures, "quick": quick}, save and not quick)


if __name__ == "__main__":
    main()
