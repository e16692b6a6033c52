"""The log of all that was asked and answered: a file of JSON lines, one a request, each on the disk before the next."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nnvalue.artifacts import cannot_write, lock_file
from nnvalue.errors import ArtifactError
from nnvalue.llm.exchange import Reply, Request

_CLOSED = -1  # no file has this number


class AnswerLog:
    """Answers by what was asked. One process at a time may hold a log; its threads may share it.

    A line holds `key` (of request and model), `asked` (the model), `request` and `reply`. A killed run can leave half a
    line at the end, which is taken off; a fault anywhere else is somebody's change, and the log is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Reply] = {}
        self._turn = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(path.with_name(f".{path.name}.lock"))
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Let go of the file."""
        for handle in (self._file, self._lock):
            if handle is not None and handle != _CLOSED:
                os.close(handle)
        self._file, self._lock = _CLOSED, None

    def get(self, key: str) -> Reply | None:
        """What is known to have come of a request: an answer or a refusal; None if it is to be asked."""
        return self._known.get(key)

    def put(self, key: str, asked: Mapping[str, Any], request: Request, reply: Reply) -> None:
        """Write down what came of a request; it is on the disk when this returns. Failures are no answers."""
        line = {"key": key, "asked": dict(asked), "request": request.as_json(), "reply": reply.as_json()}
        content = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with self._turn:
            try:
                _write_all(self._file, content)
                os.fsync(self._file)
            except OSError as error:
                raise cannot_write(self.path, error) from None
            if reply.status != "failed":
                self._known[key] = Reply.from_json(reply.as_json())

    def keys(self) -> set[str]:
        """Of all answers and refusals that it holds."""
        return set(self._known)

    def merge(self, path: Path) -> None:
        """Take over the answers of another log that are not known here. Raises ArtifactError if it is damaged."""
        for key, line in read_log(path).items():
            if key not in self._known:
                self.put(key, line["asked"], _request(line), Reply.from_json(line["reply"]))

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(self._file, len(whole))
        self._known = {key: Reply.from_json(line["reply"]) for key, line in _lines(self.path, whole).items()}


def read_log(path: Path) -> dict[str, dict[str, Any]]:
    """Key -> line of every answer or refusal in a log that nobody writes. Raises ArtifactError if it is damaged."""
    try:
        return _lines(path, path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from None


def _lines(path: Path, content: bytes) -> dict[str, dict[str, Any]]:
    found = {}
    for number, raw in enumerate(content.splitlines(), start=1):
        try:
            line = json.loads(raw)
            reply = Reply.from_json(line["reply"])
            if line["key"] != _request(line).key(line["asked"]):
                raise ValueError("its key is not that of its request")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ArtifactError(
                f"{path}, line {number} is damaged ({' '.join(str(error).split())}); take that line out, and "
                "its request is asked again."
            ) from None
        if reply.status != "failed":
            found[line["key"]] = line
    return found


def _request(line: Mapping[str, Any]) -> Request:
    fields = dict(line["request"])
    return Request(**{**fields, "messages": tuple((role, text) for role, text in fields["messages"])})


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
