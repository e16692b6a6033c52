"""Talking to an NDIF-compatible server over HTTP: patient with failures, clear about refusals, silent about the key."""

from __future__ import annotations

import io
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from nnvalue.errors import (
    InsecureHostError,
    InvalidInputError,
    JobLostError,
    MissingKeyError,
    PayloadTooLargeError,
    RefusedKeyError,
    RemoteError,
    ResultError,
    RunTimeoutError,
    UnreachableError,
    VersionMismatchError,
)
from nnvalue.network import PASSING, ApiKey, checked_host, is_this_machine, retry_after

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_FIRST_PATIENCE = 15.0  # a server that never answered may be no server at all
_COURTESY = 3.0  # for what only makes an error message better
_RUNNING_LEVELS = ("HOT", "WARM")

PUBLIC_HOST = "https://api.ndif.us"
HOW_TO_SET_A_KEY = (
    "Get one at https://login.ndif.us (or from whoever runs the server) and set NDIF_API_KEY, or store it with "
    "`nnsight login`."
)


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


def configured_key() -> ApiKey | None:
    """The key that nnsight is configured with, if there is any."""
    from nnsight import CONFIG

    return ApiKey(CONFIG.API.APIKEY) if (CONFIG.API.APIKEY or "").strip() else None


@dataclass
class Server:
    """One NDIF-compatible server.

    host: its URL.
    key: the API key; it leaves this object in a request header and nowhere else.
    patience: seconds without a good answer after which we give up; less for a server that never answered at all.
    timeout: seconds to wait for one answer.
    deadline: the `time.monotonic()` at which all waiting ends; None for none.
    allow_http: whether plain http may leave this machine.
    sent_bytes, received_bytes, requests: payloads sent, results received, jobs handed in so far.
    """

    host: str
    key: ApiKey | None = None
    patience: float = 300.0
    timeout: float = 60.0
    deadline: float | None = None
    allow_http: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0
    requests: int = 0
    answered: bool = False

    def __post_init__(self) -> None:
        self.host = checked_host(self.host, self.allow_http).rstrip("/")
        if self.key is not None and not self.key.is_sound():
            raise RefusedKeyError(f"The configured API key holds blanks or letters that no key has. {HOW_TO_SET_A_KEY}")

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
        answer = self._ask("GET", f"{self.host}/response/{quote(job, safe='')}", absent=(404,))
        if answer is None:
            return JobState(None)
        told = self._json(answer)
        return JobState(str(told.get("status")), self.clean(str(told.get("description") or "")), told.get("data"))

    def result(self, data: Any) -> dict[str, Any]:
        """The saved values of a completed job.

        Only tensors, numbers, strings and containers of them are loaded: unlike nnsight's own client, this one runs no
        code that a result brings along. Raises ResultError for anything else, JobLostError if it is gone.
        """
        import torch
        import zstandard

        if not isinstance(data, str):
            raise ResultError(f"{self.host} completed a job without saying where its result is.")
        try:
            url = checked_host(data, self.allow_http)
        except InsecureHostError:
            store = urlsplit(data).hostname
            raise InsecureHostError(
                f"{self.host} keeps its results at http://{store}, from where they come unprotected; "
                "--allow-http (allow_http=True) takes them."
            ) from None
        answer = self._ask("GET", url, with_key=False, absent=(403, 404, 410))
        if answer is None:  # its address holds for an hour or so
            raise JobLostError(f"{self.host} completed a job, but its result is gone.")
        self.received_bytes += len(answer.content)
        try:
            plain = zstandard.ZstdDecompressor().decompress(answer.content)
            values = torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)
        except Exception as error:  # zstd, zip and pickle each have errors of their own
            reason = " ".join(str(error).split())[:120]
            raise ResultError(f"{self.host} delivered a result that cannot be read ({reason}).") from None
        if not isinstance(values, dict):
            raise ResultError(f"{self.host} delivered a {type(values).__name__} where named values are expected.")
        return values

    def deployed(self, patience: float | None = None) -> list[str]:
        """Names of the models that the server runs."""
        entries = self._json(self._ask("GET", f"{self.host}/status", patience=patience)).get("deployments", {})
        running = (
            str(entry.get("repo_id", name))
            for name, entry in (entries.items() if isinstance(entries, dict) else ())
            if isinstance(entry, dict) and entry.get("deployment_level", "HOT") in _RUNNING_LEVELS
        )
        return sorted(set(running))

    def deployed_in_words(self) -> str:
        """The same as part of a message, not waiting long for it."""
        try:
            return ", ".join(self.deployed(_COURTESY)) or "nothing that it tells of"
        except RemoteError:
            return "it does not say what"

    def nnsight_version(self) -> str | None:
        """The server's version of nnsight; None if it does not say."""
        try:
            packages = self._json(self._ask("GET", f"{self.host}/env", patience=_COURTESY)).get("packages")
        except RemoteError:
            return None
        return packages.get("nnsight") if isinstance(packages, dict) else None

    def mismatch(self, detail: str, theirs: str | None = None) -> VersionMismatchError:
        """The error that names both versions of nnsight; the server is asked for its own if it is not known."""
        theirs, ours = theirs or self.nnsight_version(), client_version()
        todo = f"Install the server's here: pip install 'nnsight=={theirs}'." if theirs else "Ask who runs it."
        return VersionMismatchError(
            f"{self.host} runs nnsight {theirs or 'of an unknown version'} and here is {ours}; they do not understand "
            f"each other ({detail}). {todo}"
        )

    def clean(self, text: str) -> str:
        """A text without the API key: servers quote it in their refusals."""
        return self.key.cut_from(text) if self.key else text

    def check_time(self) -> None:
        """Raise RunTimeoutError if the time for the whole run is over."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise RunTimeoutError(
                "The time for this run is over (--timeout). Finished work is kept and jobs under way go on: the same "
                "command goes on from here."
            )

    def _ask(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, with_key: bool = True,
        absent: tuple[int, ...] = (), patience: float | None = None, **content: Any,
    ) -> Any:  # fmt: skip
        """One good answer, after as many tries as patience allows; None for a status that says it is not there."""
        started, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            self.check_time()
            wait = pause * random.uniform(0.8, 1.2)
            answer, reason = self._try(method, url, headers or {}, with_key, content)
            if answer is not None:
                if answer.is_success:
                    return answer
                if answer.status_code in absent:
                    return None
                detail = self._detail(answer)
                reason = f"HTTP {answer.status_code}: {detail}"
                if answer.status_code not in PASSING:
                    raise self._refusal(answer.status_code, detail)
                wait = max(wait, retry_after(answer.headers))
            spent = time.monotonic() - started
            enough = self.patience if self.answered else min(self.patience, _FIRST_PATIENCE)
            if spent + wait > (enough if patience is None else patience):
                raise UnreachableError(
                    f"{self.host} gave no useful answer for {spent:.0f} s ({reason}). Finished work is kept: start the "
                    "same command again when the server answers."
                )
            time.sleep(wait if self.deadline is None else min(wait, max(0.0, self.deadline - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _try(
        self, method: str, url: str, headers: dict[str, str], with_key: bool, content: dict[str, Any]
    ) -> tuple[Any, str]:
        """One try: the answer, or None and why there is none."""
        import httpx

        left = self.timeout if self.deadline is None else self.deadline - time.monotonic()
        timeout = httpx.Timeout(max(1.0, min(self.timeout, left)), connect=min(10.0, self.timeout))
        # A proxy of the environment is not this machine: what may go to the loopback unprotected may not go there.
        proxied = not is_this_machine(url)
        try:
            client = httpx.Client(timeout=timeout, trust_env=proxied)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            socks = isinstance(error, ImportError)
            todo = "for a SOCKS proxy, pip install 'httpx[socks]'" if socks else "give it like http://host:port"
            raise InvalidInputError(
                f"The proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be used; {todo}, or "
                "unset it."
            ) from None
        try:
            with client:
                signed: dict[str, Any] = {"auth": self._sign} if self.key and with_key else {}
                answer = client.request(method, url, headers=headers, **signed, **content)
        except httpx.InvalidURL:
            raise InvalidInputError(f"'{self.host}' is no server's URL that can be asked; look for a slip.") from None
        except httpx.RequestError as error:
            return None, self.clean(f"{type(error).__name__}: {error}")
        self.answered = True
        return answer, ""

    def _sign(self, request: Any) -> Any:
        """Add the key where no traceback and no log shows it: as the request leaves."""
        if self.key is not None:
            request.headers["ndif-api-key"] = self.key.in_full()
        return request

    def _detail(self, answer: Any) -> str:
        try:
            told = answer.json()
            text = str(told.get("detail", told)) if isinstance(told, dict) else str(told)
        except ValueError:
            text = answer.text
        return self.clean(" ".join(text.split()))[:300]

    def _refusal(self, status: int, detail: str) -> RemoteError:
        low = detail.lower()
        about_key = status in (401, 403) or (status == 400 and "api key" in low)
        if about_key and not self.key:
            return MissingKeyError(f"{self.host} asks for an API key and none is configured. {HOW_TO_SET_A_KEY}")
        if about_key:
            return RefusedKeyError(f"{self.host} does not accept the configured API key ({detail}). {HOW_TO_SET_A_KEY}")
        if status == 413:
            return PayloadTooLargeError(f"{self.host} does not take so large a request; try a smaller --batch-tokens.")
        if status == 400 and "python version" in low:
            return VersionMismatchError(f"{self.host} does not take this Python ({sys.version.split()[0]}): {detail}")
        if status == 400 and "version" in low:
            return self.mismatch(detail)
        return RemoteError(f"{self.host} refused a request (HTTP {status}: {detail}). Is it an NDIF server?")

    def _json(self, answer: Any) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise ResultError(f"{self.host} answered with something else than JSON; is it an NDIF server?")
        return told


def client_version() -> str:
    """The version of nnsight here."""
    from importlib.metadata import version

    return version("nnsight")
