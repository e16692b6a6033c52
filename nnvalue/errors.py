"""The errors that nnvalue raises on purpose. Each message says what was given, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NnvalueError(Exception):
    """Base of every error that a user can cause and mend; the command line prints its message and nothing else."""


class UnknownNameError(NnvalueError, LookupError):
    """A name that is not among the valid ones: a value, framework, site, file."""

    def __init__(self, kind: str, given: str, valid: Iterable[str], hint: str = "") -> None:
        valid = sorted(valid)
        close = difflib.get_close_matches(given.lower(), valid, n=3)
        choices = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(valid) or 'none'}."
        super().__init__(" ".join(filter(None, (f"There is no {kind} '{given}'; {choices}", hint))))


class InvalidInputError(NnvalueError, ValueError):
    """An argument or a file's content that cannot be right."""


class DatasetError(InvalidInputError):
    """A dataset that is empty, incomplete or malformed."""


class ModelError(NnvalueError):
    """A model that cannot be opened or that lacks what is asked of it."""


class ArtifactError(NnvalueError):
    """A result on disk that is damaged, foreign, or would be overwritten."""


class RemoteError(NnvalueError):
    """A server that cannot be asked or that does not deliver. The subclasses say why."""


class MissingKeyError(RemoteError):
    """The server wants an API key and none is configured."""


class RefusedKeyError(RemoteError):
    """The server does not accept the configured API key."""


class InsecureHostError(RemoteError):
    """Plain http to a host that is not this machine."""


class UnreachableError(RemoteError):
    """No answer, or none but failures, for as long as we are willing to try."""


class NotDeployedError(RemoteError):
    """The server does not run this model."""


class VersionMismatchError(RemoteError):
    """Client and server do not understand each other."""


class PayloadTooLargeError(RemoteError):
    """The server does not take a request of this size."""


class ServerTraceError(RemoteError):
    """Our trace raised an error on the server."""


class JobLostError(RemoteError):
    """The server forgot a job, or does not finish it, again and again."""


class RunTimeoutError(RemoteError):
    """The time that was given for the whole run is over."""


class ResultError(RemoteError):
    """What the server delivers is not a result."""


class NumericalError(NnvalueError, ArithmeticError):
    """NaN or infinity where statistics are taken."""
