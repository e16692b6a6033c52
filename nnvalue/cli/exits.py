"""What the exit status of `nnvalue` says, the same for every verb."""

from __future__ import annotations

DONE, FAILED, USAGE, REMOTE, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143

MEANINGS = {
    DONE: "done",
    FAILED: "an error, told in one sentence; also faults that `data check` or `doctor` found",
    USAGE: "the line cannot be read: an unknown option, or options that do not go together",
    REMOTE: "a server or endpoint: no key, no answer, a lost job; the same line goes on later",
    INTERRUPTED: "stopped by Ctrl-C",
    TERMINATED: "stopped by SIGTERM",
}


class Terminated(BaseException):
    """SIGTERM. Not an Exception, so that nothing but the end of the program catches it."""
