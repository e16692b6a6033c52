"""A local model, or one on an NDIF server, as the one who answers: through nnsight, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nnvalue.errors import InvalidInputError
from nnvalue.llm.exchange import Keep, Reply, Request
from nnvalue.prompts import Prompt

if TYPE_CHECKING:
    from nnvalue.models import Subject

_AT_ONCE = 16  # requests until their answers are kept


class LocalModel:
    """A `Subject` that answers requests.

    Temperature 0 is greedy; above it tokens are drawn by noise of the request's own, so that it is answered alike in
    any batch and after a resume. A schema is not enforced: the messages have to say it. Log-probabilities are told of
    answers of one token at temperature 0.

    Args:
        batch_tokens: tokens of one batch.
    """

    def __init__(self, subject: Subject, batch_tokens: int = 8192) -> None:
        self._subject, self._batch_tokens = subject, batch_tokens
        self.identity = {"subject": subject.identity()}

    def ask(self, requests: Sequence[Request], keep: Keep) -> None:
        """Ask in batches of the same settings.

        Raises InvalidInputError for log-probabilities of longer or drawn answers, else as generation.
        """
        if any(request.top_logprobs and (request.max_tokens > 1 or request.temperature) for request in requests):
            raise InvalidInputError(
                "A local model tells log-probabilities of one token at temperature 0 only; ask for max_tokens=1."
            )
        alike: dict[tuple[float, int, int], list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault((request.temperature, request.max_tokens, request.top_logprobs), []).append(number)
        for (temperature, max_tokens, top), numbers in alike.items():
            for start in range(0, len(numbers), _AT_ONCE):
                chunk = numbers[start : start + _AT_ONCE]
                some = [requests[n] for n in chunk]
                made = self._told(some, top) if top else self._replies(some, temperature, max_tokens)
                for number, reply in zip(chunk, made, strict=True):
                    keep(number, reply)

    def _told(self, requests: Sequence[Request], top: int) -> list[Reply]:
        """Answers of one token, with the likeliest alternatives and their log-probabilities, from single passes."""
        from nnvalue.models import encode_prompt, next_token_logits

        tokenizer = self._subject.tokenizer
        prompts = self._prompts(requests)
        told = next_token_logits(self._subject, prompts, batch_tokens=self._batch_tokens).log_softmax(-1)
        best = told.topk(min(top, told.shape[1]))
        stops = set(tokenizer.all_special_ids)
        made = []
        for prompt, values, ids in zip(prompts, best.values.tolist(), best.indices.tolist(), strict=True):
            tops = tuple((str(tokenizer.decode([token])), value) for token, value in zip(ids, values, strict=True))
            text, finish = ("", "stop") if ids[0] in stops else (tops[0][0].strip(), "length")
            length = len(encode_prompt(tokenizer, prompt))
            made.append(Reply("answered", text, "", finish, length, 1, (tops,)))
        return made

    def _prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """The requests as prompts, in whose texts nothing is a special token: a judged answer must not end its turn."""
        added = self._subject.tokenizer.added_tokens_decoder.values()
        special = [token.content for token in added if token.special or token.content.startswith(("<", "["))]
        return [prompt_of(_broken_up(request, special), request.key(self.identity)) for request in requests]

    def _replies(self, requests: Sequence[Request], temperature: float, max_tokens: int) -> list[Reply]:
        from nnvalue.models import generate_responses
        from nnvalue.steering_protocol import Sampling

        made = generate_responses(
            self._subject,
            self._prompts(requests),
            sampling=Sampling(temperature) if temperature else None,
            max_new_tokens=max_tokens,
            batch_tokens=self._batch_tokens,
        )
        return [
            Reply(
                "answered", response.text, "", "stop" if response.finished else "length",
                len(response.prompt_ids), len(response.token_ids),
            )
            for response in made
        ]  # fmt: skip


def _broken_up(request: Request, special: Sequence[str]) -> Request:
    """The request with a blank inside of whatever its texts hold of special tokens."""
    messages = []
    for role, text in request.messages:
        for token in special:
            text = text.replace(token, f"{token[:1]} {token[1:]}") if len(token) > 1 else text
        messages.append((role, text))
    return replace(request, messages=tuple(messages))


def prompt_of(request: Request, name: str) -> Prompt:
    """The request as a prompt. Raises InvalidInputError where user and assistant do not take turns."""
    turns = list(request.messages)
    system = turns.pop(0)[1] if turns[0][0] == "system" else None
    if [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise InvalidInputError("A local model takes a system turn, then user and assistant in turns, the user last.")
    texts = [text for _, text in turns]
    return Prompt(name, system, texts[-1], tuple(zip(texts[:-1:2], texts[1:-1:2], strict=True)))
