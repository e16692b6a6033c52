"""Where traces run: in this process, in a rehearsal of the remote path, or on a server.

Work is handed over as a function `work(bundle, backend)` that opens one nnsight session with that backend, runs the
batches of the bundle in it, and returns what the session saved. The same function serves all three places. A server's
answer takes time, so there the function is entered twice: once to hand the job in, when it is left at its session, and
again when the result has come, which the session then delivers as if it had just run.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nnsight.tracing.backend import Backend

from nnvalue.artifacts import Journal
from nnvalue.errors import (
    InvalidInputError,
    JobLostError,
    NotDeployedError,
    PayloadTooLargeError,
    RemoteError,
    ResultError,
    ServerTraceError,
)
from nnvalue.models.jobs import Bundle, Deliver, HandedInError, HandIn, Job, JobIds
from nnvalue.models.server import Server, client_version

Work = Callable[[Bundle, Backend | None], Any]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Load:
    """What a batch costs: tokens that go through the model at once, decode steps after that, bytes to send.

    Batches of different groups are never bundled.
    """

    tokens: int
    steps: int = 0
    bytes: int = 0
    group: int = 0


@dataclass(frozen=True)
class RemoteOptions:
    """How work is cut and how long it is waited for.

    bundle_seconds: expected run time of one job, at most.
    bundle_bytes: tokens and masks of one job, at most, in bytes before compression.
    in_flight: jobs that lie at the server at one time.
    job_timeout: seconds of running after which a job that does not end counts as lost.
    timeout: seconds for the whole run; None for as long as it takes.
    lost_after: seconds for which a server may know nothing of a job that it took.
    retry_pause: seconds before a job that met a passing trouble is handed in again; twice as many the next time.
    patience: seconds of failed requests without a good one after which a run stops.
    allow_http: whether plain http to another machine is allowed.
    """

    bundle_seconds: float = 300.0
    bundle_bytes: int = 16_000_000
    in_flight: int = 2
    job_timeout: float = 7200.0
    timeout: float | None = None
    lost_after: float = 120.0
    retry_pause: float = 10.0
    patience: float = 300.0
    allow_http: bool = False

    def __post_init__(self) -> None:
        for name, given in vars(self).items():
            if given is not None and not isinstance(given, bool) and given <= 0:
                raise InvalidInputError(f"{name} must be above 0, {given} given.")


class Here:
    """In this process: batch by batch."""

    name = "local"
    costly = False  # what a bundle gave is cheap to have again

    def identity(self) -> dict[str, str]:
        """What a result records of where it ran."""
        return {"host": self.name}

    def begin(self) -> None:
        """Start the clock of a run; there is none here."""

    def bundles(self, loads: Sequence[Load]) -> list[Bundle]:
        """One batch a bundle, so that little is lost when a run is stopped."""
        return [(number,) for number in range(len(loads))]

    def run(
        self,
        bundles: Sequence[Bundle],
        work: Work,
        journal: Journal | None = None,
        key: str = "",
        report: Report = lambda _: None,
    ) -> Iterator[tuple[Bundle, Any]]:
        """Yield every bundle with its result."""
        for bundle in bundles:
            yield bundle, work(bundle, self._backend())

    def _backend(self) -> Backend | None:
        return None


class Rehearsal(Here):
    """In this process, but serialised and rebuilt as for a server (nnsight's `remote="local"`)."""

    name = "dry-run"

    def __init__(self, model: Any) -> None:
        self._model = model

    def _backend(self) -> Backend:
        from nnsight.intervention.backends.local import LocalSimulationBackend

        class InPlace(LocalSimulationBackend):
            """Leaves sys.path in the order in which it was: nnsight's moves the working folder to its end."""

            def _restore(self, hidden: dict[str, Any]) -> None:
                super()._restore(hidden)
                sys.path[:] = order

        order = list(sys.path)
        return InPlace(self._model)


class Remote:
    """On a server: several batches a job, a few jobs at a time, job ids in the journal before they are waited for."""

    costly = True

    def __init__(self, server: Server, model: Any, options: RemoteOptions) -> None:
        self.server, self.options = server, options
        self._model, self.model_key = model, model.to_model_key()
        self._parameters = sum(value.numel() for value in model._module.parameters())

    @property
    def name(self) -> str:
        """The server's URL."""
        return self.server.host

    def identity(self) -> dict[str, str]:
        """What a result records of where it ran."""
        return {"host": self.server.host, "model_key": self.model_key}

    def begin(self) -> None:
        """Start the clock of a run."""
        if self.options.timeout is not None:
            self.server.deadline = time.monotonic() + self.options.timeout

    def bundles(self, loads: Sequence[Load]) -> list[Bundle]:
        """Neighbouring batches together, up to the limits of expected run time and size; always at least one."""
        made: list[list[int]] = []
        seconds = size = 0.0
        for number, load in enumerate(loads):
            cost = self._expected_seconds(load)
            fits = seconds + cost <= self.options.bundle_seconds and size + load.bytes <= self.options.bundle_bytes
            if made and fits and load.group == loads[number - 1].group:
                made[-1].append(number)
            else:
                made.append([number])
                seconds = size = 0.0
            seconds, size = seconds + cost, size + load.bytes
        return [tuple(numbers) for numbers in made]

    def run(
        self,
        bundles: Sequence[Bundle],
        work: Work,
        journal: Journal | None = None,
        key: str = "",
        report: Report = lambda _: None,
    ) -> Iterator[tuple[Bundle, Any]]:
        """Yield every bundle with its result, as they come; one that is too large in two halves.

        Ids of jobs under way are in the journal: a run that was stopped collects them before it hands in new ones. A
        job is struck from it once its result was taken, that is when the next one is asked for.
        """
        desk = JobIds(journal, key, self.server.host)
        flying = {bundle: Job(known, seen=True) for bundle, known in desk.known(set().union(*bundles)).items()}
        taken = set().union(*flying)
        left = (tuple(number for number in bundle if number not in taken) for bundle in bundles)
        waiting = deque(bundle for bundle in left if bundle)
        done, total = 0, len(flying) + len(waiting)
        while waiting or flying:
            while waiting and len(flying) < self.options.in_flight:
                flying[waiting.popleft()] = Job(None)
            for bundle, job in list(flying.items()):
                parts, result = self._attend(bundle, job, work, desk)
                if result is not None:
                    yield bundle, result
                    done += 1
                if parts:
                    waiting.extendleft(reversed(parts))
                    total += len(parts) - 1
                if parts or result is not None:
                    desk.drop(bundle)
                    del flying[bundle]
            if flying and not (waiting and len(flying) < self.options.in_flight):
                states = (f"bundle {done + n} of {total} {job.told()}" for n, job in enumerate(flying.values(), 1))
                report(", ".join(states))
                self.server.check_time()
                until = min(job.next_look for job in flying.values())
                until = until if self.server.deadline is None else min(until, self.server.deadline)
                time.sleep(max(0.0, until - time.monotonic()))

    def _attend(self, bundle: Bundle, job: Job, work: Work, desk: JobIds) -> tuple[list[Bundle], Any]:
        """Hand a job in, or ask for it, if it is time. Returns its parts if it must be cut, or its result if there."""
        if time.monotonic() < job.next_look:
            return [], None
        if job.id is None:
            try:
                job.id = self.server.submit(
                    self.model_key, self._model._remoteable_get_env(), _written_down(work, bundle)
                )
            except PayloadTooLargeError:
                if len(bundle) == 1:
                    raise
                return _halves(bundle), None
            desk.put(bundle, job.id)
        state = self.server.state(job.id)
        job.note(state)
        if state.status == "COMPLETED":
            try:
                return [], _delivered(work, bundle, self.server.result(state.data), self.server.host)
            except (ResultError, JobLostError) as error:
                job.lose(error)
        elif state.status == "ERROR":
            desk.drop(bundle)  # whatever comes of it, this job will not change its mind
            return self._failed(bundle, job, state.description), None
        elif job.overdue(self.options.lost_after, self.options.job_timeout):
            job.lose(JobLostError(f"{self.server.host} does not finish a job, or has forgotten it ({job.status})."))
        return [], None

    def _failed(self, bundle: Bundle, job: Job, told: str) -> list[Bundle]:
        """Cut a job that was too much, try one again that met a passing trouble; else raise what there is to say."""
        host, low, why = self.server.host, told.lower(), last_words(told)
        if _says(low, "out of memory", "timed out", "time limit", "execution timeout"):
            if len(bundle) > 1:
                return _halves(bundle)
            raise ServerTraceError(f"One batch is too much for {host} ({why}); try a smaller --batch-tokens.")
        if _says(low, "could not deploy", "not deployed", "error provisioning model", "error starting model"):
            name = _repository(self.model_key)
            why = last_words(told.partition("Traceback")[0])
            raise NotDeployedError(
                f"{host} does not run {name}: {why} It runs: {self.server.deployed_in_words()}. What it calls a model "
                "that lies in a local folder is given with --served-as."
            )
        unreadable = _says(low, "payload could not be read")
        if unreadable and (theirs := self.server.nnsight_version()) != client_version():
            raise self.server.mismatch(why, theirs)
        if not unreadable and _says(low, "no module named", "not whitelisted", "architecture on this server"):
            raise self.server.mismatch(why)
        if unreadable or _says(low, "try again later", "evicted"):
            job.lose(JobLostError(f"{host} did not run a job: {why}"), self.options.retry_pause)
            return []
        if "traceback" not in low:
            raise RemoteError(f"{host} ended a job: {why}")
        error = ServerTraceError(f"Our trace failed on {host}: {why}{own_line(told)}")
        error.add_note(f"The server's traceback:\n{told.rstrip()}")
        raise error

    def _expected_seconds(self, load: Load) -> float:
        """A guess that only cuts work into jobs; deliberately pessimistic, so that no server's time limit is met.

        Assumed: 100 TFLOP/s for what goes through at once, 1 TB/s of weight traffic and 20 ms overhead a decode step,
        and 500 MB/s for the activations, which an NDIF sandbox sends from the model's process to the trace's.
        """
        config = self._model.config.get_text_config()
        width = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        activations = 4 * load.tokens * config.num_hidden_layers * width
        decoding = load.steps * (0.02 + 2 * self._parameters / 1e12)
        return 0.05 + 2 * self._parameters * load.tokens / 1e14 + activations / 5e8 + decoding


def _written_down(work: Work, bundle: Bundle) -> bytes:
    """The session that the work opens, as bytes."""
    backend = HandIn()
    with suppress(HandedInError):
        work(bundle, backend)
    return backend.payload


def _delivered(work: Work, bundle: Bundle, values: dict[str, Any], host: str) -> Any:
    try:
        return work(bundle, Deliver(values))
    except UnboundLocalError as error:
        raise ResultError(f"{host} delivered a result without what was saved ({error}).") from None


def _repository(model_key: str) -> str:
    """The model's name within nnsight's key, which is a class's path, a colon, and JSON that has it as `repo_id`."""
    return json.loads(model_key.partition(":")[2])["repo_id"]


def _halves(bundle: Bundle) -> list[Bundle]:
    middle = len(bundle) // 2
    return [bundle[:middle], bundle[middle:]]


def _says(told: str, *signs: str) -> bool:
    return any(sign in told for sign in signs)


def last_words(told: str) -> str:
    """The line of a server's text that names the error, without the rest of its traceback."""
    lines = [line.rstrip() for line in told.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*: ", line)]
    return ((named if "Traceback" in told else lines) or lines or ["no reason given"])[-1][:300]


def own_line(told: str) -> str:
    """Where in nnvalue a server's traceback ends, as the end of a message."""
    places = re.findall(r'File "[^"]*?(nnvalue/(?:\w+/)*(\w+\.py))", line (\d+)', told)
    return f" (in {places[-1][1]}, line {places[-1][2]}; --debug shows all of it)" if places else ""


Runtime = Here | Remote
