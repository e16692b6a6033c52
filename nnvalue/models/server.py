"""Talking to an NDIF-compatible server over HTTP: patient with failures, clear about refusals, silent about the key."""

from __future__ import annotations

import io
import ipaddress
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nnvalue.errors import (
    InsecureHostError,
    InvalidInputError,
    JobLostError,
    MissingKeyError,
    PayloadTooLargeError,
    RefusedKeyError,
    RemoteError,
    ResultError,
    UnreachableError,
    VersionMismatchError,
)

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that pass: worth another try after a while."""
_LONGEST_PAUSE = 30.0
_FIRST_PATIENCE = 15.0  # a server that never answered may be no server at all
_RUNNING_LEVELS = ("HOT", "WARM")


@dataclass(frozen=True)
class JobState:
    """What a server says of a job.

    status: NDIF's word, e.g. `QUEUED`, `RUNNING`, `COMPLETED`, `ERROR`; None where it knows no such job (yet).
    description: its own explanation.
    data: of a completed job, where its result lies.
    """

    status: str | None
    description: str = ""
    data: Any = None


@dataclass
class Server:
    """One NDIF-compatible server.

    host: its URL.
    key: the API key; it leaves this object in a request header and nowhere else.
    patience: seconds of failures without a success after which we give up.
    timeout: seconds to wait for one answer.
    allow_http: whether plain http may leave this machine.
    sent_bytes, received_bytes, requests: payloads sent, results received, jobs handed in so far.
    """

    host: str
    key: str | None = field(default=None, repr=False)
    patience: float = 300.0
    timeout: float = 60.0
    allow_http: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0
    requests: int = 0
    answered: bool = False

    def __post_init__(self) -> None:
        self.host = checked_host(self.host, self.allow_http).rstrip("/")

    def submit(self, model_key: str, env: Mapping[str, Any], payload: bytes) -> str:
        """Hand a job in, not waiting for it. Returns its id.

        Raises RemoteError of the fitting kind if the server refuses it.
        """
        from nnsight.schema.request import RequestModel

        envelope = RequestModel(model_key=model_key, compress=True, env=dict(env))
        headers = {
            "ndif-timestamp": repr(time.time()),
            "nnsight-version": client_version(),
            "python-version": sys.version,
        }
        self.requests += 1
        self.sent_bytes += len(payload)
        answer = self._ask(
            "POST",
            f"{self.host}/request",
            headers=headers,
            data={"data": envelope.metadata()},
            files={"blob": ("request", payload, "application/octet-stream")},
        )
        job = self._json(answer).get("id")
        if not isinstance(job, str) or not job:
            raise ResultError(f"{self.host} took a request but gave it no id; is it an NDIF server?")
        return job

    def state(self, job: str) -> JobState:
        """What the server says of a job."""
        answer = self._ask("GET", f"{self.host}/response/{job}", absent=(404,))
        if answer is None:
            return JobState(None)
        told = self._json(answer)
        return JobState(str(told.get("status")), self.clean(str(told.get("description", ""))), told.get("data"))

    def result(self, data: Any) -> dict[str, Any]:
        """The saved values of a completed job.

        Only tensors, numbers, strings and containers of them are loaded: unlike nnsight's own client, this one runs no
        code that a result brings along. Raises ResultError for anything else, JobLostError if it is gone.
        """
        import torch
        import zstandard

        if not isinstance(data, str):
            raise ResultError(f"{self.host} completed a job without saying where its result is.")
        url = checked_host(data, self.allow_http)
        content = self._ask("GET", url, with_key=False, absent=(403, 404, 410))
        if content is None:
            raise JobLostError(f"{self.host} completed a job, but its result is gone.")  # or its address has expired
        self.received_bytes += len(content.content)
        try:
            plain = zstandard.ZstdDecompressor().decompress(content.content)
            values = torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)
        except Exception as error:  # zstd, zip and pickle each have errors of their own
            reason = " ".join(str(error).split())[:120]
            raise ResultError(f"{self.host} delivered a result that cannot be read ({reason}).") from None
        if not isinstance(values, dict):
            raise ResultError(f"{self.host} delivered a {type(values).__name__} where named values are expected.")
        return values

    def deployed(self) -> list[str]:
        """Names of the models that the server runs."""
        entries = self._json(self._ask("GET", f"{self.host}/status")).get("deployments", {})
        running = (
            str(entry.get("repo_id", name))
            for name, entry in (entries.items() if isinstance(entries, dict) else ())
            if isinstance(entry, dict) and entry.get("deployment_level", "HOT") in _RUNNING_LEVELS
        )
        return sorted(set(running))

    def nnsight_version(self) -> str | None:
        """The server's version of nnsight; None if it does not say."""
        try:
            packages = self._json(self._ask("GET", f"{self.host}/env")).get("packages")
        except RemoteError:
            return None
        return packages.get("nnsight") if isinstance(packages, dict) else None

    def clean(self, text: str) -> str:
        """A text without the API key: servers quote it in their refusals."""
        return text.replace(self.key, "[API key]") if self.key else text

    def _ask(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, with_key: bool = True,
        absent: tuple[int, ...] = (), **content: Any,
    ) -> Any:  # fmt: skip
        """One answer, after as many tries as patience allows; None for a status that says it is not there."""
        import httpx

        signed = {"auth": self._sign} if self.key and with_key else {}
        patience = self.patience if self.answered else min(self.patience, _FIRST_PATIENCE)
        give_up, pause = time.monotonic() + patience, 0.5
        while True:
            wait, reason = None, ""
            try:
                with httpx.Client(timeout=httpx.Timeout(self.timeout, connect=10.0)) as client:
                    answer = client.request(method, url, headers=headers, **signed, **content)
            except httpx.TransportError as error:
                reason = self.clean(f"{type(error).__name__}: {error}")
            else:
                if answer.is_success:
                    self.answered = True
                    return answer
                if answer.status_code in absent:
                    return None
                reason = f"HTTP {answer.status_code}: {self._detail(answer)}"
                if answer.status_code not in _PASSING:
                    raise self._refusal(answer.status_code, self._detail(answer))
                wait = _retry_after(answer)
            wait = pause * random.uniform(0.8, 1.2) if wait is None else wait
            if time.monotonic() + wait > give_up:
                raise UnreachableError(
                    f"{self.host} gave no useful answer for {patience:.0f} s ({reason}). Finished work is kept: "
                    "start the same command again when the server answers."
                )
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _sign(self, request: Any) -> Any:
        """Add the key where no traceback and no log shows it: as the request leaves."""
        request.headers["ndif-api-key"] = self.key
        return request

    def _detail(self, answer: Any) -> str:
        try:
            told = answer.json()
            text = str(told.get("detail", told)) if isinstance(told, dict) else str(told)
        except ValueError:
            text = answer.text
        return self.clean(" ".join(text.split()))[:300]

    def _refusal(self, status: int, detail: str) -> RemoteError:
        about_key = status in (401, 403) or (status == 400 and "api key" in detail.lower())
        if about_key and not self.key:
            return MissingKeyError(f"{self.host} asks for an API key and none is configured. {HOW_TO_SET_A_KEY}")
        if about_key:
            return RefusedKeyError(f"{self.host} does not accept the configured API key ({detail}). {HOW_TO_SET_A_KEY}")
        if status == 413:
            return PayloadTooLargeError(
                f"{self.host} does not take a request of this size; try a smaller --batch-tokens."
            )
        if status == 400 and "version" in detail.lower():
            return self.mismatch(detail)
        return RemoteError(f"{self.host} refused a request (HTTP {status}: {detail}). Is it an NDIF server?")

    def mismatch(self, detail: str) -> VersionMismatchError:
        """The error that names both versions of nnsight."""
        theirs, ours = self.nnsight_version(), client_version()
        todo = f"Install the server's here: pip install 'nnsight=={theirs}'." if theirs else "Ask who runs it."
        return VersionMismatchError(
            f"{self.host} runs nnsight {theirs or 'of an unknown version'} and here is {ours}; they do not understand "
            f"each other ({detail}). {todo}"
        )

    def _json(self, answer: Any) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise ResultError(f"{self.host} answered with something else than JSON; is it an NDIF server?")
        return told


HOW_TO_SET_A_KEY = (
    "Get one at https://login.ndif.us (or from whoever runs the server) and set NDIF_API_KEY, or store it with "
    "`nnsight login`."
)


def client_version() -> str:
    """The version of nnsight here."""
    from importlib.metadata import version

    return version("nnsight")


def checked_host(url: str, allow_http: bool) -> str:
    """A URL that may be talked to. Raises InvalidInputError if it is none, InsecureHostError for unprotected http."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidInputError(
            f"'{parts.scheme}://{parts.hostname or ''}' is no server; give a URL like https://host."
        )
    if parts.scheme == "http" and not allow_http and not _is_this_machine(parts.hostname):
        raise InsecureHostError(
            f"http://{parts.hostname} would send your API key and prompts unprotected; use https, or --allow-http "
            "(allow_http=True) in a network that you trust."
        )
    return url


def _is_this_machine(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _retry_after(answer: Any) -> float | None:
    """Seconds that a server asks us to wait; None if it does not, or not in seconds."""
    try:
        return min(max(0.0, float(answer.headers.get("Retry-After", ""))), 10 * _LONGEST_PAUSE)
    except ValueError:
        return None
