"""What is known of a graph before any data: tiers, arrows that cannot be, arrows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import read_yaml
from nnvalue.causal.marks import circles
from nnvalue.errors import InvalidInputError, UnknownNameError


@dataclass(frozen=True, eq=False)
class Knowledge:
    """The same as matrices: bool `[cause, effect]`, arrows that are forbidden and that are required."""

    forbidden: np.ndarray
    required: np.ndarray


@dataclass(frozen=True)
class Background:
    """Background knowledge.

    tiers: groups of values, causes first: no arrow leads from a later tier to an earlier one.
    forbidden, required: arrows (cause, effect).
    """

    tiers: tuple[tuple[str, ...], ...] = ()
    forbidden: tuple[tuple[str, str], ...] = ()
    required: tuple[tuple[str, str], ...] = ()

    def knowledge(self, values: Sequence[str]) -> Knowledge:
        """Its matrices for these values.

        Raises UnknownNameError for a value that is not among them, InvalidInputError for a value in two tiers, required
        arrows that go round in a circle, and an arrow that is required and ruled out.
        """
        place = {value: number for number, value in enumerate(values)}
        size = len(place)
        forbidden, required = np.zeros((size, size), dtype=bool), np.zeros((size, size), dtype=bool)
        tier_of: dict[str, int] = {}
        for number, tier in enumerate(self.tiers):
            for value in tier:
                self._check(value, place)
                if tier_of.setdefault(value, number) != number:
                    raise InvalidInputError(f"'{value}' stands in two tiers; put it into one.")
        for value, later in tier_of.items():
            for other, earlier in tier_of.items():
                forbidden[place[value], place[other]] |= earlier < later
        for table, arrows in ((forbidden, self.forbidden), (required, self.required)):
            for cause, effect in arrows:
                self._check(cause, place)
                self._check(effect, place)
                if cause == effect:
                    raise InvalidInputError(f"An arrow leads from '{cause}' to itself; give two different values.")
                table[place[cause], place[effect]] = True
        if found := circles(required):
            names = ", ".join(values[one] for one in found[0])
            raise InvalidInputError(f"The required arrows go round in a circle ({names}); leave one of them out.")
        if (clash := np.argwhere(required & forbidden)).size:
            cause, effect = (values[one] for one in clash[0])
            raise InvalidInputError(f"The arrow {cause} → {effect} is required and ruled out; leave one of the two.")
        return Knowledge(forbidden | required.T, required)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {
            "tiers": [list(tier) for tier in self.tiers], "forbidden": [list(one) for one in self.forbidden],
            "required": [list(one) for one in self.required],
        }  # fmt: skip

    def __bool__(self) -> bool:
        return bool(self.tiers or self.forbidden or self.required)

    @staticmethod
    def _check(value: str, place: dict[str, int]) -> None:
        if value not in place:
            raise UnknownNameError("value", str(value), place, "(background knowledge)")


def read_background(file: str | Path) -> Background:
    """Background knowledge from a YAML or JSON file with the fields tiers, forbidden and required, all optional.

    `tiers: [[a, b], [c]]`, `forbidden: [[cause, effect], …]`, `required: [[cause, effect], …]`.

    Raises InvalidInputError for a file that is missing, unreadable or of another form.
    """
    raw = read_mapping(file, {"tiers", "forbidden", "required"})
    for name in ("forbidden", "required"):
        for arrow in raw.get(name) or []:
            if not isinstance(arrow, list) or len(arrow) != 2:
                raise InvalidInputError(f"{file}: {name} must be a list of pairs [cause, effect], {arrow!r} given.")
    for tier in raw.get("tiers") or []:
        if not isinstance(tier, list):
            raise InvalidInputError(f"{file}: tiers must be a list of lists of values, {tier!r} given.")
    return Background(
        tuple(tuple(map(str, tier)) for tier in raw.get("tiers") or []),
        *(tuple((str(a), str(b)) for a, b in raw.get(name) or []) for name in ("forbidden", "required")),
    )


def read_mapping(file: str | Path, known: set[str]) -> dict[str, Any]:
    """A YAML or JSON file with these fields, lists all of them. Raises InvalidInputError."""
    path = Path(file)
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise InvalidInputError(f"{path} must be a mapping with the fields {', '.join(sorted(known))}.")
    if unknown := sorted(set(map(str, raw)) - known):
        raise UnknownNameError("field", unknown[0], known, f"({path})")
    for name, given in raw.items():
        if given is not None and not isinstance(given, list):
            raise InvalidInputError(f"{path}: '{name}' must be a list, {given!r} given.")
    return raw
