"""Does steering move what the organism values: every arm, dose, value and pole, on three organisms.

    python -m benchmarks.steering --organism FOLDER [--organism …] [--out runs/steering] [--quick] [--save]

The organism answers held-out situations (`test` split, neutral voice, temperature .7) whose value belongs to the
steered higher-order value; the parser reads each answer's stance: −1 … 1 towards that value, 0 for an answer that is
about another value or cannot be read. *Movement* is the mean over answers of (stance − stance at dose 0, with the same
noise), towards the asked pole. Intervals are 95 % bootstraps over the situations' cores.

Arms: `effect` on the default method's neurons; its strongest twelve (`sparse`); matched random neurons; the paper's
setting (ValueLocate's score, threshold and edit, as published) with its steps alone; the public code's variant; the
direction of the residual stream's middle layer; the probe's goal; a description of the pole. The dose of the random
control and of the headline is chosen on situations of the `locate` split: the smallest that moves by .5 there while .97
of the answers are well-formed. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.measure import finish
from nnvalue import LocateConfig, Threshold, ValueInsight, ValueNeurons, load_framework, load_valueinsight, locate
from nnvalue.artifacts import read_json, write_json
from nnvalue.dataset import neutral_prompt
from nnvalue.errors import InvalidInputError
from nnvalue.models import generate_responses, open_model
from nnvalue.organism import parse
from nnvalue.prompts import Prompt
from nnvalue.steering import (
    Sampling,
    Steering,
    direction_steering,
    learn_directions,
    matched_random,
    neuron_steering,
    value_prompt,
)
from nnvalue.values import POLES

VALUES = ("openness_to_change", "self_transcendence", "conservation", "self_enhancement")
DOSES: dict[str, tuple[float, ...]] = {
    "effect": (4, 8, 12, 16, 20),
    "effect, sparse": (12, 20),
    "npti, as published": (0.25, 0.5),
    "npti, addition alone": (0.5,),
    "npti, cap alone": (0.5,),
    "valuelocate, as published": (1,),
    "direction": (0.25, 0.5),
    "probe, goal .99": (1,),
    "prompt": (1,),
}
TEMPERATURE, NEW_TOKENS = 0.7, 64
SPARSE_TOP = 6  # neurons a pole: .47 % of 2,560 in all
RANDOM_SETS, RANDOM_TIMES = 37, 4  # no divisor of n: each time a situation meets another set
ENOUGH, LEAST = 0.5, 0.4  # movement
SURELY_WELL_FORMED = 0.97
RESAMPLES = 10_000


class Organism:
    """One organism, what was located in it, and its answers."""

    def __init__(self, folder: str | None, out: Path, n: int, edition: ValueInsight) -> None:
        self.subject, self.out, self.n, self._edition = open_model(folder), out, n, edition
        self._framework = load_framework("schwartz")
        self._found = self._locate("located")
        self._published = self._locate("published", method="firing_difference", selection=Threshold(0.10))
        self._directions = learn_directions(self.subject, self._found)

    def _locate(self, name: str, **settings: Any) -> ValueNeurons:
        config = LocateConfig(values=VALUES, **settings)
        return locate(self.subject, config, dataset=self._edition, out=self.out / name)

    def size(self, value: str) -> dict[str, int]:
        """How many neurons of a value the default's set and the published one have."""
        return {"effect": len(self._found.places(value)), "npti, as published": len(self._published.places(value))}

    def steering(self, arm: str, value: str, pole: str) -> Callable[[float, int], Steering]:
        """(dose, which of the draws of what is drawn at random) -> the arm."""
        if arm == "prompt":
            said = [value_prompt(self._edition, value, pole, split="test", seed=seed) for seed in range(RANDOM_SETS)]
            return cache(lambda dose, drawn: said[drawn].at(dose))
        if arm == "direction":
            one = direction_steering(self._directions, value, pole)
        elif arm == "probe, goal .99":
            one = direction_steering(self._directions, value, pole, goal=0.99)
        elif arm == "random":
            original = neuron_steering(self._found, value, pole)
            sets = [matched_random(original, self.subject.anatomy.width, seed) for seed in range(RANDOM_SETS)]
            return cache(lambda dose, drawn: sets[drawn].at(dose))
        elif arm.startswith("effect"):
            one = neuron_steering(self._found, value, pole, top=SPARSE_TOP if "sparse" in arm else None)
        else:
            mode, _, how = arm.partition(", ")
            part = how.split(" ")[0] if "alone" in how else "both"
            one = neuron_steering(
                self._published, value, pole, mode=mode, part={"addition": "add"}.get(part, part),
                as_published="alone" not in how, scope="decode",
            )  # fmt: skip
        return cache(lambda dose, drawn: one.at(dose))  # one object a dose, so that its rows share their edits

    def prompts(self, value: str, split: str, n: int) -> list[tuple[str, Prompt]]:
        """(core, prompt) of situations whose value is a member of the steered one, in a seeded order."""
        members = self._framework.members(value)
        rows = [row for row in self._edition.situations if row["value"] in members and row["split"] == split]
        random.Random(f"0/{value}/{split}").shuffle(rows)
        return [(row["core"], neutral_prompt(row)) for row in rows[:n]]

    def _files(self, value: str, pole: str, arm: str, doses: Sequence[float], split: str) -> dict[float, Path]:
        name = f"{value}-{pole}-{arm.replace(', ', '-')}"
        return {dose: self.out / f"{name}-{dose:g}-{split}.json" for dose in doses}

    def missing(self, value: str, pole: str, arm: str, doses: Sequence[float]) -> bool:
        """Whether an arm has not been measured."""
        return not all(file.exists() for file in self._files(value, pole, arm, doses, "test").values())

    def answers(
        self, value: str, pole: str, arm: str, doses: Sequence[float], split: str = "test"
    ) -> dict[float, dict[str, list[Any]]]:
        """Dose -> stance (towards the value's positive pole), well-formed and about the value, one entry an answer."""
        n = self.n if split == "test" else max(8, self.n * 2 // 5)
        files = self._files(value, pole, arm, doses, split)
        asked = self.prompts(value, split, n) * (RANDOM_TIMES if arm == "random" else 1)
        left = [dose for dose in doses if not files[dose].exists()]
        pairs = [(dose, number) for dose in left for number in range(len(asked))]
        arms = [None] * len(pairs)
        if arm != "none" and left:
            make = self.steering(arm, value, pole)
            draws = RANDOM_SETS if arm in ("random", "prompt") else 1
            arms = [make(dose, number % draws) for dose, number in pairs]
        said = generate_responses(
            self.subject, [asked[number][1] for _, number in pairs], steering=arms,
            sampling=Sampling(TEMPERATURE), max_new_tokens=NEW_TOKENS,
        )  # fmt: skip
        for place, dose in enumerate(left):
            read = [parse(answer.text) for answer in said[place * len(asked) : (place + 1) * len(asked)]]
            mine = [reading.value in self._framework.members(value) for reading in read]
            write_json(files[dose], {
                "core": [core for core, _ in asked],
                "stance": [reading.stance * about for reading, about in zip(read, mine, strict=True)],
                "well_formed": [reading.well_formed for reading in read],
                "about": mine,
            })  # fmt: skip
        return {dose: read_json(file) for dose, file in files.items()}


def cell(now: Mapping[str, list[Any]], before: Mapping[str, list[Any]], sign: int) -> dict[str, Any]:
    """The figures of one arm, dose, value and pole."""
    times = len(now["stance"]) // len(before["stance"])
    moved = sign * (np.array(now["stance"]) - np.tile(before["stance"], times))
    low, high = cluster_interval(moved, now["core"])
    said, said_before = (np.array(each["stance"])[np.array(each["about"])] for each in (now, before))
    among = round(float(sign * (said.mean() - said_before.mean())), 4) if len(said) else None
    return {
        "n": len(moved), "stance": mean(now["stance"]), "movement": mean(moved), "low": low, "high": high,
        "among": among, "well_formed": mean(now["well_formed"]), "about": mean(now["about"]),
    }  # fmt: skip


def over_sets(now: Mapping[str, list[Any]], before: Mapping[str, list[Any]], sign: int) -> dict[str, Any]:
    """The interval over draws of random neurons, which differ by more than situations do; and their least and most."""
    moved = sign * (np.array(now["stance"]) - np.tile(before["stance"], RANDOM_TIMES))
    drawn = np.arange(len(moved)) % RANDOM_SETS
    low, high = cluster_interval(moved, drawn)
    means = np.bincount(drawn, moved) / np.bincount(drawn)
    return {"low": low, "high": high, "sets": RANDOM_SETS, "least": mean(means.min()), "most": mean(means.max())}


def mean(values: Any) -> float:
    """To four digits."""
    return round(float(np.mean(values)), 4)


def cluster_interval(values: np.ndarray, clusters: Sequence[str]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, drawing whole clusters with a seed of 0."""
    _, at = np.unique(clusters, return_inverse=True)
    sums, counts = np.bincount(at, values), np.bincount(at)
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return tuple(round(float(bound), 4) for bound in np.quantile(means, (0.025, 0.975)))


def dose_response(by_dose: Mapping[float, Mapping[str, list[Any]]], sign: int) -> dict[str, Any]:
    """Trend over the doses up to the strongest mean stance (five at least), and reversals between neighbours there.

    Each core has one slope of stance on dose; the trend is a t test of the slopes against 0. A reversal is a step down
    whose t test over cores is below .05, divided by the number of steps.
    """
    doses = sorted(by_dose)
    means = [float(np.mean(by_dose[dose]["stance"])) * sign for dose in doses]
    top = max(range(len(doses)), key=means.__getitem__)
    used = doses[: max(top + 1, 5)]
    _, at = np.unique(by_dose[0]["core"], return_inverse=True)
    counts = np.bincount(at)
    table = np.stack([sign * np.bincount(at, np.array(by_dose[dose]["stance"])) / counts for dose in used])
    centred = np.array(used) - np.mean(used)
    slopes = centred @ table / (centred @ centred)
    steps = np.diff(table[: top + 1], axis=0)
    down = [step for step in steps if step.mean() < 0 and ttest_1samp(step, 0).pvalue < 0.05 / len(steps)]
    return {
        "saturates_at": doses[top],
        "doses": len(used),
        "p": float(ttest_1samp(slopes, 0).pvalue),
        "reversals": len(down),
    }


def chosen_dose(organism: Organism, value: str, pole: str, sign: int) -> float:
    """The smallest dose of `effect` that moves enough on the `locate` split while surely enough is well-formed there.

    Where none does, the one that moves most.
    """
    before = organism.answers(value, "neutral", "none", [0], split="locate")[0]
    tried = organism.answers(value, pole, "effect", DOSES["effect"], split="locate")
    figures = {dose: cell(now, before, sign) for dose, now in tried.items()}
    whole = [dose for dose, one in figures.items() if one["well_formed"] >= SURELY_WELL_FORMED]
    enough = [dose for dose in whole if figures[dose]["movement"] >= ENOUGH]
    return min(enough) if enough else max(whole or [min(figures)], key=lambda dose: figures[dose]["movement"])


def controlled_doses(effect: Mapping[str, Any], best: float) -> list[float]:
    """The chosen dose; and the next one too, where the chosen one moves little on these situations."""
    next_one = [dose for dose in DOSES["effect"] if dose > best][:1]
    return [best] + (next_one if effect[f"{best:g}"]["movement"] < LEAST else [])


def measured(
    organism: Organism, value: str, pole: str, doses: Mapping[str, Sequence[float]], known: bool
) -> dict[str, Any]:
    """All arms of one value and pole; with `known` those only that were measured before."""
    sign = 1 if pole == POLES[0] else -1
    before = organism.answers(value, "neutral", "none", [0])[0]
    best = chosen_dose(organism, value, pole, sign)
    arms: dict[str, Any] = {}
    for arm in (*doses, "random"):
        wanted = controlled_doses(arms["effect"], best) if arm == "random" else doses[arm]
        if known and organism.missing(value, pole, arm, wanted):
            continue
        try:
            made = organism.answers(value, pole, arm, wanted)
        except InvalidInputError as error:
            arms[arm] = {"refused": str(error)}
            continue
        arms[arm] = {f"{dose:g}": cell(now, before, sign) for dose, now in made.items()}
        if arm == "effect":
            trend = dose_response({0: before, **made}, sign)
        if arm == "random":
            for dose, now in made.items():
                arms[arm][f"{dose:g}"] |= over_sets(now, before, sign)
        click.echo(f"{value} {pole} {arm}: {arms[arm]}", err=True)
    unsteered = {"n": len(before["stance"]), **{key: mean(before[key]) for key in ("stance", "well_formed", "about")}}
    return {"chosen_dose": best, "unsteered": unsteered, "trend": trend, "arms": arms, "neurons": organism.size(value)}


@click.command()
@click.option("--organism", "folders", multiple=True, help="A model folder; repeatable. Default: the embedded one.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/steering"), show_default=True)
@click.option("--n", default=500, show_default=True, help="Answers a cell; the random control has four times as many.")
@click.option("--arm", "arms", multiple=True, type=click.Choice(tuple(DOSES)), help="Only this; repeatable.")
@click.option("--known", is_flag=True, help="Only what has been measured before.")
@click.option("--quick", is_flag=True, help="One value and pole, 24 answers, three arms.")
@click.option("--save", is_flag=True, help="Keep the figures in benchmarks/results/.")
def main(
    folders: tuple[str, ...], out: Path, n: int, arms: tuple[str, ...], known: bool, quick: bool, save: bool
) -> None:
    """Measure every arm."""
    edition = load_valueinsight()
    wanted = ("effect", "direction", "prompt") if quick else {"effect", *arms} if arms else DOSES
    doses = {arm: DOSES[arm] for arm in DOSES if arm in wanted}
    values, poles = (VALUES[:1], POLES[:1]) if quick else (VALUES, POLES)
    result: dict[str, Any] = {}
    for number, folder in enumerate(folders or (None,), 1):
        place = out / f"organism{number}-{24 if quick else n}"
        place.mkdir(parents=True, exist_ok=True)
        organism = Organism(folder, place, 24 if quick else n, edition)
        result[f"organism {number}"] = {
            value: {pole: measured(organism, value, pole, doses, known) for pole in poles} for value in values
        }
    print(f"{headline_table(result)}\n\n{arms_table(result)}")
    finish("steering", {"organisms": result, "temperature": TEMPERATURE, "resamples": RESAMPLES, "seed": 0}, save)


def headline_table(result: Mapping[str, Any]) -> str:
    """Markdown: every value and pole of every organism at the chosen dose, beside its random control."""
    lines = [
        "| organism, value, pole | dose | movement | about it | well-formed | random | trend p | reversals |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, values in result.items():
        for value, poles in values.items():
            for pole, one in poles.items():
                cell_name = f"{name.removeprefix('organism ')}, {value}, {'+' if pole == POLES[0] else '−'}"
                controls = one["arms"]["random"]
                for dose in [f"{one['chosen_dose']:g}"] if "refused" in controls else controls:
                    made, control = one["arms"]["effect"][dose], controls.get(dose)
                    lines.append(
                        f"| {cell_name} | {dose} | {moved(made)} | {made['among']:+.2f} | {made['well_formed']:.3f} "
                        f"| {moved(control) if control else 'refused'} | {one['trend']['p']:.0e} "
                        f"| {one['trend']['reversals']} |"
                    )
    return "\n".join(lines)


def arms_table(result: Mapping[str, Any]) -> str:
    """Markdown: every arm and dose, mean and range over organisms, values and poles."""
    lines = ["| arm | dose | movement | well-formed | about the value |", "| --- | --- | --- | --- | --- |"]
    cells = [one for values in result.values() for poles in values.values() for one in poles.values()]
    for arm, doses in {**DOSES, "random": ("chosen",)}.items():
        for dose in doses:
            key = dose if isinstance(dose, str) else f"{dose:g}"
            keys = [f"{one['chosen_dose']:g}" if key == "chosen" else key for one in cells]
            found = [
                one["arms"][arm][at] for one, at in zip(cells, keys, strict=True) if at in one["arms"].get(arm, {})
            ]
            if not found:
                continue
            columns = ([one[name] for one in found] for name in ("movement", "well_formed", "about"))
            shown = (f"{np.mean(column):.2f} ({min(column):.2f} – {max(column):.2f})" for column in columns)
            lines.append(f"| {arm} | {key} | {' | '.join(shown)} |")
    return "\n".join(lines)


def moved(one: Mapping[str, Any]) -> str:
    """A movement with its interval."""
    return f"{one['movement']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]".replace("-", "−")


if __name__ == "__main__":
    main()
