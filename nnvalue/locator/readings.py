"""What is read of a pass, and the batches that are fed: prompt and response, with masks of the tokens that count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.models import SITES, Response, pad_left, plan_batches

TOKENS = ("response", "last_prompt", "prompt")
"""Which tokens count: those of the response that decoding feeds, the last of the prompt, or all of the prompt."""
TEXTS = ("own", "both")
"""What follows a prompt: the response that was given to it, or in turn the responses to either pole's prompt."""


class Reading(NamedTuple):
    """What is read of a pass: a site (`gate` or `down_in`), which tokens count and what follows a prompt.

    With the texts `both`, the poles differ in the prompt alone: the same texts are read under either.
    """

    site: str
    tokens: str = "response"
    texts: str = "own"

    def check(self) -> Reading:
        """Itself; raises UnknownNameError, or InvalidInputError where both texts are to be read, and no text is."""
        if self.site not in SITES:
            raise UnknownNameError("site", self.site, SITES)
        if self.tokens not in TOKENS:
            raise UnknownNameError("choice of tokens", self.tokens, TOKENS)
        if self.texts not in TEXTS:
            raise UnknownNameError("choice of texts", self.texts, TEXTS)
        if self.texts == "both" and self.tokens != "response":
            raise InvalidInputError(
                f"Both poles' texts can be read at response tokens only, and '{self.tokens}' tokens are asked for; "
                f"choose a method that reads each prompt's own response, e.g. mean_difference."
            )
        return self

    def count(self, response: Response) -> int:
        """How many tokens of a response count."""
        return {"response": len(response.fed_ids), "last_prompt": 1, "prompt": len(response.prompt_ids)}[self.tokens]


class TeacherForcedBatches:
    """Batches of prompt + response, left-padded, with a mask of the tokens that count.

    Iterating gives `(rows, ids, attention, counted)`: the responses' places, token ids, attention mask and mask of
    counted tokens, the latter three int64 `[batch, token]`.
    """

    def __init__(self, responses: Sequence[Response], batch_tokens: int, pad_id: int, tokens: str = "response") -> None:
        self._responses, self._pad_id, self._tokens = responses, pad_id, tokens
        self.plan = plan_batches([response_length(response) for response in responses], batch_tokens)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> tuple[list[int], Tensor, Tensor, Tensor]:
        rows = self.plan[number]
        ids, attention, counted = teacher_forced([self._responses[row] for row in rows], self._pad_id, self._tokens)
        return rows, ids, attention, counted

    def __iter__(self) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
        return (self[number] for number in range(len(self)))


def teacher_forced(responses: Sequence[Response], pad_id: int, *tokens: str) -> tuple[Tensor, ...]:
    """Prompts with their responses as a batch: token ids, attention mask, and a mask of each choice of tokens.

    All are int64 `[batch, token]`. Without a choice the tokens of the response count.
    """
    ids, attention = pad_left([(*response.prompt_ids, *response.fed_ids) for response in responses], pad_id)
    return ids, attention, *(_counted(responses, ids.shape[1], choice) for choice in tokens or TOKENS[:1])


def _counted(responses: Sequence[Response], width: int, tokens: str) -> Tensor:
    """int64 `[batch, token]`, 1 where a token of the choice stands in rows that are padded on the left."""
    counted = torch.zeros(len(responses), width, dtype=torch.int64)
    for row, response in zip(counted, responses, strict=True):
        prompt_end = width - len(response.fed_ids)
        first, end = {
            "response": (prompt_end, width),
            "last_prompt": (prompt_end - 1, prompt_end),
            "prompt": (prompt_end - len(response.prompt_ids), prompt_end),
        }[tokens]
        row[first:end] = 1
    return counted


def response_length(response: Response) -> int:
    """Tokens of a prompt and what of its response is fed."""
    return len(response.prompt_ids) + len(response.fed_ids)
