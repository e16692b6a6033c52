"""Side effects on the organism: foretold and checked on other roles and items; and steering that is guided by them.

    python -m benchmarks.side_effects [--quick] [--save]

- predictions: for prompts (whose effects have a truth), neurons and directions (findings): learned on half of the roles
  and of the items, scored on the others, beside foretelling nothing, the circle and shuffled names.
- structure: the unsteered roles against the circle and people; the truth of the same roles beside it.
- guided: for each value and pole a role is chosen from 200 by half of the items, and read by the others. Guided by a
  graph (what does not lie downstream is protected), by raw scores alone (all others are), and with two values that are
  named. Beside each choice stand the roles that reach as much on the same half without being chosen for sparing
  anything: equal on-target effect, within a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
import numpy as np

from benchmarks.graphs import PLACE, _survey
from benchmarks.measure import finish
from nnvalue import load_framework, load_valueinsight, locate, open_model
from nnvalue.causal import (
    Survey,
    check_predictions,
    choose_role,
    direction_settings,
    fit_graph,
    neuron_settings,
    protected_values,
    structure,
)
from nnvalue.dataset import role_of
from nnvalue.errors import InvalidInputError
from nnvalue.organism import named_scores
from nnvalue.steering import learn_directions

NEAR = 0.1
"""Roles reach as much if their gains on the half that was looked at differ by a tenth at most."""


@click.command()
@click.option("--quick", is_flag=True)
@click.option("--save", is_flag=True)
def main(quick: bool, save: bool) -> None:
    """Run all parts and print them."""
    prompts = _survey("prompts", None, 20 if quick else 200, 2)
    figures = {"predictions": predictions(prompts, quick), "structure": shape(prompts, quick)}
    figures["guided"] = guided(prompts, 2 if quick else 10)
    finish("side-effects", {"figures": figures, "quick": quick}, save and not quick)


def predictions(prompts: Survey, quick: bool) -> dict[str, Any]:
    """Every kind of setting; what cannot be foretold is told."""
    subject, edition = open_model(), load_valueinsight()
    located = locate(subject, situations=12 if quick else 48, null=False, dataset=edition, out=PLACE / "neurons")
    roles = 20 if quick else 100
    surveys = {
        "prompt": prompts,
        "neurons": _survey("neurons", neuron_settings(located, (12.0,)), roles, 2),
        "direction": _survey("direction", direction_settings(learn_directions(subject, located), (0.5,)), roles, 2),
    }
    made = {}
    for kind, done in surveys.items():
        scores = done.value_scores()
        own = {
            one.name: one.target * float((scores[k] - scores[0])[:, done.values.index(one.value)].mean())
            for k, one in enumerate(done.settings) if one.target
        }  # fmt: skip
        print(f"\n{kind}: settings move their own value by {np.mean(list(own.values())):+.2f} on average")
        try:
            report = check_predictions(done, load_framework(), kind=kind, ways=2 if quick else 10)
        except InvalidInputError as error:
            made[kind] = {"refused": str(error), "own": own}
            print(error)
            continue
        made[kind] = {"report": asdict(report), "own": own}
        for name, one in report.scores.items():
            print(
                f"  {name:16} r {one.r:.2f} [{one.r_low:.2f}, {one.r_high:.2f}]  skill {one.skill:.2f} "
                f"[{one.skill_low:.2f}, {one.skill_high:.2f}]  direction {one.direction:.2f} "
                f"[{one.direction_low:.2f}, {one.direction_high:.2f}]  which {one.which:.2f} [{one.which_low:.2f}, "
                f"{one.which_high:.2f}]  p {report.p.get(name, float('nan')):.2g}"
            )
        for name, baselines in report.better.items():
            print(f"  {name}: skill above {baselines}")
        print(f"  left out: {report.left_out}")
    return made


def shape(prompts: Survey, quick: bool) -> dict[str, Any]:
    """The organism's roles and their true scores against the circle and people."""
    roles = {row["id"]: role_of(row) for row in load_valueinsight().roles}
    true = np.array([[named_scores(name, roles[name].levels)[v] for v in prompts.values] for name in prompts.roles])
    made = {}
    for name, scores in {"organism": prompts.value_scores()[0], "truth": true}.items():
        found = structure(scores, prompts.values, load_framework(), permutations=199 if quick else 2000)
        made[name] = {one.name: asdict(one) for one in (*found.measures, *found.people.values())}
        for one in (*found.measures, *found.people.values()):
            print(
                f"{name:9} {one.name:20} {one.value:+.2f} (chance {one.chance:+.2f}, p {one.p:.2g}; people "
                f"{one.people_low:.2f} – {one.people_high:.2f})"
            )
    return made


