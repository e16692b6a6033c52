"""The client keeps every answer, asks nothing twice, and counts everything."""

import json
import threading

import pytest

from nnvalue.errors import ArtifactError, InvalidInputError, UnreachableError
from nnvalue.llm import CompletionClient, FromFunction, Prices, Reply, Request, outcomes


def asking(text, **settings):
    return Request((("user", text),), **settings)


class Counting:
    """A backend that counts what it is asked."""

    def __init__(self, answer=str.upper):
        self.identity, self.asked, self.answer = {"function": "counting"}, [], answer

    def ask(self, requests, keep):
        for number, request in enumerate(requests):
            self.asked.append(request)
            made = self.answer(request.messages[-1][1])
            keep(number, made if isinstance(made, Reply) else Reply("answered", made, "", "stop", 3, 2))


def test_a_rerun_asks_nothing_twice_and_a_changed_request_is_another(tmp_path):
    backend = Counting()
    questions = [asking("a"), asking("b"), asking("a")]
    with CompletionClient(backend, tmp_path / "log.jsonl") as client:
        first = client.complete(questions)
        assert [reply.text for reply in first] == ["A", "B", "A"]
        assert [reply.cached for reply in first] == [False, False, True]
    with CompletionClient(backend, tmp_path / "log.jsonl") as client:
        again = client.complete(questions)
        assert [(reply.text, reply.cached) for reply in again] == [("A", True), ("B", True), ("A", True)]
        assert len(backend.asked) == 2
        for changed in (
            asking("a", temperature=1), asking("a", max_tokens=9), asking("a", sample=1), asking("a", schema={}),
            asking("a", top_logprobs=2), Request((("system", "x"), ("user", "a"))),
        ):  # fmt: skip
            before = len(backend.asked)
            client.complete([changed])
            assert len(backend.asked) == before + 1
    backend.identity = {"function": "another model"}
    with CompletionClient(backend, tmp_path / "log.jsonl") as client:
        assert not client.complete([asking("a")])[0].cached


def test_without_a_log_answers_live_as_long_as_the_client():
    backend = Counting()
    client = CompletionClient(backend)
    client.complete([asking("a")])
    client.complete([asking("a")])
    assert len(backend.asked) == 1


def test_failures_are_asked_again_and_all_adds_up(tmp_path):
    troubles = {"bad": Reply.failed("HTTP 500"), "no": Reply("refused", reason="I'd rather not")}
    backend = Counting(lambda text: troubles.get(text, text.upper()))
    texts = ["a", "bad", "no", "a", "bad", "b"]
    with CompletionClient(backend, tmp_path / "log.jsonl") as client:
        replies = client.complete([asking(text) for text in texts])
        assert outcomes(replies) == {"answered": 3, "refused": 1, "failed": 2}
        usage = client.usage
        assert usage.asked == usage.answered + usage.refused + usage.failed == len(texts)
    backend.asked.clear()
    with CompletionClient(backend, tmp_path / "log.jsonl") as client:
        client.complete([asking(text) for text in texts])
        assert [request.messages[-1][1] for request in backend.asked] == ["bad"]  # a refusal is an answer, and paid for
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["reply"]["status"] for line in lines].count("failed") == 2  # the log tells of both tries
    assert all(line["request"]["messages"] and line["asked"] for line in lines)


def test_tokens_and_cost_are_of_new_answers_only(tmp_path):
    backend = Counting()
    for expected in ((6, 4, 6 * 2e-6 + 4 * 10e-6), (0, 0, 0.0)):
        with CompletionClient(backend, tmp_path / "log.jsonl", Prices(prompt=2, completion=10)) as client:
            client.complete([asking("a"), asking("b")])
            usage = client.usage
            assert (usage.prompt_tokens, usage.completion_tokens, usage.cost) == pytest.approx(expected)
    assert CompletionClient(Counting()).usage.cost is None  # no prices, no figure


def test_what_was_answered_before_an_end_is_kept(tmp_path):
    class Ending(Counting):
        def ask(self, requests, keep):
            super().ask(requests[:2], keep)
            raise UnreachableError("gone")

    backend = Ending()
    with CompletionClient(backend, tmp_path / "log.jsonl") as client, pytest.raises(UnreachableError):
        client.complete([asking(text) for text in "abc"])
    backend = Counting()
    with CompletionClient(backend, tmp_path / "log.jsonl") as client:
        client.complete([asking(text) for text in "abc"])
    assert [request.messages[-1][1] for request in backend.asked] == ["c"]


def test_half_a_last_line_is_taken_off_and_other_damage_refused(tmp_path):
    log = tmp_path / "log.jsonl"
    with CompletionClient(Counting(), log) as client:
        client.complete([asking("a"), asking("b")])
    whole = log.read_bytes()
    log.write_bytes(whole[:-20])
    backend = Counting()
    with CompletionClient(backend, log) as client:
        client.complete([asking("a"), asking("b")])
    assert [request.messages[-1][1] for request in backend.asked] == ["b"]
    assert log.read_bytes() == whole
    for damage in (whole.replace(b'"A"', b'"Z"', 1)[3:], whole.replace(b'"a"', b'"c"', 1), b"[]\n" + whole):
        log.write_bytes(damage)
        with pytest.raises(ArtifactError, match="line 1 is damaged"):
            CompletionClient(Counting(), log)


def test_a_log_belongs_to_one_process_at_a_time(tmp_path):
    with CompletionClient(Counting(), tmp_path / "log.jsonl"), pytest.raises(ArtifactError, match="Another run"):
        CompletionClient(Counting(), tmp_path / "log.jsonl")
    CompletionClient(Counting(), tmp_path / "log.jsonl").close()


def test_answers_from_many_threads_all_reach_the_log(tmp_path):
    class Threaded(Counting):
        def ask(self, requests, keep):
            threads = [
                threading.Thread(target=keep, args=(number, Reply("answered", f"{number}" * 500)))
                for number in range(len(requests))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    questions = [asking(f"q{number}") for number in range(200)]
    with CompletionClient(Threaded(), tmp_path / "log.jsonl") as client:
        made = client.complete(questions)
    with CompletionClient(Threaded(), tmp_path / "log.jsonl") as client:
        assert [reply.text for reply in client.complete(questions)] == [reply.text for reply in made]
        assert client.usage.from_log == 200


def test_a_function_of_the_users_own_may_fail():
    def answer(request):
        if request.messages[-1][1] == "b":
            raise ZeroDivisionError("by nothing")
        return "fine"

    replies = CompletionClient(FromFunction(answer, "mine")).complete([asking("a"), asking("b")])
    assert [(reply.status, reply.reason) for reply in replies] == [
        ("answered", ""), ("failed", "ZeroDivisionError: by nothing"),
    ]  # fmt: skip


def test_requests_that_make_no_sense_are_refused():
    for bad in (
        {"messages": ()}, {"messages": (("assistant", "x"),)}, {"messages": (("user", "x"), ("system", "y"))},
        {"messages": (("user", "x"),), "temperature": 3}, {"messages": (("user", "x"),), "temperature": float("nan")},
        {"messages": (("user", "x"),), "max_tokens": 0},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            Request(**bad)
