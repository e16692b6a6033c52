"""Responses to prompts: batched, greedy or with noise of their own, steered or not, kept as they come, resumable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.errors import InvalidInputError, ModelError, ResultError
from nnvalue.models.batching import plan_batches
from nnvalue.models.decoding import Asked, compact, generate_batches, generate_steered
from nnvalue.models.jobs import Bundle
from nnvalue.models.subject import Subject
from nnvalue.progress import DETAIL, Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Sampling, Steering

_STAGE = "generating responses"
_NEUTRAL = {
    "do_sample": False, "num_beams": 1, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
    "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "min_length": 0, "suppress_tokens": [],
    "begin_suppress_tokens": [], "guidance_scale": 1.0, "max_time": 1e9, "remove_invalid_values": False,
    "renormalize_logits": False, "num_return_sequences": 1, "return_dict_in_generate": False, "use_cache": True,
}  # fmt: skip
_STUCK = (
    "bad_words_ids", "sequence_bias", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty",
    "watermarking_config", "stop_strings", "prompt_lookup_num_tokens", "min_new_tokens",
)  # fmt: skip


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
    steering: Steering | Sequence[Steering | None] | None = None,
    sampling: Sampling | None = None,
    max_new_tokens: int = 128,
    batch_tokens: int = 8192,
    streamer: Any = None,
    journal: Journal | None = None,
    journal_key: str = "responses",
    progress: Progress = silent,
) -> list[Response]:
    """Responses, one a prompt and in the order of the prompts; greedy if no sampling is asked for.

    Greedy means the argmax of the model's logits: sampling and penalties of the checkpoint's generation settings are
    off. With a journal, batches that are in it are not generated again.

    Args:
        steering: what moves the model; one for all prompts, or one (or None) for each, so that all arms and doses of an
            experiment can share their batches.
        sampling: how tokens are drawn. Prompts of one id draw alike, so with a steering for each an id may come again.
        max_new_tokens: length limit of a response.
        batch_tokens: prompt and response tokens of one batch, padding included.
        streamer: one of transformers', which is given tokens as they come; of a single prompt, in this process.

    Raises InvalidInputError for a limit below 1, prompts that share an id or another number of steerings than prompts;
    ModelError for a steering that was made for another model.
    """
    _check_arguments(subject, prompts, steering, max_new_tokens, streamer)
    asked = Asked(subject, prompts, steering, sampling)
    _check_room(subject, asked.encoded, max_new_tokens)
    plan = plan_batches([len(ids) + max_new_tokens for ids in asked.encoded], batch_tokens)
    journal_key += asked.mark(plan)
    responses: dict[int, Response] = {}

    def keep(batch: list[int], made: list[Response]) -> None:
        responses.update(zip(batch, made, strict=True))
        progress(_STAGE, len(responses), len(prompts))

    keys = [f"{journal_key}-{number:05d}" for number in range(len(plan))]
    known = {number for number, key in enumerate(keys) if journal is not None and journal.has_json(key)}
    progress(_STAGE, 0, len(prompts))
    for number in sorted(known):
        assert journal is not None  # or nothing were known
        keep(plan[number], [_from_json(entry) for entry in journal.get_json(keys[number])])
    loads = [asked.load(rows, max_new_tokens) for rows in plan]
    bundles = [tuple(n for n in bundle if n not in known) for bundle in subject.runtime.bundles(loads)]

    def generate(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [asked.batch(plan[number]) for number in bundle]
        if sampling is None and not any(edits for _ids, _mask, edits, _seeds in batches):
            made = generate_batches(subject.model, [batch[:2] for batch in batches], settings, backend)
        else:
            made = generate_steered(subject.model, batches, asked.drawn, settings, backend)
        _check_tokens(made, [len(seeds) for *_, seeds in batches], subject)
        return made

    settings = _greedy_settings(subject, max_new_tokens) | ({} if streamer is None else {"streamer": streamer})
    report = partial(_report, progress, responses, len(prompts))
    for bundle, tokens in subject.runtime.run([b for b in bundles if b], generate, journal, journal_key, report):
        for number, new in zip(bundle, tokens, strict=True):
            texts = [_until_stop(row, stop_tokens(subject)) for row in new.tolist()]
            made = [
                _response(subject, prompts[place].id, asked.encoded[place], text)
                for place, text in zip(plan[number], texts, strict=True)
            ]
            if journal is not None:
                journal.put_json(keys[number], [_to_json(response) for response in made])
            keep(plan[number], made)
    return [responses[place] for place in range(len(prompts))]


def _check_arguments(
    subject: Subject, prompts: Sequence[Prompt], steering: Any, max_new_tokens: int, streamer: Any
) -> None:
    if max_new_tokens < 1:
        raise InvalidInputError(f"A response needs room for at least one token, max_new_tokens={max_new_tokens} given.")
    alone = steering is None or isinstance(steering, Steering)
    if alone and len({prompt.id for prompt in prompts}) != len(prompts):
        raise InvalidInputError("Two prompts share an id; give every prompt its own.")
    if streamer is not None and (len(prompts) != 1 or subject.runtime.name != "local"):
        raise InvalidInputError("Tokens are streamed for one prompt at a time, and in this process only.")


def _check_tokens(made: Any, rows: list[int], subject: Subject) -> None:
    """Refuse what is no batch of tokens for every batch of prompts."""
    if not isinstance(made, list) or [_row_count(tokens) for tokens in made] != rows:
        raise ResultError(f"{subject.runtime.name} delivered something else than the answers that were asked for.")


def _row_count(tokens: Any) -> int | None:
    whole = isinstance(tokens, Tensor) and tokens.dim() == 2 and not tokens.is_floating_point()
    return len(tokens) if whole else None


def _report(progress: Progress, responses: Mapping[int, Response], total: int, detail: str) -> None:
    progress(_STAGE + DETAIL + detail, len(responses), total)


def _check_room(subject: Subject, encoded: Sequence[Sequence[int]], max_new_tokens: int) -> None:
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


def _greedy_settings(subject: Subject, max_new_tokens: int) -> dict[str, Any]:
    """Every generation setting that a checkpoint could bring along, said aloud.

    transformers fills in whatever a call leaves open from the checkpoint; on a server it cannot be set aside.
    Raises ModelError where the checkpoint asks for something that a call cannot take back.
    """
    own = subject.model._module.generation_config
    if stuck := [name for name in _STUCK if getattr(own, name, None) is not None]:
        raise ModelError(
            f"The generation settings of '{subject.name}' ask for {', '.join(stuck)}, which changes greedy answers and "
            "cannot be switched off by a call; remove it from its generation_config.json."
        )
    stops = list(stop_tokens(subject))
    # An empty list still costs a walk through the vocabulary at every step, so it is given only where it undoes one.
    neutral = {name: value for name, value in _NEUTRAL.items() if value != [] or getattr(own, name, None)}
    return {
        **neutral, "max_new_tokens": max_new_tokens, "eos_token_id": stops or None, "pad_token_id": subject.pad_id
    }  # fmt: skip


def _until_stop(tokens: list[int], stops: tuple[int, ...]) -> list[int]:
    for place, token in enumerate(tokens):
        if token in stops:
            return tokens[: place + 1]
    return tokens


def _response(subject: Subject, prompt_id: str, prompt_ids: Sequence[int], tokens: list[int]) -> Response:
    text = str(subject.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
    finished = bool(tokens) and tokens[-1] in stop_tokens(subject)
    return Response(prompt_id, prompt_ids, compact(tokens), text, finished)


def _to_json(response: Response) -> dict[str, Any]:
    return {**vars(response), "prompt_ids": list(response.prompt_ids), "token_ids": list(response.token_ids)}


def _from_json(entry: dict[str, Any]) -> Response:
    ids = {name: compact(entry[name]) for name in ("prompt_ids", "token_ids")}
    return Response(**{**entry, **ids})
