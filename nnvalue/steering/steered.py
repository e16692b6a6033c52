"""A steered model to hand to other code: every later trace or generation of it is edited."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nnsight.intervention.iterator import Iterations

from nnvalue.errors import InvalidInputError
from nnvalue.models import Subject
from nnvalue.steering_protocol import Edits, Steering, speaks
from nnvalue.traces import apply_edits, attention_of, place_edits


@contextmanager
def steered(subject: Subject, steering: Steering) -> Iterator[Any]:
    """The subject's nnsight model under a steering, for code that knows nothing of nnvalue: an nnsight edit.

    Its `trace` and `generate` are edited, also when `generate` is called without a `with`; the subject's own model is
    not, and neither is a call of the bare module. Batches must be padded on the left, as nnsight does by itself. The
    scope `decode` does nothing to a `trace`, which has no step but the first. After the block the copy is as the model
    is.

    >>> with steered(subject, steering) as model, torch.no_grad():
    ...     tokens = model.generate(ids, attention_mask=mask, max_new_tokens=2, do_sample=False)

    Raises InvalidInputError for a steering by prompts, as the prompts are the other code's; ModelError for one that was
    made for another model.
    """
    steering.require_model(subject.identity())
    if speaks(steering):
        raise InvalidInputError(
            "A prompt cannot be put into what other code asks; steer by neurons or directions here, and put "
            "steering.speak(prompt).system before the question yourself."
        )
    edited = _edited(subject.model, steering.edits(subject.anatomy))
    try:
        with warnings.catch_warnings():
            # An edit's loop over steps ends when the model does, which nnsight warns of every time.
            warnings.filterwarnings("ignore", message=".* was never reached", category=UserWarning)
            yield edited
    finally:
        edited.clear_edits()


def _edited(model: Any, edits: Edits) -> Any:
    """Without an edit at some step the loop would not end, so the attention mask is read at every one."""
    with model.edit() as (_, edited):
        prompts, placed = None, place_edits(edited, edits)
        for step in Iterations():
            attention = attention_of(edited)
            prompts = attention if prompts is None else prompts
            apply_edits(edited, placed, prompts, step)
    return edited
