"""Does the organism do what its card says? Measured on texts that it was never trained on, and on new roles.

    python -m recipes.evaluate_organism [--model FOLDER] [--json]    # many minutes; the options make it shorter

Expect the figures of the card, nnvalue/organism/model/README.md, of the one that is shipped.

- *Situations* of ValueInsight's `test` split, asked under both poles of their value (greedy) with descriptions of the
  same split, and without a description (sampled, with a seed). The parser reads the answers; an answer that the
  grammar cannot produce counts as a failure everywhere.
- *Portraits*, put to named roles and to held-out ones; the scores read from the options' probabilities are held against
  the speakers' true ones. A held-out role is a new combination of attributes that the organism knows, in the same
  words; nothing is shown about attributes in other words. Twice: with items that it knows, as an instrument's items
  are the same for all speakers (portraits of the `locate` split, never seen answered by a held-out role), and with new
  ones (the `test` split), where what a portrait of unknown words is about must be guessed as well.
- *Total effects*: held-out roles under test descriptions of either pole; how far every value's score moves, against
  (I − B)⁻¹ of the causal model. Training shows every cause with every effect: agreement says that the whole table was
  learned and holds for new people, not that effects travel along edges inside the network.

Every figure stands beside what a trivial and what a perfect organism would get. Intervals are bootstraps over roles,
or over descriptions; portraits are fixed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nnvalue import Subject, ValueInsight, load_valueinsight, open_model
from nnvalue.dataset import Contrast, Role, build_contrasts, neutral_prompt, role_of, voice
from nnvalue.models import encode_prompt, generate_responses, pad_left
from nnvalue.organism import Reading, Turn, causal_model, named_scores, parse
from nnvalue.values import POLES, SIGN
from nnvalue.values.forms import FORMS, AnswerForm, forms
from recipes.command import Recipe
from recipes.organism_batches import collate, option_ids, pack

RESIDUAL_DRAWS = 200  # over which what is not told of a role is averaged
CORES = 47  # test situations a value: one variant of each core
_TURNS_A_ROW, _ROWS_A_BATCH = 16, 16


def described_readings(subject: Subject, contrasts: Sequence[Contrast], pole: str) -> list[Reading]:
    """What the organism answers, greedily, to the situations of contrasts under the descriptions of one pole."""
    prompts = [getattr(contrast, pole) for contrast in contrasts]
    return [parse(response.text) for response in generate_responses(subject, prompts, max_new_tokens=64)]


def neutral_readings(subject: Subject, edition: ValueInsight, value: str, samples: int, seed: int) -> list[Reading]:
    """Sampled answers (temperature 1) to one test situation of every core of a value, without a description."""
    asked = {row["core"]: row for row in edition.situations if row["value"] == value and row["split"] == "test"}
    encoded = [encode_prompt(subject.tokenizer, neutral_prompt(row)) for row in asked.values()]
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
    return float(np.mean(hits(readings, value, pole)))


def hits(readings: list[Reading], value: str, pole: str) -> list[bool]:
    """Which answers are whole, about the value, and wholly at the described pole."""
    return [r.well_formed and r.value == value and r.stance == SIGN[pole] for r in readings]


ITEMS = {"known": "locate", "new": "test"}
"""What the portraits are to the organism, and the split that they are from."""


def portraits_of(edition: ValueInsight, split: str, pairs: int | None = None) -> list[dict[str, Any]]:
    """Portraits of a split that belong to one of the ten values; at most so many pairs of each."""
    rows = [row for row in edition.portraits if row["split"] == split and row["value"]]
    kept: dict[str, set[int]] = {}
    for row in rows:
        own = kept.setdefault(row["value"], set())
        if pairs is None or len(own) < pairs:
            own.add(row["pair"])
    return [row for row in rows if row["pair"] in kept[row["value"]]]


def portrait_scores(
    subject: Subject, systems: Sequence[str | None], portraits: Sequence[dict[str, Any]], form: str = "rating"
) -> np.ndarray:
    """Scores `[speaker, value]` of speakers (system turns), in the causal model's order of values.

    Of every portrait: the expected answer over the options' probabilities, minus the scale's middle, signed by its
    keying, averaged over both option orders. A value's score is the mean over its portraits.
    """
    orders = forms(form)
    asked = [(row, order) for row in portraits for order in orders]
    values = causal_model().values
    scores = np.zeros((len(systems), len(values)))
    counts = np.array([sum(row["value"] == value for row, _ in asked) for value in values])
    for place, system in enumerate(systems):
        for (row, order), shares in zip(asked, _shares(subject, system, asked), strict=True):
            likeness = shares @ np.array(order.scores) / shares.sum()
            scores[place, values.index(row["value"])] += SIGN[row["keying"]] * (likeness - 3.5)
    return scores / counts


def option_mass(subject: Subject, systems: Sequence[str | None], portraits: Sequence[dict[str, Any]]) -> float:
    """Mean probability that the answer to a portrait, in any form, begins with one of the options at all."""
    asked = [(row, form) for row in portraits for form in FORMS]
    return float(np.mean([shares.sum() for system in systems for shares in _shares(subject, system, asked)]))


def _shares(
    subject: Subject, system: str | None, asked: Sequence[tuple[dict[str, Any], AnswerForm]]
) -> list[np.ndarray]:
    """Probability of each option of each portrait's form, among all tokens."""
    model, tokenizer = subject.model._module, subject.tokenizer
    turns = [Turn(order.ask(row["text"]), "") for row, order in asked]
    rows = [pack(tokenizer, system, turns[at : at + _TURNS_A_ROW]) for at in range(0, len(turns), _TURNS_A_ROW)]
    last = []
    with torch.no_grad():
        for first in range(0, len(rows), _ROWS_A_BATCH):
            some = rows[first : first + _ROWS_A_BATCH]
            batch = collate(some, tokenizer.pad_token_id)
            seen = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
            hidden = model.model(**seen, use_cache=False).last_hidden_state
            for number, row in enumerate(some):
                ends = [at for at, (turn, after) in enumerate(pairwise([*row.turns, -1])) if turn and turn != after]
                last.append(model.lm_head(hidden[number, ends]))
    options = {form: option_ids(tokenizer, form.options) for form in FORMS}
    probabilities = torch.softmax(torch.cat(last).float(), -1).numpy().astype(np.float64)
    return [row[options[form]] for row, (_, form) in zip(probabilities, asked, strict=True)]


