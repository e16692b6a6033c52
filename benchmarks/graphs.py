"""Causal value graphs: discovery on models with a known truth, the organism's among them, and what a survey costs.

    python -m benchmarks.graphs [--quick] [--save] [--part sem] [--part organism] [--part findings] [--part cost]

- sem: 15 linear models of 10 variables, 500 rows each; every method beside causal-learn's PC, its time and how far its
  graph is from the truth; the difference in SHD to the library's on the same graphs is paired. Then 200 graphs of
  permuted data, each compared with the truth: how many comparisons are significant at .05.
- organism: a survey of 200 named roles under descriptions of either pole of ten values. Their true scores are known,
  and so is the causal model behind them. Graphs by every method with stability over halves of roles and of items, and
  compared with the truth beside 10,000 shuffles of names.
- findings: the same for settings by value neurons, by directions and by features of the organism's SAE, for which no
  truth is known.
- cost: a ratio to bare transformers on the same prompts; answers per second and peak memory of a survey, of N roles and
  of 4 N; every portrait in a run that is killed and goes on.
- whole: 200 roles × 25 settings × 10 values × 2 items × 2 orders.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.measure import finish, paired, print_figures
from nnvalue import load_valueinsight, locate, open_model
from nnvalue.causal import (
    METHODS,
    Context,
    Rule,
    ScoreTable,
    Survey,
    ValueGraph,
    check_table,
    compare,
    direction_settings,
    estimate,
    feature_settings,
    fit_graph,
    marks_of_arrows,
    neuron_settings,
    survey,
)
from nnvalue.causal.marks import HEAD, NOTHING, TAIL
from nnvalue.causal.references import read_reference
from nnvalue.dataset import role_of, voice
from nnvalue.models import encode_prompt, option_log_probabilities, pad_left, plan_batches
from nnvalue.organism import named_scores, sae_folder
from nnvalue.prompts import Prompt
from nnvalue.readout import read_questionnaire
from nnvalue.sae import locate_features, open_sae, place_sae
from nnvalue.steering import learn_directions
from nnvalue.values.forms import forms

PARTS = ("sem", "organism", "findings", "cost", "whole")
PLACE = Path("runs/benchmarks-graphs")
PERMUTATIONS = 10_000


@click.command()
@click.option("--quick", is_flag=True)
@click.option("--save", is_flag=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS))
@click.option("--threads", default=1, show_default=True)
def main(quick: bool, save: bool, parts: tuple[str, ...], threads: int) -> None:
    """Run the parts and print their tables."""
    torch.set_num_threads(threads)
    run = {"sem": sem, "organism": organism, "findings": findings, "cost": cost, "whole": whole}
    for part in parts or PARTS:
        finish(f"graphs-{part}", {"figures": run[part](quick), "quick": quick}, save and not quick)


def random_dag(rng: np.random.Generator, size: int = 10, degree: float = 3.0) -> np.ndarray:
    """Weights `[cause, effect]` of an acyclic graph in a random order, .4 to .9 of either sign."""
    order = rng.permutation(size)
    chosen = np.triu(rng.random((size, size)) < degree / (size - 1), 1)
    made = np.zeros((size, size))
    made[np.ix_(order, order)] = np.where(chosen, rng.uniform(0.4, 0.9, (size, size)), 0)
    return made * rng.choice((-1, 1), (size, size))


def sem(quick: bool) -> dict[str, Any]:
    """Linear models, observed only: every method that needs no steering, and causal-learn's PC."""
    from causallearn.search.ConstraintBased.PC import pc as library_pc

    graphs, rows = (4 if quick else 15), 500
    methods = [name for name in METHODS if name not in ("jci", "effects")]
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    alike = 0
    for seed in range(graphs):
        rng = np.random.default_rng(seed)
        weights = random_dag(rng)
        scores = rng.normal(size=(rows, 10)) @ np.linalg.inv(np.eye(10) - weights)
        truth = marks_of_arrows(weights != 0)
        table = ScoreTable(
            tuple(f"v{n}" for n in range(10)), scores, np.arange(rows), np.zeros(rows, dtype=int),
            tuple(map(str, range(rows))), (Context("none"),),
        )  # fmt: skip

        def library(scores: np.ndarray = scores) -> np.ndarray:
            graph = library_pc(scores, 0.05, "fisherz", uc_rule=0, uc_priority=2, show_progress=False).G.graph
            return np.select([graph.T == -1, graph.T == 1], [TAIL, HEAD], NOTHING)

        def ours(name: str, table: ScoreTable = table) -> np.ndarray:
            return estimate(table, Rule(name)).marks

        runs = {name: partial(ours, name) for name in methods}
        made = {}
        for name, run in {"causal-learn PC": library, **runs}.items():
            start = time.process_time()
            made[name] = run()
            told = compare(made[name], truth, permutations=1)
            found.setdefault(name, []).append(
                (told.shd.value, told.skeleton.value, told.direction.value, time.process_time() - start)
            )  # fmt: skip
        alike += np.array_equal(made["pc"] != 0, made["causal-learn PC"] != 0)
    base = np.array(found["causal-learn PC"])[:, 0]
    figures: dict[str, Any] = {}
    print(f"\n{graphs} linear models, {rows} rows\n{'':18} SHD  skeleton  direction  seconds  SHD − causal-learn PC")
    for name, each in found.items():
        table = np.array(each)
        difference = table[:, 0] - base
        error = difference.std(ddof=1) / np.sqrt(graphs)
        figures[name] = {
            **dict(zip(("shd", "skeleton_f1", "direction_f1", "cpu_s"), map(float, table.mean(0)), strict=True)),
            "shd_difference": float(difference.mean()), "shd_difference_error": float(error), "n": graphs,
        }  # fmt: skip
        one = figures[name]
        print(
            f"{name:18} {one['shd']:4.1f} {one['skeleton_f1']:8.2f} {one['direction_f1']:10.2f} {one['cpu_s']:8.3f}  "
            f"{difference.mean():+.2f} ± {1.96 * error:.2f}"
        )
    print(f"skeletons of our PC that equal causal-learn's: {alike} of {graphs}")
    return {"methods": figures, "skeletons_equal": int(alike), "null": null(quick)}


