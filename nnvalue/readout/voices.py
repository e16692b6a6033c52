"""Who is asked, whatever form they are given in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnvalue.dataset import Role, voice
from nnvalue.errors import InvalidInputError

NEUTRAL = "neutral"

Voices = Mapping[str, Role | str | None] | Sequence[Role]
"""Roles; or name -> a role, a system turn, or None for nobody in particular."""


def systems_of(voices: Voices | None) -> dict[str, str | None]:
    """Name -> system turn of everybody who is asked; None is the neutral voice alone.

    Raises InvalidInputError where there is nobody, or two roles share an id.
    """
    if voices is None:
        return {NEUTRAL: None}
    if not isinstance(voices, Mapping):
        if len({role.id for role in voices}) != len(voices):
            raise InvalidInputError("Two roles share an id; give voices by names of your own.")
        voices = {role.id: role for role in voices}
    if not voices:
        raise InvalidInputError("There is nobody to ask; leave voices out for the neutral one.")
    return {name: voice(who) if isinstance(who, Role) else who for name, who in voices.items()}
