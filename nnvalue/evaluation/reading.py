"""What is read of every condition: answers and who judges them, portraits and statements, held-out sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnvalue.artifacts import Journal
from nnvalue.dataset import ValueInsight, neutral_prompt
from nnvalue.evaluation.conditions import Condition
from nnvalue.evaluation.design import Design
from nnvalue.models import Subject, generate_responses, option_log_probabilities
from nnvalue.progress import Progress
from nnvalue.prompts import Prompt
from nnvalue.readout import Judge, Text, held_out_nll, measure_fluency, read_questionnaire, situations_of
from nnvalue.readout.fluency import organism_well_formed
from nnvalue.readout.scale import MIN_MASS
from nnvalue.steering_protocol import Sampling
from nnvalue.values import load_framework
from nnvalue.values.forms import forms


def reads_in_one_pass(condition: Condition) -> bool:
    """Whether it does anything where a single pass is read; what edits generated tokens only does not."""
    return condition.steering is None or condition.steering.describe().get("scope") != "decode"


def read_answers(
    subject: Subject,
    conditions: Sequence[Condition],
    design: Design,
    edition: ValueInsight,
    judge: Judge,
    whole: bool,
    journal: Journal,
    batch_tokens: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """A row for every answer: condition, situation, what the judge says of it and how fluent it is.

    Answers of all conditions share their batches, and those to one situation their noise.

    Args:
        whole: whether the organism's grammar tells a broken answer.
    """
    framework = load_framework(edition.framework)
    most = max(design.situations, design.others)
    chosen = {
        value: situations_of(edition, framework, value, most, design.split, design.seed) for value in design.values
    }
    asked = [
        (condition, measured, row)
        for condition in conditions
        for measured, rows in chosen.items()
        for row in rows[: _count(condition, measured, design)]
    ]
    prompts = [neutral_prompt(row) for _, _, row in asked]
    said = generate_responses(
        subject, prompts, steering=[condition.steering for condition, _, _ in asked],
        sampling=Sampling(design.temperature, seed=design.seed) if design.temperature else None,
        max_new_tokens=design.max_new_tokens, batch_tokens=batch_tokens, journal=journal, progress=progress,
    )  # fmt: skip
    texts = [
        Text(f"{number}", row["text"], response.text, measured)
        for number, ((_, measured, row), response) in enumerate(zip(asked, said, strict=True))
    ]
    judged = judge.judge(texts, progress)
    # Read after the question as it was put to the unsteered model, so that words of a steering do not count as fluency.
    plain = {row["id"]: one.prompt_ids for (each, _, row), one in zip(asked, said, strict=True) if not each.steering}
    heard = [replace(one, prompt_ids=plain[row["id"]]) for (_, _, row), one in zip(asked, said, strict=True)]
    fluent = measure_fluency(
        subject, heard, well_formed=organism_well_formed if whole else None, resamples=1, batch_tokens=batch_tokens
    ).texts
    return [
        {
            **condition.facts(), "measured": measured, "situation": row["id"], "core": row["core"],
            "stance": found.stance or 0.0, "outcome": found.outcome, "text": response.text,
            "tokens": len(response.token_ids), "log_perplexity": flow.log_perplexity, "distinct_2": flow.distinct_2,
            "repeated_4": flow.repeated_4, "finished": flow.finished, "judge": found.judge, "parse": found.parse,
        }
        for (condition, measured, row), response, found, flow in zip(asked, said, judged, fluent, strict=True)
    ]  # fmt: skip


def _count(condition: Condition, measured: str, design: Design) -> int:
    """How many situations of a value are put under a condition: of the steered one all, of others some for leakage.

    Controls are there for the target alone. Unsteered, all are answered.
    """
    if condition.value in (None, measured):
        return design.situations if condition.value else max(design.situations, design.others)
    return design.others if condition.control_of is None else 0


def read_items(
    subject: Subject,
    conditions: Sequence[Condition],
    put: Sequence[Mapping[str, Any]],
    journal: Journal,
    batch_tokens: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """A row for every portrait or statement and condition: the expected answer, over both option orders.

    Conditions that a single pass cannot see are left out.

    Args:
        put: what `items_of` gave.
    """
    asked = [
        (condition, item, form)
        for condition in conditions
        if reads_in_one_pass(condition)
        for item in put
        for form in forms(item["form"])
    ]
    if not asked:
        return []
    prompts = [
        Prompt(f"{item['item']}/{form.order}", None, form.ask(item["text"])) for _, item, form in asked
    ]  # fmt: skip
    shares = np.exp(
        option_log_probabilities(
            subject, prompts, asked[0][2].options, steering=[condition.steering for condition, _, _ in asked],
            batch_tokens=batch_tokens, journal=journal, progress=progress,
        ).numpy().astype(np.float64)
    )  # fmt: skip
    mass = shares.sum(1)
    scored = np.array([row @ np.array(form.scores) for row, (_, _, form) in zip(shares, asked, strict=True)])
    rows = []
    for number in range(0, len(asked), 2):  # both orders of an item stand together
        condition, item, _ = asked[number]
        both = slice(number, number + 2)
        known = bool((mass[both] >= MIN_MASS).all())
        rows.append(
            {
                **condition.facts(), **{name: item[name] for name in ("item", "unit", "measured", "keying", "kind")},
                "score": float((scored[both] / mass[both]).mean()) if known else None, "mass": float(mass[both].mean()),
            }
        )  # fmt: skip
    return rows


def items_of(design: Design, edition: ValueInsight, statements: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Portraits of every value in both keyings, and statements about nothing that matters.

    Raises DatasetError where the edition has no portraits and some are wanted.
    """
    found = []
    if design.pairs:
        asked = read_questionnaire("portraits", dataset=edition, split=design.split, pairs=design.pairs)
        for question in asked.questions:
            ((value, keying),) = question.uses
            found.append(
                {"item": question.id, "unit": question.unit, "measured": value, "keying": keying, "kind": "portrait",
                 "form": question.form, "text": question.text}
            )  # fmt: skip
    for truth, texts in statements.items() if design.statements else ():
        for number, text in enumerate(texts):
            found.append(
                {"item": f"{truth} {number + 1}", "unit": f"{truth} {number + 1}", "measured": None, "keying": 0,
                 "kind": "statement", "form": "agreement", "text": text}
            )  # fmt: skip
    return found


def read_cost(
    subject: Subject, conditions: Sequence[Condition], design: Design, edition: ValueInsight, batch_tokens: int,
    journal: Journal, progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row for every steered condition that is no control: how much less likely held-out sentences become."""
    seen = [one for one in conditions if one.steering is not None and one.control_of is None and reads_in_one_pass(one)]
    if not design.held_out:
        return []
    rows = []
    for number, condition in enumerate(seen):
        key = f"cost-{number:05d}"
        if not journal.has_json(key):
            found = held_out_nll(
                subject, steering=condition.steering, edition=edition, pairs=design.held_out, seed=design.seed,
                batch_tokens=batch_tokens,
            )  # fmt: skip
            figures = {name: getattr(found, name) for name in ("nll", "difference", "low", "high", "n")}
            journal.put_json(key, {name: one if np.isfinite(one) else None for name, one in figures.items()})
        rows.append({**condition.facts(), **journal.get_json(key)})
        progress("reading held-out sentences", number + 1, len(seen))
    return rows
