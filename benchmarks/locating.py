"""Every locating method, and what is blind to values, against the gold ranking: who finds the neurons that matter?

    python -m benchmarks.locating --organism FOLDER --gold FOLDER [--organism … --gold …] [--seeds 3] [--save] [--quick]

What was measured with one data seed of one organism is kept in `--work`, so a run that was stopped goes on there.

Scores come from the `locate` split, in one run for all methods, once for each data seed (other situations, descriptions
and answers); the gold of each organism (`benchmarks.gold`) from the `test` split. A neuron matters if its |effect| is
among the top 3 % of the organism's neurons. Each method's |score| then ranks all neurons:

- *AUPRC*: average precision of that ranking (chance: .03), for each of the three golds;
- *P@50*: the share of its first 50 neurons that matter;
- *sign*: the share of its first 50 whose score has the sign of what a push of them does to the readout;
- *gain*: what the readout gains, in nats, when the 1, 10 and 100 strongest neurons are pushed together the way of their
  scores, at equal length whatever their number, on 4 of the gold's situations;
- *split-half r* and the *share called* beyond test and null, as `locate` gives them;
- *cost*: processor seconds of gathering and scoring by this method alone, on given answers, over those of
  `firing_difference`.

Four scores know nothing of the poles, and a good table must rule out that a method only finds loud neurons: the
standard deviation of a neuron's activation, the length of what it writes per unit, the product of both, and its firing
rate.

A figure is the mean over values and data seeds of an organism; its interval (95 %, Student's t) is over organisms,
which are trained from different seeds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.gold import GOLDS, forks, load_gold, set_gains
from benchmarks.measure import finish
from nnvalue.artifacts import Journal, digest, library_versions, read_json, write_json
from nnvalue.dataset import build_contrasts, load_valueinsight, neutral_prompt
from nnvalue.locator import (
    Evidence,
    LocateConfig,
    Method,
    Reading,
    compare_methods,
    get_method,
    method_names,
    register_method,
)
from nnvalue.locator.gathering import Gathering
from nnvalue.models import Subject, open_model
from nnvalue.progress import silent
from nnvalue.values import POLES

TOP_SHARE = 0.03
FIRST = 50
PRIMARY = "ablation"
SET_SIZES, SET_SITUATIONS = (1, 10, 100), 4
FIGURES = (
    *(f"auprc_{gold}" for gold in GOLDS),
    "precision_50",
    "sign_50",
    *(f"gain_{size}" for size in SET_SIZES),
    "split_half_r",
    "called",
)


def _spread(evidence: Evidence, reading: Reading) -> Tensor:
    """Standard deviation of the activation over the tokens of both poles together."""
    positive, negative = evidence.pooled(reading)
    n, m = int(positive.tokens.sum()), int(negative.tokens.sum())
    mean = (positive.total.sum(0) + negative.total.sum(0)) / (n + m)
    square = (positive.squares.sum(0) + negative.squares.sum(0)) / (n + m)
    return (square - mean.square()).clamp(min=0).sqrt()


def _length(evidence: Evidence, reading: Reading) -> Tensor:
    layers = len(evidence.pooled(reading).positive.mean())
    return torch.stack([evidence.output_weights(layer).double().norm(dim=1) for layer in range(layers)])


def _loudness(evidence: Evidence, reading: Reading) -> Tensor:
    return _spread(evidence, reading) * _length(evidence, reading)


def _firing_rate(evidence: Evidence, reading: Reading) -> Tensor:
    positive, negative = evidence.pooled(reading)
    return (positive.firing_rate() + negative.firing_rate()) / 2


_WEIGHTS = frozenset({"output_weights"})
BLIND = (
    Method("blind_sd", _spread, Reading("down_in"), "a baseline", paired=None),
    Method("blind_norm", _length, Reading("down_in"), "a baseline", paired=None, needs=_WEIGHTS),
    Method("blind_loudness", _loudness, Reading("down_in"), "a baseline", paired=None, needs=_WEIGHTS),
    Method("blind_firing_rate", _firing_rate, Reading("gate"), "a baseline", paired=None),
)


@dataclass(frozen=True)
class MapsOnly:
    """Selects nothing: only maps are needed, and the percentiles of what is selected would take most of a run."""

    def size(self, neurons: int) -> int:
        """How many neurons of a pole, out of so many."""
        return 0

    def keep(self, ranked: Tensor) -> int:
        """How many of a pole's ranked scores are selected."""
        return 0


