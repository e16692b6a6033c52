"""How likely texts are to a model: one teacher-forced pass, reduced where the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, ResultError
from nnvalue.models.batching import pad_left, plan_batches
from nnvalue.models.jobs import Bundle
from nnvalue.models.runtime import Load
from nnvalue.models.subject import Subject
from nnvalue.steering_protocol import Edits, Steering, batch_edits, edit_bytes, require_single_pass
from nnvalue.traces import apply_edits

Text = tuple[Sequence[int], Sequence[int]]
"""Token ids of what stands before and of what is scored; before must not be empty, as its last token predicts."""


def negative_log_likelihoods(
    subject: Subject,
    texts: Sequence[Text],
    *,
    steering: Steering | None = None,
    batch_tokens: int = 8192,
) -> Tensor:
    """How unlikely each text is after what stands before it, from one pass; float64 `[text, 2]`.

    The columns: the sum over its tokens of −log p(token | all before), in nats; and how many of its tokens were the
    likeliest ones at their places. A steering acts at the positions at which it would have acted had the model said the
    text itself: its scope `answer` begins at the last token of what stands before.

    Args:
        texts: pairs of token ids (before, text). The words of a steering that speaks are for the caller to put there.
        steering: the edits of one; None for the model as it is.

    Raises:
        InvalidInputError: a text of no token or with nothing before it, or one too long for the model; a scope of
            `decode`, whose edits a single pass does not have.
        ModelError: the steering was made for another model.
    """
    lengths = [len(before) + len(text) for before, text in texts]
    _check(subject, texts, lengths)
    edits: Edits = []
    if steering is not None:
        steering.require_model(subject.identity())
        edits = require_single_pass(steering.edits(subject.anatomy))
        if any(isinstance(edit.get("scope"), dict) for _, here in edits for edit in here):
            raise InvalidInputError(
                "A scope by words needs a prompt to find them in, and texts have none; use another."
            )
    plan = plan_batches(lengths, batch_tokens)
    loads = [
        Load(len(rows) * lengths[rows[0]], bytes=16 * len(rows) * lengths[rows[0]] + edit_bytes(edits)) for rows in plan
    ]

    def score(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [_batch(subject, [texts[row] for row in plan[number]], edits) for number in bundle]
        return likelihoods_of_batches(subject.model, batches, backend)

    found = torch.empty(len(texts), 2, dtype=torch.float64)
    for bundle, parts in subject.runtime.run(subject.runtime.bundles(loads), score):
        for number, part in zip(bundle, parts, strict=True):
            if tuple(part.shape) != (len(plan[number]), 2):
                raise ResultError(f"{subject.runtime.name} delivered something else than the likelihoods asked for.")
            found[plan[number]] = part
    return found


def likelihoods_of_batches(
    model: Any, batches: Sequence[tuple[Tensor, Tensor, Tensor, Edits]], backend: Any = None
) -> list[Tensor]:
    """The two columns of `negative_log_likelihoods` for every batch, in one session; float64 `[row, 2]` each.

    As texts are padded on the left, what is scored stands in the last columns, and no other logits are computed; they
    are widened to float32 a row at a time, since a vocabulary is large.

    Args:
        batches: token ids and attention mask, int64 `[row, token]`, padded on the left; which of the last tokens are
            scored, int64 `[row, scored]`; compiled edits.
    """
    with model.session(backend=backend):
        made = []
        for ids, mask, scored, edits in batches:
            kept = scored.shape[1] + 1
            with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False, logits_to_keep=kept):
                apply_edits(model, edits, mask)
                logits = model.output.logits
                wanted = ids[:, 1 - kept :].to(logits.device)
                sums = []
                for row in range(len(ids)):
                    told = torch.log_softmax(logits[row, -kept:-1].float(), -1)
                    lost = -told.gather(-1, wanted[row].unsqueeze(-1)).squeeze(-1)
                    counts = scored[row].to(logits.device) > 0
                    hits = (told.argmax(-1) == wanted[row]) & counts
                    sums.append(torch.stack([lost[counts].cpu().double().sum(), hits.cpu().double().sum()]))
                both = nnsight.save(torch.stack(sums))
            made.append(both)
        found = nnsight.save(made)
    return found


def _batch(subject: Subject, texts: Sequence[Text], edits: Edits) -> tuple[Tensor, Tensor, Tensor, Edits]:
    ids, mask = pad_left([[*before, *text] for before, text in texts], subject.pad_id)
    longest = max(len(text) for _, text in texts)
    scored = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, (_, text) in enumerate(texts):
        scored[row, longest - len(text) :] = 1
    together = batch_edits([edits] * len(texts), subject.anatomy.forward_order())
    starts = [[[len(before) - 1, None]] for before, _ in texts]
    return ids, mask, scored, [(site, [_from(edit, starts) for edit in here]) for site, here in together]


def _from(edit: dict[str, Any], starts: list[list[list[int | None]]]) -> dict[str, Any]:
    """An edit of scope `answer`, which in a pass means its last position, spelt out as spans of each row."""
    return {**edit, "scope": starts} if edit.get("scope", "answer") == "answer" else edit


def _check(subject: Subject, texts: Sequence[Text], lengths: Sequence[int]) -> None:
    if any(not len(before) or not len(text) for before, text in texts):
        raise InvalidInputError("A text is scored after something: give at least one token before it and one of it.")
    room = getattr(subject.config, "max_position_embeddings", None)
    if room is not None and max(lengths, default=0) > room:
        raise InvalidInputError(
            f"The longest text has {max(lengths)} tokens with what stands before it, and the model has room for "
            f"{room}; leave it out or cut it."
        )
