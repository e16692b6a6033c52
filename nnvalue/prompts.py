"""The prompt: what the dataset makes and the generator takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """What is asked: a system turn (None in the neutral voice) and a user turn; `id` is unique in a run.

    history: pairs of what the user said and what was answered before, in a conversation.
    """

    id: str
    system: str | None
    user: str
    history: tuple[tuple[str, str], ...] = ()
