"""Roles: described people, each attribute of whom tells towards one value, and a generator for more of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from nnvalue.errors import InvalidInputError
from nnvalue.values import SIGN

_AGES = (18, 84)
TOLD_SHARE = 0.8  # of the values, that an attribute of a role tells about
_TRAITS_A_SENTENCE = 3


@dataclass(frozen=True)
class Role:
    """A described person.

    trade, situation, traits: verb phrases in the third person; each tells towards one pole of exactly one value.
    levels: value -> +1 or -1 for the values that an attribute tells about. Name and age tell about none.
    """

    id: str
    split: str
    name: str
    age: int
    trade: str
    situation: str
    traits: tuple[str, ...]
    levels: Mapping[str, int]

    @property
    def text(self) -> str:
        """The person in a few sentences, for a prompt."""
        sentences = [f"{self.name}, {self.age}, {self.trade} and {self.situation}."]
        for start in range(0, len(self.traits), _TRAITS_A_SENTENCE):
            subject = "This person" if start == 0 else "The same person"
            sentences.append(f"{subject} {_listed(self.traits[start : start + _TRAITS_A_SENTENCE])}.")
        return " ".join(sentences)


@dataclass(frozen=True)
class RoleWords:
    """What roles are made of: names, and value -> pole -> kind (trade, situation, trait) -> verb phrases."""

    given_names: tuple[str, ...]
    family_names: tuple[str, ...]
    values: Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]]


@cache
def role_words() -> RoleWords:
    """The shipped words, for the ten basic values (read once)."""
    raw = yaml.safe_load(resources.files(__package__).joinpath("role_words.yaml").read_text(encoding="utf-8"))
    return RoleWords(tuple(raw["given_names"]), tuple(raw["family_names"]), raw["values"])


def generate_roles(count: int, *, seed: int = 0, avoid: Iterable[str] = (), split: str = "train") -> list[Role]:
    """New roles with names of their own; a function of the arguments alone, and fewer are a prefix of more.

    Every value is told about with probability 0.8, at either pole alike and independently of the other values, so
    that over many roles no two values go together for any reason that lies in the descriptions.

    Args:
        avoid: names that are taken.
        split: label of the new roles.

    Raises InvalidInputError for a count below 1 or above the number of names that are left.
    """
    words = role_words()
    taken = set(avoid)
    left = len(words.given_names) * len(words.family_names) - len(taken)
    if not 1 <= count <= left:
        raise InvalidInputError(f"{count} roles asked for; 1 to {left} can be made.")
    rng = random.Random(f"roles/{seed}")
    made: list[Role] = []
    while len(made) < count:
        role = draw_role(rng, f"r{seed}-{len(made) + 1:04d}", split)
        if role.name not in taken:
            taken.add(role.name)
            made.append(role)
    return made


def draw_role(rng: random.Random, role_id: str, split: str, told_share: float = TOLD_SHARE) -> Role:
    """One role from a random stream; each value is told about with probability `told_share`, two at least."""
    words = role_words()
    levels: dict[str, int] = {}
    while len(levels) < 2:  # one value for the trade and one for the situation; fewer come up once in 200,000
        levels = {value: rng.choice((-1, 1)) for value in words.values if rng.random() < told_share}
    told = list(levels)
    rng.shuffle(told)
    kinds = ["trade", "situation", *["trait"] * (len(told) - 2)]
    pole_of = {sign: pole for pole, sign in SIGN.items()}
    phrases = [
        rng.choice(words.values[value][pole_of[levels[value]]][kind]) for value, kind in zip(told, kinds, strict=True)
    ]
    name = f"{rng.choice(words.given_names)} {rng.choice(words.family_names)}"
    return Role(role_id, split, name, rng.randint(*_AGES), phrases[0], phrases[1], tuple(phrases[2:]), levels)


def role_row(role: Role) -> dict[str, Any]:
    """A role as a flat row of `schema.ROLE_COLUMNS`."""
    told = {
        pole: ", ".join(value for value, level in role.levels.items() if level == sign) or None
        for pole, sign in SIGN.items()
    }
    return {
        "id": role.id, "split": role.split, "name": role.name, "age": role.age, "trade": role.trade,
        "situation": role.situation, "traits": "; ".join(role.traits), "positive": told["positive"],
        "negative": told["negative"], "text": role.text,
    }  # fmt: skip


def role_of(row: Mapping[str, Any]) -> Role:
    """A row of `schema.ROLE_COLUMNS` as a role."""
    levels = {value: sign for pole, sign in SIGN.items() for value in _split(row[pole], ",")}
    fields = {name: row[name] for name in ("id", "split", "name", "age", "trade", "situation")}
    return Role(**fields, traits=tuple(_split(row["traits"], ";")), levels=levels)


def _split(text: str | None, mark: str) -> list[str]:
    return [part.strip() for part in (text or "").split(mark) if part.strip()]


def _listed(phrases: tuple[str, ...]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