def guided(done: Survey, ways: int) -> dict[str, Any]:
    """What protected values do on held-out items, guided and matched; every value is told."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {"graph": [], "raw scores": [], "two named": []}
    for _ in range(ways):
        learn, hold = _halves(done, rng)
        graph = fit_graph(done.table(learn), "effects", kinds=["prompt"], resamples=0, ways=0)
        seen, held = (done.value_scores(units)[0] for units in (learn, hold))
        seen, held = seen - seen.mean(0), held - held.mean(0)
        for place, value in enumerate(done.values):
            for sign in (1.0, -1.0):
                others = [other for other in done.values if other != value]
                named = [others[k] for k in rng.choice(len(others), 2, replace=False)]
                for how, settings in {
                    "graph": {"graph": graph}, "raw scores": {}, "two named": {"protect": named},
                }.items():  # fmt: skip
                    best = choose_role(done, {value: sign}, units=learn, **settings)[0]
                    kept = protected_values(done.values, {value: sign}, settings.get("protect"), graph)
                    row = done.roles.index(best.name)
                    gains = sign * seen[:, place]
                    alike = np.flatnonzero(np.abs(gains - gains[row]) <= NEAR * abs(gains[row]))
                    alike = alike[alike != row]
                    if not len(alike):
                        continue
                    at = [done.values.index(name) for name in kept]
                    rows[how].append(
                        {
                            "value": value, "sign": sign, "role": best.name, "matched": len(alike),
                            "gain": float(sign * held[row, place]),
                            "gain_matched": float(sign * held[alike, place].mean()),
                            "protected": float(np.abs(held[row, at]).mean()),
                            "protected_matched": float(np.abs(held[np.ix_(alike, at)]).mean()),
                            "all_values": dict(zip(done.values, map(float, held[row]), strict=True)),
                        }
                    )  # fmt: skip
    made = {}
    for how, found in rows.items():
        less = np.array([one["protected"] - one["protected_matched"] for one in found])
        more = np.array([one["gain"] - one["gain_matched"] for one in found])
        clusters = [f"{one['value']}{one['sign']}" for one in found]
        made[how] = {
            "protected": float(np.mean([one["protected"] for one in found])),
            "protected_matched": float(np.mean([one["protected_matched"] for one in found])),
            "difference": _interval(less, clusters), "gain": float(np.mean([one["gain"] for one in found])),
            "gain_difference": _interval(more, clusters), "n": len(found), "targets": len(set(clusters)),
            "by_value": {
                value: {name: _towards(found, value, name) for name in done.values} for value in done.values
            },
        }  # fmt: skip
        one = made[how]
        print(
            f"guided by {how}: protected values move {one['protected']:.2f}, of matched roles "
            f"{one['protected_matched']:.2f}; difference {one['difference']}; gain {one['gain']:.2f}, difference "
            f"{one['gain_difference']}; {one['n']} choices"
        )
    return made


def _towards(found: Sequence[dict[str, Any]], value: str, name: str) -> float:
    """How far a value moved in the choices for another one, along with it."""
    return float(np.mean([one["all_values"][name] * one["sign"] for one in found if one["value"] == value]))


def _halves(done: Survey, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    halves: tuple[list[str], list[str]] = ([], [])
    for units in done.units().values():
        for place, at in enumerate(rng.permutation(len(units))):
            halves[place % 2].append(units[at])
    return halves


def _interval(figures: np.ndarray, clusters: Sequence[str]) -> list[float]:
    """Mean and 95 % bootstrap over targets."""
    names = sorted(set(clusters))
    means = np.array([figures[[one == name for one in clusters]].mean() for name in names])
    drawn = np.random.default_rng(0).choice(means, (10_000, len(means))).mean(1)
    return [float(means.mean()), *map(float, np.quantile(drawn, (0.025, 0.975)))]


if __name__ == "__main__":
    main()
