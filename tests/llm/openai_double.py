"""A small server that speaks the OpenAI protocol, with faults to order, and keeps a book of what it was asked."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Say:
    """What the server does with one request: a status, a body, headers, a pause, or a broken connection."""

    text: str = "yes"
    status: int = 200
    error: dict | None = None
    headers: dict = field(default_factory=dict)
    pause: float = 0.0
    finish: str = "stop"
    refusal: str | None = None
    body: bytes | None = None  # instead of a chat completion
    cut: int | None = None  # bytes after which the connection breaks off
    drip: float = 0.0  # seconds between blanks that come before the body
    logprobs: dict | None = None
    usage: dict | None = field(default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5})

    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": self.error or {"message": f"trouble {self.status}"}}).encode()
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish, "logprobs": self.logprobs}
        return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": self.usage}).encode()


class Double(ThreadingHTTPServer):
    """`script(request, times)` says what is done with a request that comes for the n-th time (from 1)."""

    daemon_threads = True

    def __init__(self, script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.lock = threading.Lock()
        self.asked: list[dict] = []  # bodies in the order in which they came
        self.times: dict[str, int] = {}  # by content
        self.started: list[float] = []
        self.keys: list[str | None] = []
        self.most_at_once = self.at_once = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def content_key(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            key = content_key(body)
            times = self.server.times[key] = self.server.times.get(key, 0) + 1
            self.server.asked.append(body)
            self.server.started.append(time.monotonic())
            self.server.keys.append(self.headers.get("Authorization"))
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            say = Say(status=404) if self.path != "/v1/chat/completions" else self.server.script(body, times)
            time.sleep(say.pause)
        finally:
            with self.server.lock:
                self.server.at_once -= 1
        content = say.content()
        try:
            self.send_response(say.status)
            for name, value in {"Content-Type": "application/json", **say.headers}.items():
                self.send_header(name, value)
            blanks = 20 if say.drip else 0
            self.send_header("Content-Length", str(len(content) + blanks))
            self.end_headers()
            for _ in range(blanks):
                self.wfile.write(b" ")
                time.sleep(say.drip)
            self.wfile.write(content if say.cut is None else content[: say.cut])
            if say.cut is not None:
                self.close_connection = True
        except OSError:  # whoever asked is gone
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(script):
    """A running server."""
    server = Double(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
