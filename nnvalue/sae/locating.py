"""Finding value features: what an SAE makes of the responses under either pole's descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nnsight
import numpy as np
import torch
from torch import Tensor

from nnvalue.artifacts import digest, library_versions
from nnvalue.errors import InvalidInputError, NumericalError, ResultError, UnknownNameError
from nnvalue.findings import ValueNeurons
from nnvalue.locator.collect import LEAN
from nnvalue.locator.readings import TEXTS, response_length, teacher_forced
from nnvalue.models import Bundle, Load, Response, Subject, plan_batches
from nnvalue.progress import Progress, silent
from nnvalue.sae.checking import place_sae
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.features import COLUMNS, ValueFeatures
from nnvalue.traces import encode_features, read_activation
from nnvalue.values import POLES

LEVEL = 0.05
_STAGE = "reading features"
_TINY = 1e-12


def locate_features(
    subject: Subject,
    sae: SparseAutoencoder,
    found: ValueNeurons,
    values: Sequence[str] | None = None,
    *,
    texts: str = "both",
    top: int = 20,
    site: str | None = None,
    batch_tokens: int = 8192,
    progress: Progress = silent,
) -> ValueFeatures:
    """Features whose activation on responses goes with a value's poles: one pass over a result's responses.

    The score is the mean difference over the pooled standard deviation (Cohen's d over responses), each response by its
    mean over the tokens that decoding feeds. q comes from a t test over folds, which share neither situations nor
    descriptions, corrected over all features (Benjamini and Hochberg).

    Args:
        found: a result with its responses, of the same model.
        values: of the result's; None for all of them.
        texts: `both`: either pole's response to a situation under either description, so that what differs is the
            prompt and not the text; `own`: each response under the description that it was given under, half the work.
        top: features a pole that are kept in the table, among those that q calls where there are so many.
        site: where the SAE reads, if it does not say.

    Raises:
        ArtifactError: a result without responses.
        ModelError: a result of another model, or an SAE of another place or width.
        UnknownNameError: a value that the result lacks, or another choice of texts.
    """
    if texts not in TEXTS:
        raise UnknownNameError("choice of texts", str(texts), TEXTS)
    place = str(place_sae(subject, sae, site).site)
    found.require_model(subject.identity())
    values = found.values if values is None else tuple(values)
    members = {value: _members(found, value) for value in values}
    wanted = {member for each in members.values() for member in each}
    table = [row for row in found.response_table() if not row["null"] and row["value"] in wanted]
    table = crossed(table) if texts == "both" else table
    responses = [Response("", row["prompt_ids"], row["token_ids"], "", True) for row in table]
    means, peaks, dense, squares = read_responses(subject, sae, place, responses, batch_tokens, progress)
    lengths = np.array([len(response.fed_ids) for response in responses])
    sign = np.array([1 if row["pole"] == POLES[0] else -1 for row in table])
    fold = np.array([row["fold"] for row in table])
    of_value = np.array([row["value"] for row in table])
    maps: dict[str, list[np.ndarray]] = {}
    rows: list[dict[str, Any]] = []
    for number, value in enumerate(values):
        mine = np.isin(of_value, members[value]) & (lengths > 0)
        if {-1, 1} - set(sign[mine].tolist()):
            raise InvalidInputError(f"The responses of '{value}' are not of both poles; a contrast needs both.")
        made = contrast(means[mine], sign[mine], fold[mine])
        weights = lengths[mine, None]
        for pole, name in ((1, "positive"), (-1, "negative")):
            here = sign[mine] == pole
            made[f"density_{name}"] = (dense[mine] * weights)[here].sum(0) / weights[here].sum()
        for name, one in made.items():
            maps.setdefault(name, []).append(one.astype(np.float32))
        rows += _selected(number, made, peaks[mine], sign[mine], top)
    columns = {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
    config = {
        "model": subject.identity(), "sae": sae_facts(sae, place), "responses": len(table), "top": top, "texts": texts,
        "dataset": found.config["dataset"], "versions": library_versions(),
    }  # fmt: skip
    norm = float(np.sqrt(squares.sum() / max(1, lengths.sum())))
    return ValueFeatures(tuple(values), columns, {name: np.stack(one) for name, one in maps.items()}, norm, config)


def crossed(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of responses, and each of them under the prompt of the other pole's response to the same situation."""
    prompt_of = {(row["value"], row["situation_id"], row["pole"]): row["prompt_ids"] for row in table}
    made = []
    for row in table:
        other = POLES[1 - POLES.index(row["pole"])]
        against = prompt_of.get((row["value"], row["situation_id"], other))
        if against is not None:
            made += [row, {**row, "prompt_ids": against, "pole": other}]
    return made


def contrast(means: np.ndarray, sign: np.ndarray, fold: np.ndarray) -> dict[str, np.ndarray]:
    """Difference, AUROC, effect size and q of every feature, each `[feature]`.

    Args:
        means: `[response, feature]`, mean activations; sign: ±1 `[response]`, the poles; fold: `[response]`.
    """
    from scipy.stats import false_discovery_control, rankdata, ttest_1samp

    means = means.astype(np.float64)
    up, down = means[sign > 0], means[sign < 0]
    difference = up.mean(0) - down.mean(0)
    pooled = np.sqrt((up.var(0) * len(up) + down.var(0) * len(down)) / len(means))
    effect = np.divide(difference, pooled, out=np.zeros_like(difference), where=pooled > _TINY)
    ranks = rankdata(means, axis=0)
    auroc = (ranks[sign > 0].sum(0) - len(up) * (len(up) + 1) / 2) / (len(up) * len(down))
    paired = []
    for number in np.unique(fold):
        here = fold == number
        if {-1, 1} <= set(sign[here].tolist()):
            paired.append(means[here & (sign > 0)].mean(0) - means[here & (sign < 0)].mean(0))
    q = np.ones_like(difference)
    if len(paired) > 1:
        table = np.stack(paired)
        varies = np.ptp(table, axis=0) > _TINY
        p = np.ones_like(difference)
        p[varies] = ttest_1samp(table[:, varies], 0).pvalue
        q = false_discovery_control(p, method="bh")
    return {"difference": difference, "auroc": auroc, "effect_size": effect, "q": q}


def _selected(
    number: int, made: dict[str, np.ndarray], peaks: np.ndarray, sign: np.ndarray, top: int
) -> list[dict[str, Any]]:
    """Rows of the strongest features of either pole; those that q calls come before others."""
    called = made["q"] < LEVEL
    rows = []
    for pole in (1, -1):
        strength = pole * made["effect_size"]
        order = np.lexsort((-strength, ~called))
        q95 = np.quantile(peaks[sign == pole], 0.95, axis=0)
        for feature in [int(one) for one in order if strength[one] > 0][:top]:
            row = {name: float(one[feature]) for name, one in made.items()}
            rows.append(
                {
                    **row, "value": number, "pole": pole, "feature": feature, "score": row["effect_size"],
                    "called": int(called[feature]), "q95": float(q95[feature]), "causal": float("nan"),
                }
            )  # fmt: skip
    return rows


def sae_facts(sae: SparseAutoencoder, site: str) -> dict[str, Any]:
    """What a result records of an SAE, so that it is not used with another one."""
    return {
        "architecture": sae.architecture, "inputs": sae.inputs, "features": sae.features, "site": site,
        "decoder_sha256": digest([round(float(one), 5) for one in sae.decoder.sum(1)]), **dict(sae.facts),
    }  # fmt: skip


def _members(found: ValueNeurons, value: str) -> list[str]:
    if value not in found.values:
        raise UnknownNameError("value", value, found.values, "(in this result)")
    return found.config["counts"][value].get("members", [value])


def read_responses(
    subject: Subject,
    sae: SparseAutoencoder,
    site: str,
    responses: Sequence[Response],
    batch_tokens: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Means, maxima and shares of active tokens of each response, over its fed tokens; and Σ|x|² of what is read.

    float32 `[response, feature]` three times, and `[response]`.
    """
    plan = plan_batches([response_length(response) for response in responses], batch_tokens)
    made = [np.zeros((len(responses), sae.features), dtype=np.float32) for _ in range(3)]
    squares = np.zeros(len(responses))
    sizes = [len(rows) * max(response_length(responses[row]) for row in rows) for rows in plan]
    weights = 4 * (2 * sae.inputs * sae.features)
    loads = [
        Load(size, bytes=16 * size + weights + 12 * sae.features * len(rows))
        for size, rows in zip(sizes, plan, strict=True)
    ]

    def read(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [teacher_forced([responses[row] for row in plan[number]], subject.pad_id) for number in bundle]
        found = features_of_batches(subject.model, site, sae.plain(), batches, backend)
        if not isinstance(found, list) or [tuple(one.shape) for one in found] != [
            (3, len(plan[number]), sae.features + 1) for number in bundle
        ]:
            raise ResultError(f"{subject.runtime.name} delivered something else than the features asked for.")
        return found

    done = 0
    progress(_STAGE, 0, len(plan))
    for bundle, parts in subject.runtime.run(subject.runtime.bundles(loads), read):
        for number, part in zip(bundle, parts, strict=True):
            for one, figures in zip(made, part[..., :-1].numpy(), strict=True):
                one[plan[number]] = figures
            squares[plan[number]] = part[0, :, -1].numpy()
        done += len(bundle)
        progress(_STAGE, done, len(plan))
    means, maxima, shares = made
    if not all(np.isfinite(one).all() for one in made) or not np.isfinite(squares).all():
        raise NumericalError(f"What stands at '{site}' holds NaN or infinity; try --dtype float32.")
    return means, maxima, shares, squares


def features_of_batches(
    model: Any,
    site: str,
    plain: dict[str, Any],
    batches: Sequence[tuple[Tensor, ...]],
    backend: Any = None,
) -> list[Tensor]:
    """Means, maxima and shares of active tokens of every feature and row, in one session; `[3, row, feature + 1]` each.

    The last column holds the sum of squared lengths of what the SAE reads.

    Args:
        plain: the SAE as `encode_features` takes it.
    """
    with model.session(backend=backend):
        made = []
        for ids, attention, counted in batches:
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                x = read_activation(model, site).float()
                inside = counted.to(x.device).unsqueeze(-1) > 0
                f = encode_features(x, plain) * inside
                tokens = inside.sum(1).clamp(min=1)
                length = (x.square().sum(-1, keepdim=True) * inside).sum(1)
                parts = torch.stack([f.sum(1) / tokens, f.amax(1), (f > 0).sum(1) / tokens])
                extra = torch.stack([length, length, length])
                both = torch.cat([parts, extra], -1).cpu()
                tracer.stop()
            made.append(both)
        found = nnsight.save(made)
    return found
