"""What is known of a job at a server, and the two nnsight backends that part its submission from its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nnsight.tracing.backend import Backend
from nnsight.tracing.util import push

from nnvalue.artifacts import Journal, digest
from nnvalue.errors import RemoteError
from nnvalue.models.server import JobState

Bundle = tuple[int, ...]
"""The numbers of the batches that go into one session."""

_ATTEMPTS = 3
_SURELY_LOST = 3.0  # seconds after which a job is given up that the server knew before
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


@dataclass
class Job:
    """A job at the server, or one to be handed in again when it has no id.

    seen: whether the server is known to have known it.
    """

    id: str | None
    seen: bool = False
    status: str = "SENT"
    attempts: int = 1
    since: float = field(default_factory=time.monotonic)
    unknown_since: float | None = None
    next_look: float = 0.0

    def age(self) -> float:
        """Seconds since it was handed in, or taken over from an earlier run."""
        return time.monotonic() - self.since

    def note(self, state: JobState) -> None:
        """Remember what was said, and when to ask again: the longer it takes, the less often."""
        now = time.monotonic()
        if state.status is None:
            self.unknown_since = self.unknown_since or now
        else:
            self.status, self.seen, self.unknown_since = state.status, True, None
        self.next_look = now + min(max(_FIRST_PAUSE, self.age() / 5), _LONGEST_PAUSE)

    def silent_for(self, seconds: float) -> bool:
        """Whether the server has known nothing of it for so long, or for a moment if it knew it before."""
        if self.unknown_since is None:
            return False
        return time.monotonic() - self.unknown_since > (min(seconds, _SURELY_LOST) if self.seen else seconds)

    def lose(self, reason: RemoteError) -> None:
        """Have it handed in again; raise the reason if that was tried often enough."""
        if self.attempts >= _ATTEMPTS:
            raise reason
        self.attempts += 1
        self.id, self.status, self.since, self.next_look = None, "SENT", time.monotonic(), 0.0
        self.unknown_since, self.seen = None, False


class JobIds:
    """Ids of jobs under way, in the journal; of other servers they mean nothing."""

    def __init__(self, journal: Journal | None, key: str, host: str) -> None:
        self._journal, self._key, self._host = journal, key, host

    def get(self, bundle: Bundle) -> str | None:
        """The job that an earlier run handed in for a bundle."""
        if self._journal is None or not self._journal.has_json(self._name(bundle)):
            return None
        entry = self._journal.get_json(self._name(bundle))
        return entry["id"] if entry["host"] == self._host else None

    def put(self, bundle: Bundle, job: str) -> None:
        """Write a job down."""
        if self._journal is not None:
            self._journal.put_json(self._name(bundle), {"host": self._host, "id": job})

    def drop(self, bundle: Bundle) -> None:
        """Strike a job out."""
        if self._journal is not None:
            self._journal.drop_json(self._name(bundle))

    def _name(self, bundle: Bundle) -> str:
        return f"{self._key}-job-{digest(bundle)[:16]}"


class HandedInError(Exception):
    """Leaves a function at its session: the job is written down, its result is not there yet."""


class HandIn(Backend):
    """Writes a session down instead of running it."""

    def __init__(self, serialize: Callable[..., bytes]) -> None:
        self._serialize, self.payload = serialize, b""

    def __call__(self, tracer: Any = None) -> None:
        """Keep the session as bytes, and leave."""
        self.payload = self._serialize(tracer, compress=True)
        raise HandedInError


class Deliver(Backend):
    """Ends a session with values that a server has saved for it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __call__(self, tracer: Any = None) -> None:
        """Give the session's variables their values."""
        push(tracer.info.frame, self._values)
