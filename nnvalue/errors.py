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


class NumericalError(NnvalueError, ArithmeticError):
    """NaN or infinity where statistics are taken."""
