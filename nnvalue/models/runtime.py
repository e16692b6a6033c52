"""Where traces run: in this process, in a rehearsal of the remote path, or on a server.

Work is handed over as a function `work(bundle, backend)` that opens one nnsight session with that backend, runs the
batches of the bundle in it, and returns what the session saved. The same function serves all three places. A server's
answer takes time, so there the function is entered twice: once to hand the job in, when it is left at its session, and
again when the result has come, which the session then delivers as if it had just run.
"""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
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
    RunTimeoutError,
    ServerTraceError,
)
from nnvalue.models.jobs import Bundle, Deliver, HandedInError, HandIn, Job, JobIds
from nnvalue.models.server import JobState, Server

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
    job_timeout: seconds after which a job that does not end counts as lost.
    timeout: seconds for the whole run; None for as long as it takes.
    lost_after: seconds for which a server may know nothing of a job that it took.
    patience: seconds of failed requests without a good one after which a run stops.
    allow_http: whether plain http to another machine is allowed.
    """

    bundle_seconds: float = 300.0
    bundle_bytes: int = 16_000_000
    in_flight: int = 2
    job_timeout: float = 7200.0
    timeout: float | None = None
    lost_after: float = 120.0
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

            def _restore(self, hidden: dict) -> None:
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
        self._started = time.monotonic()

    @property
    def name(self) -> str:
        """The server's URL."""
        return self.server.host

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
        waiting, flying = deque(bundles), {}
        for bundle in bundles:
            if (known := desk.get(bundle)) is not None:
                waiting.remove(bundle)
                flying[bundle] = Job(known, seen=True)
        while waiting or flying:
            while waiting and len(flying) < self.options.in_flight:
                bundle = waiting.popleft()
                try:
                    flying[bundle] = Job(self._hand_in(bundle, work))
                except PayloadTooLargeError:
                    waiting.extendleft(reversed(_halves(bundle)))
                    continue
                desk.put(bundle, flying[bundle].id)
            for bundle, job in list(flying.items()):
                parts, result = self._look_after(bundle, job, work)
                if result is not None:
                    yield bundle, result
                if parts is not None:
                    waiting.extendleft(reversed(parts))
                if result is not None or parts is not None:
                    desk.drop(bundle)
                    del flying[bundle]
                elif job.id is None:
                    job.id = self._hand_in(bundle, work)
                    desk.put(bundle, job.id)
            self._wait(flying, report)

    def _hand_in(self, bundle: Bundle, work: Work) -> str:
        """Submit a bundle. Raises PayloadTooLargeError only where it could be cut, else a plain RemoteError."""
        from nnsight.schema.request import RequestModel

        backend = HandIn(RequestModel.serialize)
        with suppress(HandedInError):
            work(bundle, backend)
        try:
            return self.server.submit(self.model_key, self._model._remoteable_get_env(), backend.payload)
        except PayloadTooLargeError as error:
            if len(bundle) == 1:
                raise RemoteError(str(error)) from None
            raise

    def _look_after(self, bundle: Bundle, job: Job, work: Work) -> tuple[list[Bundle] | None, Any]:
        """Ask for a job if it is time. Returns its parts if it must be cut, or its result if it is there."""
        if time.monotonic() < job.next_look:
            return None, None
        state = self.server.state(job.id)
        job.note(state)
        if state.status == "COMPLETED":
            try:
                values = self.server.result(state.data)
                return None, _delivered(work, bundle, values, self.server.host)
            except (ResultError, JobLostError) as error:
                job.lose(error)
        elif state.status == "ERROR":
            return self._failed(bundle, job, state), None
        elif job.silent_for(self.options.lost_after) or job.age() > self.options.job_timeout:
            job.lose(JobLostError(f"{self.server.host} does not finish a job, or has forgotten it ({job.status})."))
        return None, None

    def _failed(self, bundle: Bundle, job: Job, state: JobState) -> list[Bundle] | None:
        """Cut a job that was too much, try one again that met a passing trouble; else raise what there is to say."""
        told = state.description
        low = told.lower()
        if any(sign in low for sign in ("out of memory", "timed out", "time limit", "exceeded the execution")):
            if len(bundle) > 1:
                return _halves(bundle)
            raise ServerTraceError(
                f"One batch is too much for {self.server.host} ({_short(told)}); try a smaller --batch-tokens."
            )
        if any(sign in low for sign in ("try again later", "evicted", "preempted")):
            job.lose(JobLostError(f"{self.server.host} did not run a job: {_short(told)}"))
            return None
        if any(sign in low for sign in ("payload could not be read", "no module named", "not whitelisted")):
            raise self.server.mismatch(_short(told))
        name = self.model_key.partition(":")[2]
        if "could not deploy" in low or "traceback" not in low:
            told = told.partition("Traceback")[0]
            deployed = ", ".join(self._deployed()) or "none that it tells of"
            raise NotDeployedError(
                f"{self.server.host} does not run {name}: {_short(told)} It runs: {deployed}. What it calls a model "
                "that lies in a local folder is given with --served-as."
            )
        error = ServerTraceError(f"Our trace failed on {self.server.host}: {_short(told)}{_place(told)}")
        error.add_note(f"The server's traceback:\n{told.rstrip()}")
        raise error

    def _deployed(self) -> list[str]:
        try:
            return self.server.deployed()
        except RemoteError:
            return []

    def _wait(self, flying: dict[Bundle, Job], report: Report) -> None:
        if not flying:
            return
        if self.options.timeout is not None and time.monotonic() - self._started > self.options.timeout:
            raise RunTimeoutError(
                f"The {self.options.timeout:.0f} s for this run are over. Finished work is kept and jobs under way go "
                "on: the same command goes on from here."
            )
        states = sorted({job.status.lower() for job in flying.values()})
        report(f"{len(flying)} job{'s' if len(flying) > 1 else ''} {' and '.join(states)}")
        time.sleep(max(0.0, min(job.next_look for job in flying.values()) - time.monotonic()))

    def _expected_seconds(self, load: Load) -> float:
        """A guess that only cuts work into jobs; deliberately pessimistic, so that no server's time limit is met.

        Assumed: 100 TFLOP/s for what goes through at once, 1 TB/s of weight traffic and 20 ms overhead a decode step,
        and 500 MB/s for the activations, which an NDIF sandbox sends from the model's process to the trace's.
        """
        config = self._model.config
        width = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        activations = 4 * load.tokens * config.num_hidden_layers * width
        decoding = load.steps * (0.02 + 2 * self._parameters / 1e12)
        return 0.05 + 2 * self._parameters * load.tokens / 1e14 + activations / 5e8 + decoding


def _delivered(work: Work, bundle: Bundle, values: dict[str, Any], host: str) -> Any:
    try:
        return work(bundle, Deliver(values))
    except UnboundLocalError as error:
        raise ResultError(f"{host} delivered a result without what was saved ({error}).") from None


def _halves(bundle: Bundle) -> list[Bundle]:
    middle = len(bundle) // 2
    return [bundle[:middle], bundle[middle:]]


def _place(told: str) -> str:
    """Where in our own code a server's traceback ends."""
    places = re.findall(r'File "([^"]*)", line (\d+)', told)
    ours = [place for place in places if "site-packages" not in place[0] or "nnvalue" in place[0]]
    return f" (in {Path(ours[-1][0]).name}, line {ours[-1][1]}; --debug shows all of it)" if ours else ""


def _short(told: str) -> str:
    """The last line of a server's text, which names the error."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


Runtime = Here | Remote
