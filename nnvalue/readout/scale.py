"""The verb: a model's values, read from how likely it finds each answer to the items of a questionnaire."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import Journal, library_versions
from nnvalue.dataset import ValueInsight
from nnvalue.models import Subject, open_model, option_log_probabilities
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout.profile import OUTCOMES, ValueProfile
from nnvalue.readout.profile_work import finished, work_folder
from nnvalue.readout.questionnaire import PORTRAITS, Question, Questionnaire, read_questionnaire
from nnvalue.readout.scale_scores import RESAMPLES, Sheet, interval
from nnvalue.readout.voices import Voices, systems_of
from nnvalue.steering_protocol import Steering
from nnvalue.values import POLES, SIGN
from nnvalue.values.forms import AnswerForm, forms

MIN_MASS = 0.05
"""An answer counts if the options together are at least this likely; below, the model says something else."""
FEW = 5
"""Of fewer items or pairs than this a bootstrap says too little, which is told with the profile."""


def measure(
    model: Any = None,
    instrument: str | Path | Questionnaire = PORTRAITS,
    *,
    voices: Voices | None = None,
    steering: Steering | None = None,
    form: str | None = None,
    dataset: ValueInsight | str | Path | None = None,
    framework: str | None = None,
    split: str = "test",
    pairs: int | None = None,
    seed: int = 0,
    batch_tokens: int = 8192,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ValueProfile:
    """A model's value profile from a questionnaire: one pass for each item and option order, nothing generated.

    An answer is Σ p·s / Σ p over the options, p how likely each is as the beginning of the answer and s what it counts.
    It is averaged over both option orders; an item of which either has failed does not count. A value's score is the
    mean of its items, recoded where agreeing speaks against it, minus the mean of all items (MRAT).

    Args:
        model: a `Subject`, or anything that `open_model` takes; None for the embedded organism.
        instrument: `portraits` of the dataset; `NAME=FILE`, a published scale with the text from a file of yours, such
            as `pvq21=items.csv`; the folder of an imported edition with items; or a `Questionnaire`.
        voices: who is asked: roles, or name -> a role, a system turn, or None for nobody in particular. Default: the
            neutral voice alone.
        steering: what moves the model; its scope is applied where the answer is read. `decode` is refused.
        form: how items are put; see `nnvalue.values.forms.forms`. Default: the form that suits them.
        dataset: where portraits are from: an edition, its name or folder.
        framework: of the portraits, if not the dataset's own: `schwartz19` takes their finer labels.
        split: of the portraits: `test`, `locate` or `all`.
        pairs: at most so many pairs of portraits a value.
        seed: of the intervals: 95 %, over items within each value, both keyings of a pair together.
        batch_tokens: tokens of one batch, padding included.
        out: folder to save the profile in. Unfinished work is kept beside it, in `<out>.work`, and a run with the same
            settings goes on with it; a finished result of these settings is returned as it is.
        overwrite: replace what other settings left at `out`.

    Raises NnvalueError of some kind, with what to do, for anything that a user can mend.
    """
    asked = read_questionnaire(instrument, dataset=dataset, framework=framework, split=split, form=form, pairs=pairs)
    systems = systems_of(voices)
    subject = model if isinstance(model, Subject) else open_model(model)
    out = None if out is None else Path(out).expanduser().resolve()
    spec = {
        "kind": "scale",
        "instrument": asked.describe(),
        "circle": list(asked.framework.circle),
        "voices": systems,
        "steering": None if steering is None else steering.describe(),
        "model": subject.identity(),
        "min_mass": MIN_MASS,
        "resamples": RESAMPLES,
        "seed": seed,
        "versions": library_versions(),
    }
    if (known := finished(out, spec, overwrite)) is not None:
        return known
    subject.runtime.begin()
    with work_folder(out, spec, overwrite) as journal:
        answers = _ask(subject, asked, systems, steering, batch_tokens, journal, progress)
        profile = _profile(asked, spec, answers)
        if out is not None:
            profile.save(out)
    return profile


def _ask(
    subject: Subject,
    asked: Questionnaire,
    systems: Mapping[str, str | None],
    steering: Steering | None,
    batch_tokens: int,
    journal: Journal,
    progress: Progress,
) -> list[dict[str, Any]]:
    """A row for every voice, item and option order; what has no text is not asked and has failed."""
    rows = [(name, question, form) for name in systems for question in asked.questions for form in forms(question.form)]
    at = [place for place, (_, question, _) in enumerate(rows) if question.text is not None]
    prompts = [
        Prompt(f"{name}/{question.id}/{form.name}/{form.order}", systems[name], question.put(form))
        for name, question, form in map(rows.__getitem__, at)
    ]
    logs = option_log_probabilities(
        subject, prompts, asked.options, steering=steering, batch_tokens=batch_tokens, journal=journal,
        progress=progress,
    )  # fmt: skip
    shares = dict(zip(at, np.exp(logs.numpy().astype(np.float64)), strict=True))
    return [_answer(*row, shares.get(place)) for place, row in enumerate(rows)]


def _answer(name: str, question: Question, form: AnswerForm, shares: np.ndarray | None) -> dict[str, Any]:
    """One answer, from the probability of each option; None where nobody was asked."""
    mass = math.nan if shares is None else float(shares.sum())
    counts, known, of_pole = mass >= MIN_MASS, math.isfinite(mass), {SIGN[pole]: pole for pole in POLES}
    values, keyings = zip(*question.uses, strict=True) if question.uses else ((), ())
    return {
        "voice": name,
        "item": question.id,
        "pair": question.unit,
        "form": form.name,
        "order": form.order,
        "value": ", ".join(values) or None,
        "keying": ", ".join(of_pole[keying] for keying in keyings) or None,
        "outcome": "answered" if counts else "failed",
        "score": float(np.dot(shares, form.scores) / mass) if counts and shares is not None else None,
        "mass": mass if known else None,
        "shares": shares.tolist() if known and shares is not None else None,
    }


def _profile(asked: Questionnaire, spec: Mapping[str, Any], answers: list[dict[str, Any]]) -> ValueProfile:
    sheet = Sheet.of_answers(answers, tuple(spec["voices"]), asked.values, asked.scale)
    scores = sheet.score()
    low, high = interval(sheet.resampled(spec["seed"]))
    counted = Counter(row["outcome"] for row in answers)
    figures = {
        "yes_saying": _by_voice(sheet.voices, scores.yes_saying),
        "mean_answer": _by_voice(sheet.voices, scores.mrat),
        "option_mass": {name: _mean_mass(row for row in answers if row["voice"] == name) for name in sheet.voices},
        "warnings": _warnings(asked, answers, sheet),
    }
    return ValueProfile(
        readout={**spec, **figures},
        framework=asked.framework.name,
        voices=sheet.voices,
        values=sheet.values,
        scores=scores.centred,
        low=low,
        high=high,
        n=sheet.counts(),
        outcomes={name: counted[name] for name in OUTCOMES},
        parts=sheet.parts(),
        answers=answers,
    )


def _warnings(asked: Questionnaire, answers: Sequence[Mapping[str, Any]], sheet: Sheet) -> list[str]:
    """What a reader of the scores must know, a sentence each."""
    said = []
    if missing := asked.missing():
        said.append(
            f"{len(missing)} of {len(asked.questions)} items have no text and count as failed: {_some(missing)}."
        )
    if small := [row for row in answers if row["outcome"] == "failed" and row["mass"] is not None]:
        said.append(
            f"{len(small):,} of {len(answers):,} answers have failed: the options together are less likely than "
            f"{MIN_MASS:.0%}, so the model would say something else. Another form of answer may suit it."
        )
    if broken := [row for row in answers if row["mass"] is None and row["item"] not in missing]:
        said.append(f"{len(broken):,} of {len(answers):,} answers have failed: the model gives no numbers there.")
    counts = sheet.unit_counts()
    if few := [value for value in sheet.values if counts[value] < FEW]:
        of = "every value" if len(few) == len(counts) else _some(few)
        said.append(f"Intervals of {of} rest on fewer than {FEW} items or pairs of them: too narrow to be trusted.")
    return said


def _by_voice(voices: Sequence[str], figures: np.ndarray) -> dict[str, float | None]:
    return {name: float(figure) if np.isfinite(figure) else None for name, figure in zip(voices, figures, strict=True)}


def _mean_mass(rows: Iterable[Mapping[str, Any]]) -> float | None:
    masses = [row["mass"] for row in rows if row["mass"] is not None]
    return sum(masses) / len(masses) if masses else None


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
