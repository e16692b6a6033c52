"""The completion client: asks whoever answers, keeps what comes, and asks nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from nnvalue.llm.exchange import STATUSES, Backend, Reply, Request
from nnvalue.llm.log import AnswerLog
from nnvalue.progress import DETAIL, Progress, silent

STAGE = "asking the model"


@dataclass(frozen=True)
class Prices:
    """What an endpoint charges, in dollars for a million tokens of prompts and of answers."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass
class Usage:
    """What a client has done so far; asked = answered + refused + failed.

    from_log: requests whose answer was known; their tokens are not counted here.
    prompt_tokens, completion_tokens: of new answers, as told by who answered.
    untold: new answers that came without token counts.
    cost: in dollars; None where no prices are known.
    """

    asked: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    from_log: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0
    cost: float | None = None

    def count(self, reply: Reply, prices: Prices | None) -> None:
        """Take one reply into account."""
        self.asked += 1
        setattr(self, reply.status, getattr(self, reply.status) + 1)
        self.from_log += reply.cached
        if reply.cached:
            return
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        self.untold += reply.status != "failed" and reply.completion_tokens is None
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        if prices is not None:
            self.cost = (self.cost or 0.0) + (prompt * prices.prompt + completion * prices.completion) / 1e6

    def in_words(self) -> str:
        """The new tokens, and what they cost if that is known."""
        told = f"{self.prompt_tokens:,} tokens in, {self.completion_tokens:,} out"
        if self.cost is not None:
            told += f", ${self.cost:.{2 if self.cost >= 1 else 4}f}"
        return f"{told}, and {self.untold:,} answers whose tokens were not told" if self.untold else told


class CompletionClient:
    """Asks a language model; every answer is logged as it comes, and a request that is in the log is not asked again.

    A request counts as the same if model, messages and settings are the same (`Request.key`).

    Args:
        backend: who answers: an `Endpoint`, a `LocalModel`, a `FromFunction`, or anything of the kind.
        log: file of JSON lines that keeps answers for later runs; None keeps them as long as the client lives.
        prices: to show what it costs.

    Raises ArtifactError where the log cannot be used.
    """

    def __init__(self, backend: Backend, log: str | Path | None = None, prices: Prices | None = None) -> None:
        self.backend, self.prices, self.usage = backend, prices, Usage(cost=None if prices is None else 0.0)
        self._log = None if log is None else AnswerLog(Path(log))
        self._known: dict[str, Reply] = {}

    def __enter__(self) -> CompletionClient:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log."""
        if self._log is not None:
            self._log.close()

    def remember(self, path: Path) -> None:
        """Take over the answers of another log's file. Raises ArtifactError if it is damaged."""
        if self._log is not None:
            self._log.merge(path)

    def kept(self) -> set[str]:
        """Keys of all answers that are known."""
        return set(self._known) if self._log is None else self._log.keys()

    def complete(self, requests: Sequence[Request], progress: Progress = silent) -> list[Reply]:
        """The replies, one a request and in their order. Of requests that are the same, one is asked.

        A request that failed is asked again when it is given again. Interrupted, it waits for answers under way and
        keeps them.

        Raises RemoteError of some kind where it is no use to go on; what was answered until then is kept.
        """
        keys = [request.key(self.backend.identity) for request in requests]
        replies = {key: reply for key in keys if (reply := self._recall(key)) is not None}
        wanted = {key: request for key, request in zip(keys, requests, strict=True) if key not in replies}
        asked, order = list(wanted.values()), list(wanted)
        total, turn = len(replies) + len(asked), threading.Lock()

        def keep(number: int, reply: Reply) -> None:
            key = order[number]
            with turn:
                replies[key] = reply
                self.usage.count(reply, self.prices)
                told = f"{STAGE}{DETAIL}{self.usage.in_words()}"
            self._store(key, asked[number], reply)
            progress(told, len(replies), total)

        progress(STAGE, len(replies), total)
        if asked:
            self.backend.ask(asked, keep)
        seen: set[str] = set(order)
        made = []
        for key in keys:
            reply = replies[key]
            if key in seen:  # asked just now and counted as it came
                seen.remove(key)
            else:
                reply = replace(reply, cached=True)
                self.usage.count(reply, self.prices)
            made.append(reply)
        return made

    def _recall(self, key: str) -> Reply | None:
        return self._known.get(key) if self._log is None else self._log.get(key)

    def _store(self, key: str, request: Request, reply: Reply) -> None:
        if self._log is not None:
            self._log.put(key, self.backend.identity, request, reply)
        elif reply.status != "failed":
            self._known[key] = reply


def outcomes(replies: Sequence[Reply]) -> dict[str, int]:
    """How many replies there are of each status; they add up to the number of replies."""
    return {status: sum(reply.status == status for reply in replies) for status in STATUSES}
