"""What a language model is asked and what comes of it, whoever it is that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from nnvalue.artifacts import digest
from nnvalue.errors import InvalidInputError

ROLES = ("system", "user", "assistant")
STATUSES = ("answered", "refused", "failed")


@dataclass(frozen=True)
class Request:
    """What a language model is asked.

    messages: pairs (role, text); roles are system (first, if at all), user and assistant; the last is the user's.
    temperature: 0 for the likeliest answer.
    max_tokens: length limit of the answer.
    schema: JSON schema that the answer shall follow; None for free text. Endpoints that enforce schemas are given it;
        for others the messages must say the same in words.
    top_logprobs: so many alternatives of every generated token come with their log-probabilities.
    sample: tells several draws of one answer apart; another number is another request.
    """

    messages: tuple[tuple[str, str], ...]
    temperature: float = 0.0
    max_tokens: int = 1024
    schema: Mapping[str, Any] | None = None
    top_logprobs: int = 0
    sample: int = 0

    def __post_init__(self) -> None:
        roles = [role for role, _ in self.messages]
        if not roles or roles[-1] != "user" or any(r not in ROLES for r in roles) or "system" in roles[1:]:
            raise InvalidInputError(
                f"Messages are pairs of a role ({', '.join(ROLES)}) and a text, the user's last; {roles} given."
            )
        if not 0 <= self.temperature <= 2 or self.max_tokens < 1 or self.top_logprobs < 0:
            raise InvalidInputError(
                f"The temperature must lie between 0 and 2, max_tokens be at least 1 and top_logprobs at least 0; "
                f"{self.temperature}, {self.max_tokens} and {self.top_logprobs} given."
            )
        object.__setattr__(self, "temperature", float(self.temperature))  # 1 and 1.0 are one request

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {**asdict(self), "messages": [list(message) for message in self.messages]}

    def key(self, identity: Mapping[str, Any]) -> str:
        """What the answer depends on, as one word: the request, and who is asked."""
        return digest({"asked": dict(identity), "request": self.as_json()})


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    status: `answered`; `refused`, if the model or its provider declined; `failed`, if there was no answer to be had.
    text: the answer; of a refusal, what was said with it.
    reason: why it was refused or failed.
    finish: what ended the answer in the endpoint's words; `length` if the limit did.
    prompt_tokens, completion_tokens: as counted by who answered; None if not told.
    logprobs: for each generated token its alternatives and their log-probabilities, if they were asked for.
    cached: whether it was known and nobody was asked.
    """

    status: str
    text: str = ""
    reason: str = ""
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: tuple[tuple[tuple[str, float], ...], ...] = ()
    cached: bool = False

    @classmethod
    def failed(cls, reason: str) -> Reply:
        """No answer, and why."""
        return cls("failed", reason=reason)

    def as_json(self) -> dict[str, Any]:
        """All of it but where it came from, as JSON data."""
        data = asdict(self)
        del data["cached"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reply:
        """What `as_json` gave. Raises TypeError or ValueError if it is something else."""
        logprobs = tuple(tuple((token, float(value)) for token, value in place) for place in data["logprobs"])
        reply = cls(**{**data, "logprobs": logprobs, "cached": True})
        if reply.status not in STATUSES or not isinstance(reply.text, str):
            raise ValueError(f"status {reply.status!r}")
        return reply

    def without(self, hide: Callable[[str], str]) -> Reply:
        """The same with every text changed by `hide`: what must not be written anywhere is cut out."""
        told = tuple(tuple((hide(token), value) for token, value in place) for place in self.logprobs)
        text, reason, finish = (hide(one) for one in (self.text, self.reason, self.finish))
        return replace(self, text=text, reason=reason, finish=finish, logprobs=told)


Keep = Callable[[int, Reply], None]
"""Takes the number of a request and its reply, as soon as it is there and from whatever thread."""


class Backend(Protocol):
    """Who answers.

    identity: JSON data that answers depend on besides the request; never a key or a password.
    """

    identity: Mapping[str, Any]

    def ask(self, requests: Sequence[Request], keep: Keep) -> None:
        """Ask all of them and hand each reply to `keep`. Raises RemoteError where it is no use to go on."""


class FromFunction:
    """A function of yours that answers: it takes a `Request` and returns a text, or a `Reply`.

    An exception that it raises makes that one request a failed one.
    """

    def __init__(self, function: Callable[[Request], str | Reply], name: str) -> None:
        self._function = function
        self.identity = {"function": name}

    def ask(self, requests: Sequence[Request], keep: Keep) -> None:
        """Ask one after the other."""
        for number, request in enumerate(requests):
            try:
                made = self._function(request)
            except Exception as error:  # whatever a user's own function raises is its answer's failure, not ours
                made = Reply.failed(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
            keep(number, made if isinstance(made, Reply) else Reply("answered", str(made)))