def average_precision(score: np.ndarray, matters: np.ndarray) -> float:
    """Mean precision at the rank of each neuron that matters; ties are broken against the method.

    Args:
        score: `[neuron]`, the higher the earlier.
        matters: bool `[neuron]`.
    """
    order = np.lexsort((matters, -score))
    hits = matters[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def figures_of(score: Tensor, gold: Mapping[str, Tensor]) -> dict[str, float]:
    """A method's figures for one value.

    Args:
        score: `[layer, neuron]`.
        gold: by gold, mean effect `[layer, neuron]`.
    """
    flat = score.abs().flatten().numpy()
    found = {}
    for name, effect in gold.items():
        size = effect.abs().flatten().numpy()
        matters = size >= np.sort(size)[-round(TOP_SHARE * len(size))]
        found[f"auprc_{name}"] = average_precision(flat, matters)
        if name == PRIMARY:
            first = np.argsort(-flat, kind="stable")[:FIRST]
            found["precision_50"] = float(matters[first].mean())
            signs = torch.stack((score.flatten(), gold["push"].flatten())).sign()[:, first]
            found["sign_50"] = float((signs[0] == signs[1]).float().mean())
    return found


def measure(subject: Subject, gold_folder: Path, seed: int, **settings: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Method -> value -> figures, of one organism with one data seed."""
    several = len(settings["values"]) > 1
    methods = [name for name in method_names() if several or "firing_rates" not in get_method(name).needs]
    identity = {name: subject.identity()[name] for name in ("config_sha256", "weights_sample_sha256")}
    golds = load_gold(gold_folder, settings["values"], {**identity, "dataset": load_valueinsight().fingerprint})
    compared = compare_methods(methods, subject, seed=seed, selection=MapsOnly(), **settings)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    model, edition = subject.model._module, load_valueinsight()
    asked = {value: forks(edition, value, SET_SITUATIONS, subject.tokenizer, seed=0) for value in settings["values"]}
    for method, found in compared.items():
        for number, value in enumerate(found.values):
            facts = found.config["counts"][value]
            called = found.maps["called"][number].mean() if facts["significance"] else None
            score = torch.from_numpy(found.maps["score"][number])
            gains = set_gains(model, asked[value], score, SET_SIZES)
            rows.setdefault(method, {})[value] = {
                **figures_of(score, {g: mean[number] for g, (mean, _) in golds.items()}),
                **{f"gain_{size}": gain for size, gain in zip(SET_SIZES, gains, strict=True)},
                "split_half_r": facts["split_half_r"],
                "called": None if called is None else float(called),
            }
    return rows


def measure_once(work: Path, subject: Subject, gold_folder: Path, seed: int, **settings: Any) -> dict[str, Any]:
    """As `measure`; figures are kept in `work` and taken from there if they are of the same organism and settings."""
    facts = {
        "methods": {name: [*get_method(name).reading, get_method(name).source] for name in method_names()},
        "organism": subject.identity()["weights_sample_sha256"],
        "gold": [
            sha256((gold_folder / f"{value}.safetensors").read_bytes()).hexdigest() for value in settings["values"]
        ],
        "dataset": load_valueinsight().fingerprint,
        "versions": library_versions(),
        "seed": seed,
        **settings,
    }
    path = work / f"{digest(facts)[:16]}.json"
    if path.exists():
        return read_json(path)["figures"]
    figures = measure(subject, gold_folder, seed, **settings)
    work.mkdir(parents=True, exist_ok=True)
    write_json(path, {"facts": facts, "figures": figures})
    return figures


def costs(subject: Subject, methods: Sequence[str], value: str, situations: int) -> dict[str, float]:
    """Processor seconds of each method on given answers to one value's contrasts, over those of `firing_difference`."""
    edition = load_valueinsight()
    contrasts = {value: build_contrasts(edition, value, situations=situations)}
    neutral = [neutral_prompt(row) for row in edition.situations.select(range(20))]
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, method in enumerate(("firing_difference", *methods)):  # a first time that does not count
            config = LocateConfig(method=method, situations=situations)
            with Journal(Path(folder) / str(number), {}) as journal:
                gathering = Gathering(
                    subject, config, contrasts, {}, [config.reading], True, neutral, journal, silent, lambda _: None
                )
                for pole in POLES:
                    gathering.responses(value, pole)
                started = time.process_time()
                parts = [gathering.moments(value)]
                one = get_method(method)
                one.score(gathering.evidence(one, config.reading, [value], parts), config.reading)
                seconds[method] = time.process_time() - started
    return {method: seconds[method] / seconds["firing_difference"] for method in methods}


def over_organisms(figures: Sequence[float | None]) -> tuple[float, float | None] | None:
    """Mean and half the width of its 95 % interval (Student's t; None of one organism); None where it is undefined."""
    from scipy.stats import t as student

    if None in figures:
        return None
    each = np.array(figures, dtype=float)
    if len(each) < 2:
        return float(each.mean()), None
    return float(each.mean()), float(student.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5)


def summarise(measured: Sequence[Sequence[Mapping[str, Mapping[str, Mapping[str, Any]]]]]) -> dict[str, dict[str, Any]]:
    """Method -> figure -> (mean, half width); `measured` is [organism][data seed] of what `measure` gives."""
    methods = measured[0][0]
    names = next(iter(methods[next(iter(methods))].values()))
    table: dict[str, dict[str, Any]] = {}
    for method in methods:
        for name in names:
            per_organism = []
            for runs in measured:
                numbers = [row[name] for run in runs for row in run[method].values()]
                per_organism.append(None if None in numbers else float(np.mean(numbers)))
            table.setdefault(method, {})[name] = over_organisms(per_organism)
    return table


def ratios(measured: Sequence[Sequence[Any]], method: str, others: Sequence[str]) -> dict[str, Any]:
    """By value: how many times a method's AUPRC under ablation is that of the best of some others, over organisms.

    The best one is chosen for each value, organism and data seed, so that it has every advantage.
    """
    values = measured[0][0][method]
    key = f"auprc_{PRIMARY}"
    found = {}
    for value in values:
        per_organism = [
            float(np.mean([run[method][value][key] / max(run[other][value][key] for other in others) for run in runs]))
            for runs in measured
        ]
        found[value] = over_organisms(per_organism)
    return found


@click.command()
@click.option(
    "--organism", "organisms", multiple=True, type=click.Path(path_type=Path), help="A model folder; repeatable."
)
@click.option("--gold", "golds", multiple=True, type=click.Path(path_type=Path), help="Its gold folder; as many.")
@click.option("--seeds", default=3, show_default=True, help="Data seeds.")
@click.option("--situations", default=32, show_default=True)
@click.option("--value", "values", multiple=True, help="Default: all ten.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/locating"), show_default=True)
@click.option("--save", is_flag=True, help="Keep the table in benchmarks/results/.")
@click.option("--quick", is_flag=True, help="One data seed, two folds, without the null.")
def main(
    organisms: tuple[Path, ...], golds: tuple[Path, ...], seeds: int, situations: int, values: tuple[str, ...],
    work: Path, save: bool, quick: bool,
) -> None:  # fmt: skip
    """Measure, print, and keep."""
    if len(golds) != max(1, len(organisms)):
        raise click.UsageError("Give a --gold for each --organism.")
    values = values or tuple(load_valueinsight().values())
    for path in (folder / f"{value}.safetensors" for folder in golds for value in values):
        if not path.exists():
            raise click.UsageError(f"There is no {path}; benchmarks.gold makes it.")
    for method in BLIND:
        register_method(method)
    settings: dict[str, Any] = {"situations": situations, "values": list(values)}
    if quick:
        seeds, settings = 1, {**settings, "situations": 4, "null": False}
    subjects = [open_model(folder) for folder in organisms or (None,)]
    measured = [
        [measure_once(work, subject, gold, seed, **settings) for seed in range(seeds)]
        for subject, gold in zip(subjects, golds, strict=True)
    ]
    table = summarise(measured)
    several = [name for name in table if "firing_rates" not in get_method(name).needs]
    cost = costs(subjects[0], several, settings["values"][0], settings["situations"])
    _print(table, cost)
    blind = [method.name for method in BLIND]
    candidates = dict.fromkeys((LocateConfig().method, "firing_difference", "attribution"))
    finish("locating", {
        "organisms": len(subjects), "data_seeds": seeds, "values": len(settings["values"]),
        "situations": settings["situations"], "top_share": TOP_SHARE, "golds": list(GOLDS),
        "table": table, "cost": cost,
        "against_the_best_blind": {name: ratios(measured, name, blind) for name in candidates},
        "against_attribution": ratios(measured, LocateConfig().method, ["attribution"]),
    }, save)  # fmt: skip


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report as two tables: every method's figures, and by value how many times better the default is."""
    golds = [f"AUPRC, {gold}" for gold in GOLDS]
    heads = ["method", *golds, "P@50", "sign", *(f"gain {k}" for k in SET_SIZES), "split-half r", "called", "cost"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for method, row in _best_first(report["table"]):
        cost = report["cost"].get(method)
        lines.append(
            _row([f"`{method}`", *(_cell(row[name]) for name in FIGURES), "—" if cost is None else f"{cost:.1f}"])
        )
    blind, attribution = report["against_the_best_blind"], report["against_attribution"]
    heads = ["value", *(f"`{method}` / best blind" for method in blind), f"`{next(iter(blind))}` / `attribution`"]
    lines += ["", _row(heads), _row(["---"] * len(heads))]
    for value in attribution:
        each = [*(ratio[value] for ratio in blind.values()), attribution[value]]
        lines.append(_row([value.replace("_", "-"), *map(_cell, each)]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _best_first(table: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(table.items(), key=lambda item: -item[1][f"auprc_{PRIMARY}"][0])


def _print(table: Mapping[str, Mapping[str, Any]], cost: Mapping[str, float]) -> None:
    golds = (f"AUPRC {gold}" for gold in GOLDS)
    gains = (f"gain {size}" for size in SET_SIZES)
    shown = Table("method", *golds, "P@50", "sign", *gains, "split-half r", "called", "cost")
    for method, row in _best_first(table):
        cells = (_cell(row[name]) for name in FIGURES)
        shown.add_row(method, *cells, f"{cost[method]:.1f}" if method in cost else "—")
    Console(width=200).print(shown)


def _cell(figure: Sequence[float | None] | None) -> str:
    if figure is None:
        return "—"
    return f"{figure[0]:.2f}" if figure[1] is None else f"{figure[0]:.2f} ± {figure[1]:.2f}"


if __name__ == "__main__":
    main()
