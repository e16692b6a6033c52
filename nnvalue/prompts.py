"""The prompt: what the dataset makes and the generator takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """What is asked: a system turn (None in the neutral voice) and a user turn; `id` is unique in a run."""

    id: str
    system: str | None
    user: str