def null(quick: bool) -> dict[str, Any]:
    """How many of 200 comparisons of graphs from permuted data with the truth are significant at .05."""
    count, rng = (20 if quick else 200), np.random.default_rng(7)
    made: dict[str, list[int]] = {}
    for method in ("paper", "jci", "effects"):
        called = np.zeros(3, dtype=int)
        for number in range(count):
            weights = random_dag(rng, size=8, degree=2.5)
            marks = estimate(_surveyed(weights, rng), Rule(method)).marks
            names = rng.permutation(len(weights))
            told = compare(
                marks[np.ix_(names, names)], marks_of_arrows(weights != 0), permutations=999, seed=number
            )  # fmt: skip
            called += [one.p < 0.05 for one in (told.skeleton, told.direction, told.shd)]
        made[method] = called.tolist()
        print(f"names permuted, {method}: significant of {count}: skeleton, direction, SHD {called.tolist()}")
    return {"comparisons": count, "significant": made}


def _surveyed(weights: np.ndarray, rng: np.random.Generator, roles: int = 40) -> ScoreTable:
    """A survey of a linear model: every value set to ±2 in turn, with some noise of measurement."""
    size = len(weights)
    values = tuple(f"v{number}" for number in range(size))
    disturbances = rng.normal(size=(roles, size))
    tables, contexts = [disturbances @ np.linalg.inv(np.eye(size) - weights)], [Context("none")]
    for node in range(size):
        for side in (1.0, -1.0):
            cut, given = weights.copy(), disturbances.copy()
            cut[:, node], given[:, node] = 0, 2 * side
            tables.append(given @ np.linalg.inv(np.eye(size) - cut))
            contexts.append(Context(f"{node}{side}", values[node], side, "prompt"))
    scores = np.concatenate(tables)
    scores += 0.2 * rng.normal(size=scores.shape)
    places = np.arange(len(tables))
    return ScoreTable(
        values, scores, np.tile(np.arange(roles), len(tables)), np.repeat(places, roles),
        tuple(map(str, range(roles))), tuple(contexts),
    )  # fmt: skip


