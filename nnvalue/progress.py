"""How long work tells where it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how many units of it are done, and how many there are."""

OVERALL = "all of it"
"""The stage that counts a whole run."""

DETAIL = " · "
"""Stands between a stage's name and what it is waiting for, e.g. `collecting activations · 2 jobs queued`."""


def silent(stage: str, done: int, total: int) -> None:
    """A listener that does nothing."""