def profile_recovery(
    subject: Subject, roles: Sequence[Role], portraits: Sequence[dict[str, Any]], form: str, seed: int
) -> dict[str, Any]:
    """Correlation of the scores read from portraits with the true ones, over roles and values, and of each value.

    With a 95 % interval over 1,000 resamples of the roles, and three figures to hold it against: what the levels of
    the attributes would reach alone, without any effect of one value on another; what an organism would reach that
    knows all that is told of a role, but not its residuals (those of named roles can be learned, those of held-out
    ones cannot); and one that knows them too. `above_attributes` is the interval of the difference to the first.
    """
    model = causal_model()
    read = portrait_scores(subject, [voice(role) for role in roles], portraits, form)
    true = np.array([list(named_scores(role.id, role.levels).values()) for role in roles])
    levels = np.array([[role.levels.get(value, 0) for value in model.values] for role in roles])
    rng = np.random.default_rng(seed)
    residuals = rng.normal(0, model.residual, (RESIDUAL_DRAWS, *levels.shape))
    told = perfect_reading((model.loading * levels + residuals) @ model.total_effects().T, form).mean(0)

    def gain(rows: np.ndarray) -> float:
        return correlation(read[rows], true[rows]) - correlation(levels[rows], true[rows])

    return {
        "r": correlation(read, true),
        "interval": bootstrap(len(roles), lambda rows: correlation(read[rows], true[rows]), seed),
        "roles": len(roles),
        "attributes_alone": correlation(levels, true),
        "above_attributes": bootstrap(len(roles), gain, seed),
        "all_that_is_told": correlation(told, true),
        "all_that_is_true": correlation(perfect_reading(true, form), true),
        "values": {value: correlation(read[:, at], true[:, at]) for at, value in enumerate(model.values)},
    }


def perfect_reading(scores: np.ndarray, form: str) -> np.ndarray:
    """What `portrait_scores` would read from an organism that answers by these scores as the causal model says."""
    answers = causal_model().answers
    if form == "choice":
        return 5 / (1 + np.exp(-answers.choice * scores)) - 2.5
    of_score = np.vectorize(lambda score: np.dot(answers.ratings(score, 1), range(1, 7)) - 3.5)
    return of_score(scores)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r over all entries; nan where one side does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def bootstrap(count: int, figure: Callable[[np.ndarray], float], seed: int) -> list[float]:
    """95 % percentile interval of a figure over 1,000 resamples of `count` rows."""
    rng = np.random.default_rng(seed)
    return np.quantile([figure(rng.integers(0, count, count)) for _ in range(1000)], [0.025, 0.975]).tolist()


