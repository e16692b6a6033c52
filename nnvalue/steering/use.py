"""The verb: responses of a model, steered or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nnvalue.errors import InvalidInputError
from nnvalue.models import Response, Subject, generate_responses, open_model
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Sampling, Steering


def generate(
    model: Any,
    prompts: str | Sequence[str | Prompt],
    *,
    steering: Steering | Sequence[Steering | None] | None = None,
    max_new_tokens: int = 128,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    batch_tokens: int = 8192,
    streamer: Any = None,
    progress: Progress = silent,
) -> list[Response]:
    """Responses to prompts, under a steering or none; here or on a server, as the model was opened.

    Args:
        model: a `Subject`, or anything that `open_model` takes; None for the embedded organism.
        prompts: questions; a `Prompt` has a system turn too.
        steering: one for all prompts, or one (or None) for each: arms and doses of an experiment then share batches.
        max_new_tokens: length limit of a response.
        temperature: draws tokens from the softmax of logits / temperature; None takes the likeliest one.
        top_k, top_p: draw among the likeliest tokens only; they need a temperature.
        seed: of the draws; each prompt has noise of its own, whatever steers it and whatever its batch.
        batch_tokens: prompt and response tokens of one batch, padding included.
        streamer: one of transformers', of a single prompt, in this process.

    Returns:
        A response for each prompt, in their order.

    Raises NnvalueError of some kind, with what to do, for anything that a user can mend.
    """
    subject = model if isinstance(model, Subject) else open_model(model)
    sampling = None
    if temperature is not None:
        sampling = Sampling(temperature, top_k, top_p, seed)
    elif top_k is not None or top_p is not None:
        raise InvalidInputError("top_k and top_p are about drawing tokens; give a temperature too, e.g. 1.0.")
    alone = steering is None or isinstance(steering, Steering)
    return generate_responses(
        subject, as_prompts(prompts, alone), steering=steering, sampling=sampling, max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens, streamer=streamer, progress=progress,
    )  # fmt: skip


def as_prompts(prompts: str | Sequence[str | Prompt], alone: bool = True) -> list[Prompt]:
    """Prompts of texts; the id of one is its text, so that its noise does not depend on its place in a list.

    alone: whether a text that comes again is a prompt of its own; else it is the same one under another steering, with
        the same noise.
    """
    asked = [prompts] if isinstance(prompts, str | Prompt) else list(prompts)
    seen: Counter[str] = Counter()
    made = []
    for each in asked:
        if isinstance(each, Prompt):
            made.append(each)
            continue
        seen[each] += 1
        made.append(Prompt(each if seen[each] == 1 or not alone else f"{each} #{seen[each]}", None, each))
    return made
