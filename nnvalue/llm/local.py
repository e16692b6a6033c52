"""A local model, or one on an NDIF server, as the one who answers: through nnsight, in batches."""

from __future__ import annotations

from collections.abc import Sequence
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
    any batch and after a resume. A schema is not enforced: the messages have to say it.

    Args:
        batch_tokens: tokens of one batch.
    """

    def __init__(self, subject: Subject, batch_tokens: int = 8192) -> None:
        self._subject, self._batch_tokens = subject, batch_tokens
        self.identity = {"subject": subject.identity()}

    def ask(self, requests: Sequence[Request], keep: Keep) -> None:
        """Ask in batches of the same settings. Raises InvalidInputError for log-probabilities, else as generation."""
        if any(request.top_logprobs for request in requests):
            raise InvalidInputError("A local model is not asked for log-probabilities of its answers; leave them out.")
        alike: dict[tuple[float, int], list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault((request.temperature, request.max_tokens), []).append(number)
        for (temperature, max_tokens), numbers in alike.items():
            for start in range(0, len(numbers), _AT_ONCE):
                chunk = numbers[start : start + _AT_ONCE]
                for number, reply in zip(
                    chunk, self._replies([requests[n] for n in chunk], temperature, max_tokens), strict=True
                ):
                    keep(number, reply)

    def _replies(self, requests: Sequence[Request], temperature: float, max_tokens: int) -> list[Reply]:
        from nnvalue.models import generate_responses
        from nnvalue.steering_protocol import Sampling

        made = generate_responses(
            self._subject,
            [prompt_of(request, request.key(self.identity)) for request in requests],
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


def prompt_of(request: Request, name: str) -> Prompt:
    """The request as a prompt. Raises InvalidInputError where user and assistant do not take turns."""
    turns = list(request.messages)
    system = turns.pop(0)[1] if turns[0][0] == "system" else None
    if [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise InvalidInputError("A local model takes a system turn, then user and assistant in turns, the user last.")
    texts = [text for _, text in turns]
    return Prompt(name, system, texts[-1], tuple(zip(texts[:-1:2], texts[1:-1:2], strict=True)))
