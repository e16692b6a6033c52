"""What is known of a job at a server, and the two nnsight backends that part its submission from its result."""

from __future__ import annotations

import re
import time
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
_LONGEST_QUEUE = 86_400.0  # a state that has not changed for a day is a leftover
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


@dataclass
class Job:
    """A job at the server, or one to be handed in (again) when it has no id.

    seen: whether the server is known to have known it.
    next_look: when to do something about it, by `time.monotonic()`.
    """

    id: str | None
    seen: bool = False
    status: str = "SENT"
    description: str = ""
    attempts: int = 1
    since: float = field(default_factory=time.monotonic)
    running_since: float | None = None
    unknown_since: float | None = None
    next_look: float = 0.0

    def told(self) -> str:
        """Its state in a few words, e.g. `running`, or `queued at 3` where the server tells its place."""
        place = re.search(r"position (\d+)", self.description)
        return self.status.lower() + (f" at {place[1]}" if place and self.status == "QUEUED" else "")

    def note(self, state: JobState) -> None:
        """Remember what was said, and when to ask again: the longer it takes, the less often."""
        now = time.monotonic()
        if state.status is None:
            self.unknown_since = self.unknown_since or now
        else:
            self.status, self.description = state.status, state.description
            self.seen, self.unknown_since = True, None
            if state.status == "RUNNING" and self.running_since is None:
                self.running_since = now
        self.next_look = now + min(max(_FIRST_PAUSE, (now - self.since) / 5), _LONGEST_PAUSE)

    def overdue(self, lost_after: float, job_timeout: float) -> bool:
        """Whether it has run for too long, or is not known to the server for too long (soon, if it was before)."""
        now = time.monotonic()
        if self.unknown_since is not None:
            return now - self.unknown_since > (min(lost_after, _SURELY_LOST) if self.seen else lost_after)
        if self.running_since is not None:
            return now - self.running_since > job_timeout
        return now - self.since > _LONGEST_QUEUE

    def lose(self, reason: RemoteError, pause: float = 0.0) -> None:
        """Have it handed in again after a pause, longer each time; raise the reason if that was tried often enough."""
        if self.attempts >= _ATTEMPTS:
            raise reason
        now = time.monotonic()
        self.next_look = now + pause * 2 ** (self.attempts - 1)
        self.attempts += 1
        self.id, self.status, self.description, self.since = None, "SENT", "", now
        self.seen, self.running_since, self.unknown_since = False, None, None


class JobIds:
    """Ids of jobs under way, in the journal; of other servers they mean nothing."""

    def __init__(self, journal: Journal | None, key: str, host: str) -> None:
        self._journal, self._key, self._host = journal, f"{key}-job-", host

    def known(self, pending: set[int]) -> dict[Bundle, str]:
        """Jobs that an earlier run handed in, as far as all their batches are still to be done."""
        found: dict[Bundle, str] = {}
        if (journal := self._journal) is None:
            return found
        for name in journal.json_keys(self._key):
            entry = journal.get_json(name)
            bundle = tuple(entry["batches"])
            if entry["host"] == self._host and pending.issuperset(bundle):
                found[bundle] = entry["id"]
                pending = pending - set(bundle)
            else:
                journal.drop_json(name)
        return found

    def put(self, bundle: Bundle, job: str) -> None:
        """Write a job down."""
        if self._journal is not None:
            self._journal.put_json(self._name(bundle), {"host": self._host, "id": job, "batches": list(bundle)})

    def drop(self, bundle: Bundle) -> None:
        """Strike a job out."""
        if self._journal is not None:
            self._journal.drop_json(self._name(bundle))

    def _name(self, bundle: Bundle) -> str:
        return self._key + digest(list(bundle))[:16]


class HandedInError(Exception):
    """Leaves a function at its session: the job is written down, its result is not there yet."""


class HandIn(Backend):
    """Writes a session down instead of running it."""

    def __init__(self) -> None:
        self.payload = b""

    def __call__(self, tracer: Any = None) -> None:
        """Keep the session as bytes, and leave."""
        from nnsight.schema.request import RequestModel

        self.payload = RequestModel.serialize(tracer, compress=True)
        raise HandedInError


class Deliver(Backend):
    """Ends a session with values that a server has saved for it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __call__(self, tracer: Any = None) -> None:
        """Give the session's variables their values."""
        push(tracer.info.frame, self._values)
