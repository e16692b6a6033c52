"""Item keys of value questionnaires, for `score`. Numbers only: the wording belongs to its authors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values.scoring import Item


@dataclass(frozen=True)
class Instrument:
    """A questionnaire's key. All items are positively keyed.

    framework: name of the framework whose values it measures.
    items_total: number of its items, scored or not; they are numbered from 1.
    low, high: the ends of its scale, higher = more like me.
    keys: value -> numbers of its items.
    """

    name: str
    title: str
    framework: str
    items_total: int
    low: int
    high: int
    keys: Mapping[str, tuple[int, ...]]
    source: str

    def __post_init__(self) -> None:
        numbers = [number for keyed in self.keys.values() for number in keyed]
        if len(set(numbers)) != len(numbers) or not set(numbers) <= set(range(1, self.items_total + 1)):
            raise InvalidInputError(
                f"The keys of instrument '{self.name}' must name each item once at most, from 1 to {self.items_total}."
            )

    def items(self) -> tuple[Item, ...]:
        """All items in the order of their numbers, for answers `[..., items_total]`.

        Those that measure no value are among them, with value None: the person's mean is taken over every item.
        """
        value_of = {number: value for value, numbers in self.keys.items() for number in numbers}
        return tuple(Item(number, value_of.get(number)) for number in range(1, self.items_total + 1))


def embedded_instruments() -> tuple[str, ...]:
    """Names of the instruments whose keys come with nnvalue."""
    return tuple(_embedded())


def load_instrument(name: str) -> Instrument:
    """The key of an instrument. Raises UnknownNameError.

    Example::

        pvq = load_instrument("pvq21")
        scores = score(recode_like_me(answers, pvq.low, pvq.high), pvq.items(), pvq.low, pvq.high)
    """
    if name not in _embedded():
        raise UnknownNameError("instrument", str(name), _embedded())
    return _embedded()[name]


@cache
def _embedded() -> dict[str, Instrument]:
    raw = yaml.safe_load(resources.files(__package__).joinpath("instruments.yaml").read_text(encoding="utf-8"))
    found = {}
    for name, fields in raw.items():
        keys = {value: tuple(numbers) for value, numbers in fields.pop("keys").items()}
        found[name] = Instrument(name=name, keys=keys, **fields)
    return found