def total_effects(
    subject: Subject, edition: ValueInsight, roles: Sequence[Role], portraits: Sequence[dict[str, Any]]
) -> np.ndarray:
    """Measured total effects `[role, effect, cause]`: what do(cause) moves, per unit of the cause's score.

    Each role is put under a test description of either pole of the cause, in turn over the descriptions; a score on
    the portraits' scale is divided by the causal model's slope and by twice what a description sets.
    """
    model = causal_model()
    found = np.zeros((len(roles), len(model.values), len(model.values)))
    for cause, value in enumerate(model.values):
        rows = [row for row in edition.descriptions if row["value"] == value and row["split"] == "test"]
        texts = {pole: [row["text"] for row in rows if row["pole"] == pole] for pole in POLES}
        systems = [
            voice(role, texts[pole][number % len(texts[pole])]) for pole in POLES for number, role in enumerate(roles)
        ]
        scores = portrait_scores(subject, systems, portraits)
        moved = scores[: len(roles)] - scores[len(roles) :]
        found[:, :, cause] = moved / (2 * model.set * model.answers.rating)
    return found


def perfect_effects(roles: Sequence[Role]) -> np.ndarray:
    """What `total_effects` would measure `[role, effect, cause]` in a perfect organism: the scale has ends."""
    model = causal_model()
    found = np.zeros((len(roles), len(model.values), len(model.values)))
    for cause, value in enumerate(model.values):
        high, low = (
            np.array([list(named_scores(role.id, role.levels, (value, pole)).values()) for role in roles])
            for pole in POLES
        )
        moved = perfect_reading(high, "rating") - perfect_reading(low, "rating")
        found[:, :, cause] = moved / (2 * model.set * model.answers.rating)
    return found


def effect_agreement(measured: np.ndarray, seed: int) -> dict[str, Any]:
    """Correlation of the mean of `measured` `[role, effect, cause]` with (I − B)⁻¹, and its slope against it.

    Over all cells; over those off the diagonal, because what a description does to its own value is large in any case
    and would carry a correlation alone; and over those that are reached only through other values. Each with a 95 %
    interval over 1,000 resamples of the roles, and with the correlation that the direct effects I + B would have.
    """
    model = causal_model()
    true, direct = model.total_effects(), model.matrix()
    off = ~np.eye(len(true), dtype=bool)
    cells = {"all_cells": np.ones_like(off), "off_diagonal": off, "indirect": off & (direct == 0) & (true != 0)}
    found: dict[str, Any] = {"roles": len(measured)}
    for name, chosen in cells.items():
        found[name] = _agreement(measured[:, chosen], true[chosen], seed)
        if name != "indirect":
            found[name]["direct_alone"] = correlation((np.eye(len(true)) + direct)[chosen], true[chosen])
    return found


def _agreement(measured: np.ndarray, true: np.ndarray, seed: int) -> dict[str, Any]:
    """Of effects `[role, cell]` with true ones `[cell]`."""
    mean = measured.mean(0)
    return {
        "cells": len(true),
        "r": correlation(mean, true),
        "interval": bootstrap(len(measured), lambda rows: correlation(measured[rows].mean(0), true), seed),
        "slope": float(np.polyfit(true, mean, 1)[0]),
    }


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share out of n."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def evaluate(
    subject: Subject, samples: int, seed: int, train_roles: int, effect_roles: int, pairs: int | None = None
) -> dict[str, Any]:
    """All figures of the card; `pairs` of portraits a value and kind of items, None for all."""
    edition = load_valueinsight()
    figures: dict[str, Any] = {"seed": seed, "values": {}}
    everything: list[Reading] = []
    right: list[tuple[float, float]] = []  # of every description its answers and those that are as described
    for value in edition.values():
        row = {}
        contrasts = build_contrasts(edition, value, split="test", situations=CORES)
        for pole in POLES:
            readings = described_readings(subject, contrasts, pole)
            row[f"as_described_{pole}"] = as_described(readings, value, pole)
            of_text: dict[str | None, list[bool]] = {}
            for contrast, hit in zip(contrasts, hits(readings, value, pole), strict=True):
                of_text.setdefault(getattr(contrast, pole).system, []).append(hit)
            right += [(len(found), sum(found)) for found in of_text.values()]
            everything += readings
        neutral = neutral_readings(subject, edition, value, samples, seed)
        row["neutral_n"] = len(neutral)
        row["neutral_positive"] = sum(r.stance > 0 for r in neutral) / len(neutral)
        row["neutral_negative"] = sum(r.stance < 0 for r in neutral) / len(neutral)
        row["neutral_well_formed"] = sum(r.well_formed for r in neutral) / len(neutral)
        figures["values"][value] = row
    figures["n_described"], figures["descriptions"] = len(everything), len(right)
    asked, found = np.array(right, dtype=float).T
    figures["as_described"] = {
        "share": found.sum() / asked.sum(),
        "interval": bootstrap(len(right), lambda rows: found[rows].sum() / asked[rows].sum(), seed),
    }
    share = sum(reading.well_formed for reading in everything) / len(everything)
    figures["well_formed"] = {"share": share, "interval": wilson(share, len(everything))}
    roles = [role_of(row) for row in edition.roles]
    of_split = {split: [role for role in roles if role.split == split] for split in ("train", "test")}
    asked_roles = {"train": of_split["train"][:train_roles], "test": of_split["test"]}
    held_out = of_split["test"][:effect_roles]
    for items, split in ITEMS.items():
        portraits = portraits_of(edition, split, pairs)
        measured = total_effects(subject, edition, held_out, portraits)
        figures[f"{items}_items"] = {
            "portraits": len(portraits),
            **{
                f"profiles_{which}_{form}": profile_recovery(subject, some, portraits, form, seed)
                for which, some in asked_roles.items()
                for form in ("rating", "choice")
            },
            "effects": effect_agreement(measured, seed) | {"measured": measured.mean(0).round(4).tolist()},
            "option_mass": option_mass(subject, [None, *map(voice, held_out)], portraits),
        }
    figures["perfect_effects"] = effect_agreement(perfect_effects(held_out), seed)
    figures["true_effects"] = causal_model().total_effects().round(4).tolist()
    return figures


