"""The endpoint against a server that speaks the OpenAI protocol, with every fault that such servers have."""

import json
import logging
import signal
import socket
import subprocess
import sys
import time

import pytest

from nnvalue.errors import (
    InsecureHostError,
    InvalidInputError,
    MissingKeyError,
    NotDeployedError,
    RefusedKeyError,
    RemoteError,
    UnreachableError,
)
from nnvalue.llm import CompletionClient, Endpoint, EndpointOptions, Request, outcomes
from nnvalue.llm import endpoint as endpoint_module
from tests.llm.openai_double import Say, serving

KEY = "sk-sentinel-0123456789"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def asking(text, **settings):
    return Request((("system", "be brief"), ("user", text)), **settings)


def said(body):
    return body["messages"][-1]["content"]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Pauses are a hundredth of what they are."""
    monkeypatch.setattr(endpoint_module, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(endpoint_module, "_FIRST_PATIENCE", 0.3)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def client_of(server, **options):
    return CompletionClient(Endpoint(server.url, "scribe", options=EndpointOptions(**options)))


def test_what_is_asked_and_what_is_answered():
    with serving(lambda body, times: Say(f"to {said(body)}")) as server:
        client = client_of(server)
        (reply,) = client.complete([asking("x", temperature=0.5, max_tokens=7, sample=3)])
        assert (reply.status, reply.text, reply.finish) == ("answered", "to x", "stop")
        assert (client.usage.prompt_tokens, client.usage.completion_tokens) == (10, 5)
    assert server.asked == [
        {
            "model": "scribe",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "x"}],
            "temperature": 0.5, "max_tokens": 7, "seed": 3,
        }
    ]  # fmt: skip


def test_log_probabilities_come_as_they_are_told():
    tops = [{"token": "4", "logprob": -0.1}, {"token": "5", "logprob": -2.5}]
    told = {"content": [{"token": "4", "logprob": -0.1, "top_logprobs": tops}]}
    with serving(lambda body, times: Say("4", logprobs=told)) as server:
        (reply,) = client_of(server).complete([asking("x", top_logprobs=2)])
    assert server.asked[0]["logprobs"] is True
    assert server.asked[0]["top_logprobs"] == 2
    assert reply.logprobs == ((("4", -0.1), ("5", -2.5)),)


FAULTS = {
    "rate limit": Say(status=429),
    "server error": Say(status=500),
    "bad gateway": Say(status=502, body=b"<html>nginx</html>"),
    "timeout": Say(pause=0.6),
    "truncated": Say("a long answer", cut=25),
    "broken off": Say("a long answer", cut=0),
    "malformed": Say(body=b'{"choices": [{"message"'),
    "no JSON": Say(body=b"<html>hello</html>"),
    "no choices": Say(body=b'{"choices": []}'),
    "another form": Say(body=b'{"choices": [{"message": "text"}]}'),
    "a list": Say(body=b"[1, 2]"),
    "a number for a text": Say(body=b'{"choices": [{"message": {"content": 7}}]}'),
    "deeper than a stack": Say(body=b"[" * 100_000),
    "a probability above 1": Say(logprobs={"content": [{"token": "4", "logprob": 1000.0}]}),
    "a number that is none": Say(logprobs={"content": [{"token": "4", "logprob": 10**400}]}),
    "drop by drop": Say(drip=0.1),
    "overloaded": Say(status=529),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_passing_fault_is_tried_again(fault):
    with serving(lambda body, times: FAULTS[fault] if times < 3 else Say("at last")) as server:
        client = client_of(server, timeout=0.3, concurrency=3)
        replies = client.complete([asking(f"q{number}") for number in range(4)])
        assert [reply.text for reply in replies] == ["at last"] * 4
        assert set(server.times.values()) == {3}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_never_passes_is_a_failure_with_its_reason_and_all_adds_up(fault):
    def script(body, times):
        return FAULTS[fault] if said(body) == "q1" else Say("fine")

    with serving(script) as server:
        client = client_of(server, timeout=0.3, attempts=3, concurrency=2)
        replies = client.complete([asking(f"q{number}") for number in range(3)])
        assert outcomes(replies) == {"answered": 2, "refused": 0, "failed": 1}
        assert replies[1].reason
        assert "3 tries" in replies[1].reason
        assert max(server.times.values()) == 3


def test_retry_after_is_kept_by_everybody():
    def script(body, times):
        return Say(status=429, headers={"Retry-After": "1"}) if said(body) == "q0" and times == 1 else Say()

    with serving(script) as server:
        client = client_of(server, concurrency=1)
        client.complete([asking(f"q{number}") for number in range(3)])
        pauses = [after - before for before, after in zip(server.started, server.started[1:], strict=False)]
        assert pauses[0] >= 1.0
        assert max(pauses[1:]) < 0.5
    with serving(lambda body, times: Say(status=429, headers={"Retry-After": "3600"})) as server:
        started = time.monotonic()
        (reply,) = client_of(server, longest_wait=60).complete([asking("x")])
        assert reply.status == "failed"
        assert time.monotonic() - started < 5  # nobody sits through an hour


def test_no_more_than_the_limit_are_under_way():
    with serving(lambda body, times: Say(pause=0.05)) as server:
        client_of(server, concurrency=3).complete([asking(f"q{number}") for number in range(12)])
        assert server.most_at_once == 3


def test_refusals_are_no_failures_and_not_tried_again():
    says = {
        "a": Say("", refusal="I can't help with that"),
        "b": Say("half of it", finish="content_filter"),
        "c": Say(status=400, error={"message": "policy", "code": "content_filter"}),
    }
    with serving(lambda body, times: says[said(body)]) as server:
        replies = client_of(server).complete([asking(text) for text in "abc"])
        assert [reply.status for reply in replies] == ["refused"] * 3
        assert replies[0].reason == "I can't help with that"
        assert set(server.times.values()) == {1}


def test_structured_outputs_step_down_to_what_an_endpoint_offers():
    def script(body, times):
        form = body.get("response_format", {}).get("type")
        if form in offered or form is None:
            return Say('{"a": "b"}')
        return Say(status=400, error={"message": f"no response_format {form} here", "param": "response_format"})

    for offered, forms in (
        ({"json_schema"}, ["json_schema", "json_schema"]),
        ({"json_object"}, ["json_schema", "json_object", "json_object"]),
        (set(), ["json_schema", "json_object", None, None]),
    ):
        with serving(script) as server:
            client = client_of(server, concurrency=1)
            client.complete([asking("x", schema=SCHEMA), asking("y", schema=SCHEMA)])
            assert [body.get("response_format", {}).get("type") for body in server.asked] == forms
            assert client.usage.answered == 2
            if offered == {"json_schema"}:
                assert server.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_length_limit_by_its_newer_name_and_no_seed():
    def script(body, times):
        if "max_tokens" in body:
            return Say(status=400, error={"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"})
        if "seed" in body:
            return Say(status=422, body=b'{"detail": "seed: extra fields not permitted"}')
        return Say()

    with serving(script) as server:
        client = client_of(server)
        client.complete([asking("x", temperature=1, max_tokens=9)])
        assert server.asked[-1]["max_completion_tokens"] == 9
        assert client.backend.left_out == {"max_tokens", "seed"}


def test_log_probabilities_that_an_endpoint_does_not_tell_are_done_without():
    def script(body, times):
        return Say(status=400, error={"message": "logprobs is not supported"}) if "logprobs" in body else Say("4")

    with serving(script) as server:
        client = client_of(server, concurrency=1)
        replies = client.complete([asking(text, top_logprobs=2) for text in "ab"])
        assert [(reply.text, reply.logprobs) for reply in replies] == [("4", ())] * 2
        assert ["logprobs" in body for body in server.asked] == [True, False, False]


def test_a_temperature_that_a_model_has_not_is_left_out():
    def script(body, times):
        wrong = {"message": "Only the default (1) value is supported.", "param": "temperature"}
        return Say(status=400, error=wrong) if "temperature" in body else Say("4")

    with serving(script) as server:
        client = client_of(server, concurrency=1)
        assert [reply.text for reply in client.complete([asking("a"), asking("b")])] == ["4", "4"]
        assert client.backend.left_out == {"temperature"}
        assert len(server.asked) == 3


def test_a_text_that_a_moderator_stops_is_refused_and_the_key_is_not():
    stopped = Say(status=403, error={"message": "Your input was flagged by the moderation"})
    with serving(lambda body, times: stopped if said(body) == "q1" else Say()) as server:
        replies = client_of(server).complete([asking(f"q{number}") for number in range(3)])
    assert outcomes(replies) == {"answered": 2, "refused": 1, "failed": 0}


def test_waits_grow_though_a_server_wants_short_ones(monkeypatch):
    monkeypatch.setattr(endpoint_module, "_FIRST_PAUSE", 0.2)
    with serving(lambda body, times: Say(status=429, headers={"Retry-After": "0.01"})) as server:
        client_of(server, attempts=4, concurrency=1).complete([asking("x")])
        pauses = [after - before for before, after in zip(server.started, server.started[1:], strict=False)]
    assert pauses[2] > 0.6  # .8 in the mean, of which a fifth is left to chance


def test_what_another_try_does_not_mend_ends_it_all(monkeypatch):
    for say, kind, words in (
        (Say(status=401), MissingKeyError, "--key-env"),
        (Say(status=404, error={"message": "no such model"}), NotDeployedError, "scribe"),
        (Say(status=402), RemoteError, "no credit"),
        (Say(status=429, error={"message": "pay", "code": "insufficient_quota"}), RemoteError, "no credit"),
    ):
        with serving(lambda body, times, say=say: say) as server:
            with pytest.raises(kind, match=words):
                client_of(server, concurrency=2).complete([asking(f"q{number}") for number in range(50)])
            assert len(server.asked) <= 4
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(lambda body, times: Say(status=401)) as server, pytest.raises(RefusedKeyError):
        client_of(server).complete([asking("x")])


def test_a_broken_request_fails_alone():
    script = lambda body, times: Say(status=400) if said(body) == "q1" else Say()  # noqa: E731
    with serving(script) as server:
        replies = client_of(server).complete([asking(f"q{number}") for number in range(3)])
        assert [reply.status for reply in replies] == ["answered", "failed", "answered"]
        assert set(server.times.values()) == {1}


def test_a_server_that_falls_silent_ends_it_and_what_it_said_is_kept(tmp_path):
    def script(body, times):
        return Say() if int(said(body)) < 5 else Say(status=503)

    with serving(script) as server:
        endpoint = Endpoint(server.url, "scribe", options=EndpointOptions(attempts=2, concurrency=2))
        client = CompletionClient(endpoint, tmp_path / "log.jsonl")
        with client, pytest.raises(UnreachableError, match="8 requests in a row"):
            client.complete([asking(str(number)) for number in range(100)])
        with CompletionClient(endpoint, tmp_path / "log.jsonl") as client:
            asked = len(server.asked)
            client.complete([asking(str(number)) for number in range(5)])
            assert len(server.asked) == asked


def test_an_address_where_nobody_lives():
    with socket.socket() as taken:  # bound, so that no server of another test moves in, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UnreachableError, match="cannot be reached"):
            CompletionClient(Endpoint(url, "scribe")).complete([asking("x")])


def test_addresses_and_keys_that_cannot_be_right(monkeypatch):
    for url, kind in (
        ("host/v1", InvalidInputError), ("https://me:pw@host/v1", InvalidInputError),
        ("https://host/v1?key=abc", InvalidInputError), ("http://host/v1", InsecureHostError),
        ("https://host/v1", MissingKeyError),
    ):  # fmt: skip
        with pytest.raises(kind) as caught:
            Endpoint(url, "scribe")
        assert "pw" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(RefusedKeyError):
        Endpoint("https://host/v1", "scribe")
    with pytest.raises(InvalidInputError, match="--llm"):
        Endpoint("http://127.0.0.1:1/v1", "")
    with pytest.raises(InvalidInputError, match="concurrency"):
        EndpointOptions(concurrency=0)


def test_the_key_goes_into_the_header_and_nowhere_else(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    def script(body, times):  # a server that quotes the key wherever it can
        quoted = {"message": f"the key {KEY} is bad"}
        return {
            "long": Say(status=400, error={"message": "x" * 285 + KEY}),
            "answer": Say(f"you said {KEY}", logprobs={"content": [{"token": KEY, "logprob": -1.0}]}),
            "refusal": Say("", refusal=KEY), "bad": Say(status=400, error=quoted),
            "busy": Say(status=500, error=quoted), "who": Say(status=401, error=quoted),
        }[said(body)]  # fmt: skip

    with serving(script) as server:
        endpoint = Endpoint(server.url, "scribe", key_variable="MY_KEY", options=EndpointOptions(attempts=2))
        with CompletionClient(endpoint, tmp_path / "log.jsonl") as client:
            replies = client.complete([asking(text) for text in ("answer", "refusal", "bad", "busy", "long")])
            with pytest.raises(RefusedKeyError) as caught:
                client.complete([asking("who")])
        assert set(server.keys) == {f"Bearer {KEY}"}
    assert replies[0].text == "you said [API key]"
    shown = [str(caught.value), repr(caught.value.__context__), repr(replies), repr(endpoint), caplog.text]
    shown += [json.dumps(endpoint.identity), repr(vars(endpoint)), (tmp_path / "log.jsonl").read_text()]
    assert not [text for text in shown if KEY[:9] in text]  # nor the beginning of it, where a text is cut


SCRIPT = """
import sys
from nnvalue.llm import CompletionClient, Endpoint, EndpointOptions, Request
endpoint = Endpoint(sys.argv[1], "scribe", options=EndpointOptions(concurrency=4))
with CompletionClient(endpoint, sys.argv[2]) as client:
    print("ready", flush=True)
    client.complete([Request((("user", f"q{n}"),)) for n in range(60)])
"""


def test_ctrl_c_waits_for_answers_under_way_and_keeps_them(tmp_path):
    with serving(lambda body, times: Say(said(body), pause=0.3)) as server:
        log = tmp_path / "log.jsonl"
        started = [sys.executable, "-c", SCRIPT, server.url, str(log)]
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
        with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heard) as run:
            run.stdout.readline()
            while len(server.asked) < 6:
                time.sleep(0.01)
            run.send_signal(signal.SIGINT)
            _, told = run.communicate(timeout=60)
        assert "KeyboardInterrupt" in told.decode()
        kept = {json.loads(line)["request"]["messages"][-1][1] for line in log.read_text().splitlines()}
        assert kept == {said(body) for body in server.asked}  # whatever was asked was paid for, and is there
        assert len(kept) <= 12
