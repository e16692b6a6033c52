"""What is to be written: slots, each so many texts of one table about one value and topic."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from nnvalue.builder.config import BuildConfig
from nnvalue.values import Framework

PAIRED = ("descriptions", "sentences", "portraits")
"""Tables of pairs, a text of either pole."""


@dataclass(frozen=True)
class Slot:
    """Texts of one kind, asked for together.

    wanted: how many texts, or pairs, are needed.
    facet: the element of the value that they are about; None where the framework names none.
    domain, second_value: of situations: where they happen, and what the value is set against.
    """

    kind: str
    value: str
    wanted: int
    facet: str | None = None
    domain: str | None = None
    second_value: str | None = None


def plan_slots(framework: Framework, config: BuildConfig) -> list[Slot]:
    """All slots of an edition, in an order that is a function of the arguments alone. Every value gets as much."""
    slots: list[Slot] = []
    values = list(framework.values)
    for place, value in enumerate(values):
        own = [facet.name for facet in framework.facets.values() if facet.value == value]
        facets: list[str | None] = [*own] or [None]
        for kind in PAIRED:
            for facet, count in zip(facets, _spread(getattr(config, kind), len(facets)), strict=True):
                slots += [Slot(kind, value, count, facet)] * (count > 0)
        slots += _situations(value, place, facets, [other for other in values if other != value], config)
    return slots


def _situations(
    value: str, place: int, facets: Sequence[str | None], others: Sequence[str], config: BuildConfig
) -> list[Slot]:
    """Situations of one value: domains in turn, beginning elsewhere for every value, so that all are met as often."""
    rng = random.Random(f"{config.seed}/{value}")
    count = len(config.domains)
    shift = place * (config.situations % count)
    domains = [config.domains[(shift + number) % count] for number in range(min(count, config.situations))]
    made, owed = [], 0.0
    for number, (domain, wanted) in enumerate(zip(domains, _spread(config.situations, len(domains)), strict=True)):
        owed += config.dilemmas * wanted if others else 0.0
        against = min(wanted, int(owed + 1e-9))
        owed -= against
        facet = facets[(place + number) % len(facets)]
        if wanted > against:
            made.append(Slot("situations", value, wanted - against, facet, domain))
        if against:
            made.append(Slot("situations", value, against, facet, domain, rng.choice(others)))
    return made


def _spread(count: int, places: int) -> list[int]:
    """A number as a sum of so many, as even as can be, the larger ones first."""
    return [count // places + (place < count % places) for place in range(places)]