def _survey(name: str, settings: Any, roles: int, pairs: int) -> Survey:
    """A survey of the organism's named roles, found again where it has been made."""
    edition = load_valueinsight()
    people = [role_of(row) for row in edition.roles if row["split"] == "train"][:roles]
    return survey(
        open_model(), settings, roles=people, dataset=edition, split="locate", pairs=pairs,
        out=PLACE / f"{name}-{roles}-{pairs}",
    )  # fmt: skip


def organism(quick: bool) -> dict[str, Any]:
    """The organism under prompt interventions, where scores and graph have a truth."""
    done = _survey("prompts", None, 20 if quick else 200, 2)
    roles = {row["id"]: role_of(row) for row in load_valueinsight().roles}
    scores = done.value_scores()
    true = np.array(
        [
            [
                [told[value] for value in done.values]
                for name in done.roles
                for told in [named_scores(name, roles[name].levels, (one.value, one.pole) if one.value else None)]
            ]
            for one in done.settings
        ]
    )  # fmt: skip
    figures: dict[str, Any] = {"roles": len(done.roles), "answers": done.scores.size, "failed": done.failed}
    figures["profiles"] = {
        "all": _r(scores, true), "unsteered": _r(scores[0], true[0]), "prompts": _r(scores[1:], true[1:]),
        "by_value": {value: _r(scores[..., k], true[..., k]) for k, value in enumerate(done.values)},
    }  # fmt: skip
    print(f"\n{len(done.roles)} roles, {done.scores.size:,} answers; true profiles: r = {figures['profiles']}")
    truth = read_reference("organism", done.values)
    figures["graphs"] = {}
    for method in METHODS:
        resamples, ways = (20, 2) if quick else (200, 20) if method in ("jci", "effects", "paper", "pc") else (20, 5)
        graph = fit_graph(done, method, resamples=resamples, ways=ways)
        told = graph.compare(truth, permutations=999 if quick else PERMUTATIONS)
        figures["graphs"][method] = _told(graph) | {"against_truth": asdict(told)}
        print(
            f"{method:8} {told.edges:3} edges  skeleton {_beside(told.skeleton)}  direction {_beside(told.direction)}  "
            f"SHD {_beside(told.shd)}\n         {' | '.join(graph.stability())}\n         {' '.join(graph.warnings)}"
        )
    total = np.array(figures["graphs"]["effects"]["total"], dtype=float)
    from nnvalue.organism import causal_model

    exact = causal_model().total_effects().T
    off = ~np.eye(len(total), dtype=bool)
    figures["total_effects"] = {
        "r": _r(total[off], exact[off]),
        "slope": float(np.polyfit(exact[off], total[off], 1)[0]),
    }
    print(f"total effects off the diagonal against the truth: {figures['total_effects']}")
    return figures


def findings(quick: bool) -> dict[str, Any]:
    """Settings by neurons, directions and features: no truth is known, so what comes out is told and no more."""
    subject, edition = open_model(), load_valueinsight()
    located = locate(subject, situations=12 if quick else 48, null=False, dataset=edition, out=PLACE / "neurons")
    directions = learn_directions(subject, located)
    sae = place_sae(subject, open_sae(sae_folder()))
    features = locate_features(subject, sae, located, texts="both")
    figures = {}
    for name, settings in {
        "neurons": neuron_settings(located, (12.0,)),
        "direction": direction_settings(directions, (0.5,)),
        "features": feature_settings(features, sae, (0.5,)),
    }.items():
        done = _survey(name, settings, 20 if quick else 100, 2)
        table = done.table()
        try:
            check_table(table)
            graph = fit_graph(done, "jci", resamples=20 if quick else 200, ways=2 if quick else 20)
        except Exception as error:  # a finding, too
            figures[name] = {"refused": str(error)}
            print(f"{name}: {error}")
            continue
        truth = graph.compare(read_reference("organism", done.values), permutations=PERMUTATIONS)
        scores = done.value_scores()
        own = {
            value: float(
                np.mean([
                    one.target * (scores[k, :, place] - scores[0, :, place]).mean()
                    for k, one in enumerate(done.settings) if one.value == value and one.target
                ])
            )
            for place, value in enumerate(done.values)
        }  # fmt: skip
        figures[name] = _told(graph) | {
            "against_prompt_truth": asdict(truth),
            "moves_its_own": own,
            "failed": done.failed,
        }
        print(f"{name}: own value moves by {own}\n{graph}\nagainst the prompts' truth: {_beside(truth.skeleton)}")
        print("\n".join(graph.warnings))
    return figures