@click.command(cls=Recipe)
@click.option("--model", type=click.Path(path_type=Path), help="Default: the embedded organism.")
@click.option("--samples", default=3, show_default=True, help="Neutral answers a situation.")
@click.option("--train-roles", default=60, show_default=True, help="Named roles whose profiles are read.")
@click.option("--pairs", default=6, show_default=True, help="Pairs of portraits a value, of known and of new ones.")
@click.option("--effect-roles", default=20, show_default=True, help="Held-out roles put under descriptions.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(
    model: Path | None, samples: int, train_roles: int, pairs: int, effect_roles: int, seed: int, as_json: bool
) -> None:
    """Measure and print."""
    figures = evaluate(open_model(model), samples, seed, train_roles, effect_roles, pairs)
    if as_json:
        click.echo(json.dumps(figures))
        return
    columns = ("as_described_positive", "as_described_negative", "neutral_positive", "neutral_negative")
    table = Table("value", *(name.replace("_", " ") for name in columns), "profile r, named", "profile r, held-out")
    for value, row in figures["values"].items():
        known = figures["known_items"]
        read = (known[f"profiles_{split}_rating"]["values"][value] for split in ("train", "test"))
        table.add_row(value, *(f"{row[name]:.3f}" for name in columns), *(f"{r:.3f}" for r in read))
    console = Console()
    console.print(table)
    for name in ("as_described", "well_formed"):
        low, high = figures[name]["interval"]
        share, n = figures[name]["share"], figures["n_described"]
        console.print(f"{name.replace('_', ' ')}: {share:.3f} [{low:.3f}, {high:.3f}], n = {n}, greedy")
    for items in ITEMS:
        _print_items(console, items, figures[f"{items}_items"], figures["perfect_effects"])


def _print_items(console: Console, items: str, figures: dict[str, Any], perfect: dict[str, Any]) -> None:
    console.print(f"with {figures['portraits']} {items} portraits:")
    for split, roles in (("train", "named"), ("test", "held-out")):
        for form in ("rating", "choice"):
            found = figures[f"profiles_{split}_{form}"]
            low, high = found["interval"]
            console.print(
                f"  profiles, {found['roles']} {roles} roles, {form}: r = {found['r']:.3f} [{low:.3f}, {high:.3f}]"
                f"; attributes alone {found['attributes_alone']:.3f}, with all that is told "
                f"{found['all_that_is_told']:.3f}, with the residuals {found['all_that_is_true']:.3f}"
            )
    effects = figures["effects"]
    for name in ("all_cells", "off_diagonal", "indirect"):
        found = effects[name]
        low, high = found["interval"]
        alone = f", direct effects alone {found['direct_alone']:.3f}" if "direct_alone" in found else ""
        console.print(
            f"  total effects, {effects['roles']} held-out roles, {found['cells']} cells, {name.replace('_', ' ')}: "
            f"r = {found['r']:.3f} [{low:.3f}, {high:.3f}]{alone}; slope {found['slope']:.2f}, "
            f"perfect {perfect[name]['slope']:.2f}"
        )
    console.print(f"  options carry {figures['option_mass']:.4f} of the probability")


if __name__ == "__main__":
    main()
