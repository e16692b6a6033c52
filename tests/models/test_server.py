"""How long a server is waited for, on a clock of our own."""

import pytest

from nnvalue.errors import UnreachableError
from nnvalue.models import server as module
from nnvalue.models.runtime import last_words, own_line
from nnvalue.models.server import Server
from nnvalue.network import ApiKey


class Answer:
    def __init__(self, status, **headers):
        self.status_code, self.headers, self.text = status, headers, "busy"
        self.is_success = status == 200

    def json(self):
        return {"detail": self.text}


@pytest.fixture
def clock(monkeypatch):
    """Sleeping costs nothing and is written down."""

    class Clock:
        now, slept = 1000.0, []

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds
            self.slept = [*self.slept, seconds]

        time = monotonic

    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module.random, "uniform", lambda _a, _b: 1.0)
    return made


def asked(server, answers):
    """Ask once; the tries get these answers, the last one again and again."""
    left = list(answers)

    def tried(*_):
        answer = left.pop(0) if len(left) > 1 else left[0]
        server.answered |= answer is not None
        return answer, "ConnectError"

    server._try = tried
    return server._ask("GET", server.host)


def test_pauses_grow_and_end_when_patience_does(clock):
    server = Server("https://host", answered=True)
    with pytest.raises(UnreachableError, match=r"for 2\d\d s \(HTTP 503: busy\)"):
        asked(server, [Answer(503)])
    assert clock.slept[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert 250 < sum(clock.slept) <= 300


def test_one_that_never_answered_is_given_up_soon(clock):
    with pytest.raises(UnreachableError, match="ConnectError"):
        asked(Server("https://host"), [None])
    assert sum(clock.slept) <= 15


def test_a_server_may_ask_for_a_longer_pause_even_at_first(clock):
    assert asked(Server("https://host"), [Answer(429, **{"Retry-After": "40"}), Answer(200)])
    assert clock.slept == [40]


@pytest.mark.parametrize("asks", ["0", "-5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_no_pause_is_shorter_than_ours(clock, asks):
    assert asked(Server("https://host"), [Answer(503, **{"Retry-After": asks}), Answer(503), Answer(200)])
    assert clock.slept == [0.5, 1]


def test_a_pause_longer_than_patience_is_not_begun(clock):
    with pytest.raises(UnreachableError):
        asked(Server("https://host"), [Answer(503, **{"Retry-After": "3600"})])
    assert clock.slept == []


def test_the_key_is_in_no_text_of_a_server():
    server = Server("https://host", ApiKey(" abc-12345\r\n"))
    assert server.key.in_full() == "abc-12345"
    assert "abc-12345" not in repr(server)
    assert server.clean("no such key: abc-12345") == "no such key: [API key]"


TRACEBACK = """Traceback (most recent call last):
  File "/srv/lib/python3.12/contextlib.py", line 81, in inner
  File "/home/anna/nnvalue/.venv/lib/python3.11/site-packages/nnvalue/locator/collect.py", line 171, in sum_contrasts
  File "[read_activation:10] /home/anna/nnvalue/nnvalue/traces/sites.py", line 27, in read_activation
  File "/home/anna/nnvalue/.venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1789, in _call_impl
torch.AcceleratorError: CUDA error: device-side assert triggered
CUDA kernel errors might be asynchronously reported at some other API call.
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


def test_the_error_and_our_line_are_found_in_a_traceback():
    assert last_words(TRACEBACK) == "torch.AcceleratorError: CUDA error: device-side assert triggered"
    assert own_line(TRACEBACK) == " (in sites.py, line 27; --debug shows all of it)"
    assert last_words("Model is gone.\n\n") == "Model is gone."
    assert last_words("") == "no reason given"
    assert own_line("Traceback: nothing of ours") == ""