def cost(quick: bool) -> dict[str, Any]:
    """What a survey costs: in a process of its own each, so that its peak memory is its own; and a ratio."""
    threads = torch.get_num_threads()
    figures: dict[str, Any] = {"ratio": ratio(2 if quick else 5)}
    torch.set_num_threads(threads)
    plans = {"few roles": (4, 21, 1, None), "four times as many": (16, 21, 1, None)}
    plans |= {} if quick else {"every portrait, killed after 60 s and gone on": (1, 25, 0, 60)}
    return figures | _surveys(plans, threads)


def whole(quick: bool) -> dict[str, Any]:
    """The survey that is to end within ten minutes on two cores (`--threads 2`)."""
    return _surveys({"whole": (8 if quick else 200, 25, 1, None)}, torch.get_num_threads())


def _surveys(plans: Mapping[str, tuple[int, int, int, int | None]], threads: int) -> dict[str, Any]:
    """Surveys of so many roles, settings and pairs, in processes of their own; some are killed on the way."""
    figures: dict[str, Any] = {}
    for name, (roles, settings, pairs, killed) in plans.items():
        with tempfile.TemporaryDirectory() as place:
            line = [sys.executable, "-m", "benchmarks.graphs_cost"]
            line += [*map(str, (roles, settings, pairs, threads)), f"{place}/survey"]
            start = time.perf_counter()
            if killed is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    subprocess.run(line, capture_output=True, check=True, timeout=killed)
            made = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()
            whole = time.perf_counter() - start
        answers, seconds, cpu, memory = map(float, made)
        seconds = whole if killed is not None else seconds
        figures[name] = {
            "roles": roles, "settings": settings, "answers": int(answers), "seconds": seconds, "cpu_s": cpu,
            "answers_per_s": answers / seconds, "peak_mib": memory, "threads": threads,
        }  # fmt: skip
        print(
            f"{name}: {answers:,.0f} answers in {seconds:.0f} s ({answers / seconds:.0f}/s, {threads} threads), peak "
            f"{memory:.0f} MiB"
        )
    return figures


def ratio(repetitions: int) -> dict[str, Any]:
    """CPU time of a role's questionnaire against bare transformers on the same prompts, batched by length."""
    subject, edition = open_model(), load_valueinsight()
    person = role_of(edition.roles[0])
    asked = read_questionnaire("portraits", dataset=edition, split="locate", pairs=4)
    put = [(one, form) for one in asked.questions for form in forms("rating")]
    prompts = [Prompt(f"{one.id}/{form.order}", voice(person), one.put(form)) for one, form in put]
    model = subject.model._module

    def bare() -> torch.Tensor:
        encoded = [encode_prompt(subject.tokenizer, prompt) for prompt in prompts]
        found = []
        for rows in plan_batches([len(ids) for ids in encoded], 8192):
            ids, mask = pad_left([encoded[row] for row in rows], subject.pad_id)
            with torch.no_grad():
                logits = model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1).logits[:, -1]
            found.append(logits.float().log_softmax(-1))
        return torch.cat(found)

    arms = {
        "bare transformers, one pass a prompt": bare,
        "nnvalue": lambda: option_log_probabilities(subject, prompts, asked.options),
    }
    figures = paired(arms, next(iter(arms)), repetitions)
    print_figures(f"{len(prompts)} prompts of one role, organism", figures)
    return figures


def _told(graph: ValueGraph) -> dict[str, Any]:
    data = graph.as_json()
    names = ("rule", "rows", "roles", "contexts", "resamples", "seed", "by_role", "by_item", "warnings", "total")
    return {**{name: data[name] for name in names}, "edges": [asdict(edge) for edge in graph.edges()]}


def _r(one: np.ndarray, other: np.ndarray) -> float:
    return round(float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]), 4)


def _beside(one: Any) -> str:
    told: Mapping[str, float] = asdict(one)
    return f"{told['value']:.2f} (chance {told['chance']:.2f} ± {told['sd']:.2f}, p = {told['p']:.1g})"


if __name__ == "__main__":
    main()
