"""Value features ranked by what turning each of them up does to the value's own items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnvalue.dataset import ValueInsight
from nnvalue.models import Subject, option_log_probabilities
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout import read_questionnaire
from nnvalue.sae import SparseAutoencoder, ValueFeatures
from nnvalue.steering import Steering, feature_steering
from nnvalue.values import SIGN
from nnvalue.values.forms import forms

_STAGE = "turning features up"


def rank_features(
    subject: Subject,
    found: ValueFeatures,
    sae: SparseAutoencoder,
    edition: ValueInsight,
    *,
    dose: float = 1.0,
    split: str = "locate",
    pairs: int = 4,
    batch_tokens: int = 8192,
    progress: Progress = silent,
) -> ValueFeatures:
    """The same features with their causal effect, ranked by it within each value and pole.

    Every feature of the table is added alone, at `dose` times the length of what stands there on average, while the
    value's portraits of a training split are put to nobody in particular, in both keyings and option orders. `causal`
    is the change of the value's score (half the distance between items for and against it), towards the feature's pole.

    Raises DatasetError for a value without portraits in this split.
    """
    asked = read_questionnaire("portraits", dataset=edition, split=split, pairs=pairs)
    causal = np.full(len(found), np.nan, dtype=np.float32)
    rows = list(found)
    for number, value in enumerate(found.values):
        mine = [place for place, row in enumerate(rows) if row.value == value]
        items = [(one, form) for one in asked.questions if dict(one.uses).get(value) for form in forms(one.form)]
        if not mine or not items:
            continue
        arms: list[Steering | None] = [None]
        for place in mine:
            size = found.norm / float(sae.directions([rows[place].feature]).norm())
            arms.append(
                feature_steering(
                    sae, [rows[place].feature], [size], site=found.config["sae"]["site"], dose=dose,
                    model=found.config["model"],
                )
            )  # fmt: skip
        prompts = [Prompt(f"{one.id}/{form.order}", None, one.put(form)) for _ in arms for one, form in items]
        steering = [arm for arm in arms for _ in items]
        logs = option_log_probabilities(
            subject, prompts, asked.options, steering=steering, batch_tokens=batch_tokens
        )  # fmt: skip
        shares = np.exp(logs.double().numpy()).reshape(len(arms), len(items), -1)
        points = np.array([form.scores for _, form in items])
        answers = (shares * points).sum(-1) / np.maximum(shares.sum(-1), 1e-12)
        keying = np.array([dict(one.uses)[value] for one, _ in items])
        score = (answers[:, keying > 0].mean(1) - answers[:, keying < 0].mean(1)) / 2
        for place, moved in zip(mine, score[1:] - score[0], strict=True):
            causal[place] = SIGN[rows[place].pole] * moved
        progress(_STAGE, number + 1, len(found.values))
    known = np.where(np.isfinite(causal), causal, -np.inf)
    order = np.lexsort((-known, -found.columns["pole"], found.columns["value"]))
    columns = {name: one[order] for name, one in {**found.columns, "causal": causal}.items()}
    ranked = columns["pole"] * np.where(np.isfinite(columns["causal"]), columns["causal"], 0)
    settings = {"ranked_by": "causal", "dose": dose, "split": split, "pairs": pairs}
    return replace(
        found, columns={**columns, "score": ranked.astype(np.float32)}, config={**found.config, "ranking": settings}
    )  # fmt: skip
