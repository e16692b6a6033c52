"""Responses to prompts: batched, greedy, kept as they come, resumable."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from nnvalue.artifacts import Journal
from nnvalue.errors import InvalidInputError
from nnvalue.models.batching import pad_left, plan_batches
from nnvalue.models.chat import encode_prompt
from nnvalue.models.subject import Subject
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt


@dataclass(frozen=True)
class Response:
    """What a model answered.

    prompt_ids: the prompt as the model saw it.
    token_ids: every generated token; the last one ended the answer (a stop token) or met the length limit.
    text: the answer without special tokens.
    finished: whether a stop token ended it.
    """

    prompt_id: str
    prompt_ids: Sequence[int]
    token_ids: Sequence[int]
    text: str
    finished: bool

    @property
    def fed_ids(self) -> Sequence[int]:
        """The generated tokens that the model was fed while decoding: all but the last, which nothing follows.

        These are the response tokens that count (as in NPTI's public code, where a token is counted when it goes
        through the model in a decode step). The last prompt token, which predicts the first one, does not.
        """
        return self.token_ids[:-1]


def generate_responses(
    subject: Subject,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 128,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "responses",
    progress: Progress = silent,
) -> list[Response]:
    """Greedy responses, one a prompt and in the order of the prompts.

    Greedy means the argmax of the model's own logits: sampling and penalties of the checkpoint's generation settings
    are off. With a journal, batches that are in it are not generated again.

    Args:
        max_new_tokens: length limit of a response.
        batch_tokens: prompt and response tokens of one batch, padding included.

    Raises InvalidInputError for a limit below 1 or prompts that share an id.
    """
    if max_new_tokens < 1:
        raise InvalidInputError(f"A response needs room for at least one token, max_new_tokens={max_new_tokens} given.")
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise InvalidInputError("Two prompts share an id; give every prompt its own.")
    encoded = [_compact(encode_prompt(subject.tokenizer, prompt)) for prompt in prompts]
    _check_room(subject, encoded, max_new_tokens)
    plan = plan_batches([len(ids) + max_new_tokens for ids in encoded], batch_tokens)
    responses: dict[int, Response] = {}
    progress("generating responses", 0, len(prompts))
    for number, batch in enumerate(plan):
        key = f"{journal_key}-{number:05d}"
        if journal is not None and journal.has_json(key):
            made = [_from_json(entry) for entry in journal.get_json(key)]
        else:
            generated = _generate_batch(subject, [encoded[place] for place in batch], max_new_tokens)
            made = [
                _response(subject, prompts[place].id, encoded[place], tokens)
                for place, tokens in zip(batch, generated, strict=True)
            ]
            if journal is not None:
                journal.put_json(key, [_to_json(response) for response in made])
        responses.update(zip(batch, made, strict=True))
        progress("generating responses", len(responses), len(prompts))
    return [responses[place] for place in range(len(prompts))]


def _check_room(subject: Subject, encoded: list[Sequence[int]], max_new_tokens: int) -> None:
    room = getattr(subject.config, "max_position_embeddings", None)
    longest = max(map(len, encoded), default=0)
    if room is not None and longest + max_new_tokens > room:
        raise InvalidInputError(
            f"The longest prompt has {longest} tokens and {max_new_tokens} new ones are asked for, but the model has "
            f"room for {room}; ask for fewer with max_new_tokens (--max-new-tokens)."
        )


def stop_tokens(subject: Subject) -> tuple[int, ...]:
    """Token ids that end an answer: those of the generation settings, else the tokenizer's."""
    ids = subject.model._module.generation_config.eos_token_id
    ids = subject.tokenizer.eos_token_id if ids is None else ids
    return () if ids is None else tuple(ids) if isinstance(ids, list | tuple) else (ids,)


def _generate_batch(subject: Subject, encoded: list[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
    """New tokens of each row, up to and with the first stop token."""
    ids, mask = pad_left(encoded, subject.pad_id)
    stops = stop_tokens(subject)
    options = {"max_new_tokens": max_new_tokens, "do_sample": False, "eos_token_id": list(stops) or None}
    ids, mask = ids.to(subject.device), mask.to(subject.device)
    with _plain_settings(subject):
        made = _traced_generation(subject.model, ids, mask, options)[:, ids.shape[1] :].tolist()
    return [_until_stop(row, stops) for row in made]


@contextmanager
def _plain_settings(subject: Subject) -> Iterator[None]:
    """Put the checkpoint's generation settings aside: transformers lets them fill in whatever a call leaves open."""
    from transformers import GenerationConfig

    module = subject.model._module
    own = module.generation_config
    module.generation_config = GenerationConfig(pad_token_id=subject.pad_id)
    try:
        yield
    finally:
        module.generation_config = own


def _traced_generation(model: Any, ids: torch.Tensor, mask: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad(), model.generate(ids, attention_mask=mask, **options) as tracer:
        result = tracer.result.save()
    return result.cpu()


def _until_stop(tokens: list[int], stops: tuple[int, ...]) -> list[int]:
    for place, token in enumerate(tokens):
        if token in stops:
            return tokens[: place + 1]
    return tokens


def _response(subject: Subject, prompt_id: str, prompt_ids: Sequence[int], tokens: list[int]) -> Response:
    text = subject.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    finished = bool(tokens) and tokens[-1] in stop_tokens(subject)
    return Response(prompt_id, prompt_ids, _compact(tokens), text, finished)


def _compact(ids: Iterable[int]) -> array:
    """Four bytes a token: thousands of responses are held at once."""
    return array("i", ids)


def _to_json(response: Response) -> dict[str, Any]:
    return {**vars(response), "prompt_ids": list(response.prompt_ids), "token_ids": list(response.token_ids)}


def _from_json(entry: dict[str, Any]) -> Response:
    ids = {name: _compact(entry[name]) for name in ("prompt_ids", "token_ids")}
    return Response(**{**entry, **ids})
