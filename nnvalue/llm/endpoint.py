"""Asking an OpenAI-compatible endpoint: several requests at a time, patient with failures, clear about refusals."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nnvalue.errors import (
    InvalidInputError,
    MissingKeyError,
    NotDeployedError,
    RefusedKeyError,
    RemoteError,
    UnreachableError,
)
from nnvalue.llm.exchange import Keep, Reply, Request
from nnvalue.network import PASSING, ApiKey, checked_host, is_this_machine, retry_after

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_FIRST_PATIENCE = 15.0  # an endpoint that never answered may be none at all
_FAILED_IN_A_ROW = 8  # and more than are asked at once: then the trouble is not with single requests
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
_FILTERED = ("content_filter", "content_policy_violation")
_MODERATED = ("moderation", "flagged")  # how OpenRouter says 403 of a text and not of a key
_LONGEST_REASON = 300  # characters
_ABOVE_ONE = 1e-3  # what rounding may add to the logarithm of 1


@dataclass(frozen=True)
class EndpointOptions:
    """How an endpoint is asked.

    concurrency: requests under way at one time.
    timeout: seconds to wait for one answer, from its request to its last byte.
    attempts: how often one request is tried before it counts as failed.
    longest_wait: seconds that an endpoint may ask us to wait (Retry-After) before a request counts as failed.
    allow_http: whether plain http to another machine is allowed.
    """

    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 6
    longest_wait: float = 600.0
    allow_http: bool = False

    def __post_init__(self) -> None:
        for name, given in vars(self).items():
            if not isinstance(given, bool) and given <= 0:
                raise InvalidInputError(f"{name} must be above 0, {given} given.")


class Endpoint:
    """A model behind an OpenAI-compatible `/chat/completions`: of OpenAI, vLLM, Ollama, OpenRouter and others.

    Structured outputs, seeds and the name of the length limit differ between endpoints: what one does not take is
    asked for in another way or left out, and told in `left_out`.

    Args:
        url: its base URL, up to and with `/v1` as a rule.
        model: what it calls the model.
        key_variable: the environment variable that holds the API key. On this machine none is needed.

    Raises:
        InvalidInputError: no URL, or one with a query, where keys tend to stand; no model; or the extra is missing.
        InsecureHostError: plain http to another machine.
        MissingKeyError, RefusedKeyError: no key in the environment, or one that no header can carry.
    """

    def __init__(
        self, url: str, model: str, *, key_variable: str = "OPENAI_API_KEY", options: EndpointOptions | None = None
    ) -> None:
        self.options = options or EndpointOptions()
        self.url = checked_host(url, self.options.allow_http).rstrip("/")
        if urlsplit(url).query or urlsplit(url).fragment:
            raise InvalidInputError("An endpoint's URL has no '?' or '#'; give its base, like https://host/v1.")
        if not model:
            raise InvalidInputError("An endpoint serves several models; say which one (--llm).")
        self.model, self.identity = model, {"endpoint": self.url, "model": model}
        self.left_out: set[str] = set()
        self._key = _key_from(key_variable, self.url)
        self._open().close()  # whether it can be opened is told now
        self._never_answered, self._failed_in_a_row, self._stop = True, 0, threading.Event()
        self._resume_at, self._turn = 0.0, threading.Lock()

    def ask(self, requests: Sequence[Request], keep: Keep) -> None:
        """Ask all of them, several at a time, and hand each reply to `keep` from the thread that got it.

        Raises RemoteError of the fitting kind where it is no use to go on. Interrupted, it starts nothing new, and
        waits for answers under way: they may be paid for.
        """
        self._stop.clear()
        self._failed_in_a_row = 0

        def one(number: int) -> None:
            if not self._stop.is_set():
                reply = self._reply(requests[number])
                if reply is not None:
                    keep(number, reply.without(self._hide))
                    self._note(reply)

        pool = ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="nnvalue-llm")
        with self._open() as self._client:
            try:
                for done in as_completed([pool.submit(one, number) for number in range(len(requests))]):
                    done.result()
            finally:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _note(self, reply: Reply) -> None:
        """Stop where one request after the other fails: then it is the endpoint."""
        with self._turn:
            self._failed_in_a_row = self._failed_in_a_row + 1 if reply.status == "failed" else 0
            count = self._failed_in_a_row
        if count >= max(_FAILED_IN_A_ROW, 2 * self.options.concurrency):
            raise UnreachableError(
                f"{self.url} failed {count} requests in a row (the last: {self._hide(reply.reason)}). What it answered "
                "is kept: start the same command again when it works."
            )

    def _reply(self, request: Request) -> Reply | None:
        """What comes of one request, after as many tries as are allowed; None if all was stopped meanwhile."""
        started, pause, tries = time.monotonic(), _FIRST_PAUSE, 0
        while True:
            if not self._wait_for_turn():
                return None
            tried = self._try(request)
            if isinstance(tried, Reply):
                self._never_answered = False
                return tried
            tries += not tried.again_at_once
            waits = max(tried.wait, pause * random.uniform(0.8, 1.2)) * (not tried.again_at_once)
            if tried.unreachable and self._never_answered and time.monotonic() + waits - started > _FIRST_PATIENCE:
                raise UnreachableError(f"{self.url} cannot be reached ({tried.reason}); check --endpoint.")
            if tries >= self.options.attempts or waits > self.options.longest_wait:
                return Reply.failed(f"{tried.reason} ({tries} tries)")
            if tried.wait:  # it asks for patience: of us all, not of this request
                self._resume_at = max(self._resume_at, time.monotonic() + waits)
            elif self._stop.wait(waits):
                return None
            pause = pause if tried.again_at_once else min(2 * pause, _LONGEST_PAUSE)

    def _wait_for_turn(self) -> bool:
        """Wait until the endpoint wants to be asked again; False if all was stopped."""
        while (left := self._resume_at - time.monotonic()) > 0:
            if self._stop.wait(left + random.uniform(0, 0.2)):
                return False
        return not self._stop.is_set()

    def _try(self, request: Request) -> Reply | _Miss:
        """One try: a reply, or why there is none."""
        import openai

        asked_for, started = self._arguments(request), time.monotonic()
        # A provider that knows the header does not charge twice for an answer that got lost on its way.
        headers = {"Idempotency-Key": request.key(self.identity)[:64]}
        try:
            create = self._client.chat.completions.with_streaming_response.create
            with create(**asked_for, extra_headers=headers) as answer:
                return self._read(self._body(answer, started))
        except openai.APIStatusError as error:
            refusal = error
        except openai.APIConnectionError as error:  # timeouts are of this kind too
            cause = error.__cause__ or error
            reason = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
            return _Miss(self._hide(reason), unreachable=not isinstance(error, openai.APITimeoutError))
        except _BrokenOff as error:
            return _Miss(self._hide(str(error)))
        except (ValueError, RecursionError, OverflowError) as error:  # no chat completion, or half of one
            return _Miss(self._hide(f"unreadable answer: {' '.join(str(error).split())}")[:_LONGEST_REASON])
        # Out here, so that what is raised does not show the refusal as its context: servers quote the key in theirs.
        return self._refused(refusal, asked_for)

    def _body(self, answer: Any, started: float) -> bytes:
        """All of an answer. Raises _BrokenOff where it ends early, or takes too long however much still comes."""
        content = bytearray()
        try:
            for chunk in answer.iter_bytes():
                content += chunk
                if time.monotonic() - started > self.options.timeout:
                    raise TimeoutError(f"no whole answer within {self.options.timeout:g} seconds")
        except Exception as error:  # which ones depends on the HTTP library below the openai package
            raise _BrokenOff(f"{type(error).__name__}: {' '.join(str(error).split())}") from None
        return bytes(content)

    def _arguments(self, request: Request) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
        }
        if "temperature" not in self.left_out:
            asked["temperature"] = request.temperature
        asked["max_completion_tokens" if "max_tokens" in self.left_out else "max_tokens"] = request.max_tokens
        if request.temperature and "seed" not in self.left_out:
            asked["seed"] = request.sample
        if request.top_logprobs and "logprobs" not in self.left_out:
            asked |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.schema is not None and "json_schema" not in self.left_out:
            schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.schema is not None and "json_object" not in self.left_out:
            asked["response_format"] = {"type": "json_object"}
        return asked

    def _refused(self, error: Any, asked: Mapping[str, Any]) -> Reply | _Miss:
        """What a status that is no success means: a refusal, a failure, another try, or the end of it all."""
        status, code = error.status_code, str(error.code or "")
        told = self._hide(_words_of(error))[:_LONGEST_REASON]  # in this order: half a key is not known as one
        where = f"{self.url} (HTTP {status}: {told})"
        if code in _NO_MONEY or status == 402:
            raise RemoteError(f"{where} has no credit left. What it answered is kept: go on when there is some.")
        if status == 403 and any(sign in f"{code} {told.lower()}" for sign in (*_FILTERED, *_MODERATED)):
            return Reply("refused", reason=told, finish="content_filter")
        if status in (401, 403):
            kind = RefusedKeyError if self._key else MissingKeyError
            raise kind(f"{where} does not accept the API key; the environment variable for it is named by --key-env.")
        if status == 404:
            raise NotDeployedError(f"{where} has no model '{self.model}', or the URL is not its base; check both.")
        if status in PASSING or status >= 500:
            return _Miss(f"HTTP {status}: {told}", wait=retry_after(error.response.headers))
        if any(sign in code or sign in told.lower() for sign in _FILTERED):
            return Reply("refused", reason=told, finish="content_filter")
        if status in (400, 422) and self._asks_otherwise(asked, f"{error.param} {told}".lower()):
            return _Miss(told, again_at_once=True)
        return Reply.failed(f"HTTP {status}: {told}")

    def _asks_otherwise(self, asked: Mapping[str, Any], told: str) -> bool:
        """Whether there is another way to ask without what an endpoint complains about."""
        form = asked.get("response_format", {}).get("type")
        ways = {name: name in asked for name in ("seed", "max_tokens", "logprobs", "temperature")}
        for name, used in ways.items():
            if used and name in told:
                self.left_out.add(name)
                return True
        if form and any(sign in told for sign in ("response_format", "json_schema", "json_object", "schema")):
            self.left_out.add(form)
            return True
        return False

    def _read(self, body: bytes) -> Reply:
        """A chat completion as a reply. Raises ValueError for anything else."""
        data = json.loads(body)
        try:
            choice = data["choices"][0]
            message, finish = choice["message"], str(choice.get("finish_reason") or "")
            text, refusal = message.get("content") or "", message.get("refusal") or ""
            counts = data.get("usage") or {}
            tokens = [counts.get(name) for name in ("prompt_tokens", "completion_tokens")]
            logprobs = _logprobs(choice.get("logprobs") or {})
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ValueError("no chat completion") from None
        if not isinstance(text, str) or any(not (n is None or type(n) is int) for n in tokens):
            raise ValueError("no chat completion")
        text = text.encode("utf-8", "replace").decode()
        refused = bool(refusal) or finish in _FILTERED
        reason = (str(refusal) or finish) if refused else ""
        return Reply("refused" if refused else "answered", text, reason, finish, tokens[0], tokens[1], logprobs)

    def _hide(self, text: str) -> str:
        return self._key.cut_from(text) if self._key else text

    def _open(self) -> Any:
        try:
            import openai
        except ImportError:
            raise InvalidInputError(
                "Endpoints are asked through the openai package, which is not installed: pip install 'nnvalue[llm]'."
            ) from None
        key = self._key.in_full if self._key else lambda: "none"
        # A proxy of the environment is not this machine: what may go to the loopback unprotected may not go there.
        web = openai.DefaultHttpxClient(trust_env=not is_this_machine(self.url))
        return openai.OpenAI(
            api_key=key, base_url=self.url, timeout=self.options.timeout, max_retries=0, http_client=web
        )


class _BrokenOff(Exception):
    """An answer that did not come to its end."""


@dataclass(frozen=True)
class _Miss:
    """A try without a reply: why, the seconds that we are asked to wait, and what kind of trouble it is."""

    reason: str
    wait: float = 0.0
    unreachable: bool = False
    again_at_once: bool = False


def _key_from(variable: str, url: str) -> ApiKey | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        if is_this_machine(url):
            return None
        raise MissingKeyError(f"{url} wants an API key; put it in the environment variable {variable} (--key-env).")
    key = ApiKey(text)
    if not key.is_sound():
        raise RefusedKeyError(f"{variable} holds blanks or letters that no key has.")
    return key


def _words_of(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    told = body.get("message") or (body.get("error") if isinstance(body.get("error"), str) else None)
    return " ".join(str(told or getattr(error.response, "text", "") or error).split())


def _logprobs(given: Mapping[str, Any]) -> tuple[tuple[tuple[str, float], ...], ...]:
    told = tuple(
        tuple((str(top["token"]), float(top["logprob"])) for top in place.get("top_logprobs") or [place])
        for place in given.get("content") or ()
    )
    if not all(value < _ABOVE_ONE for place in told for _, value in place):  # NaN is not, either
        raise ValueError("log-probabilities above 0")
    return told
