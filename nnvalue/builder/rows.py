"""From taken items to the rows of an edition: ids, pairs, cores and splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nnvalue.builder.choosing import Item
from nnvalue.builder.config import BuildConfig
from nnvalue.builder.slots import Slot
from nnvalue.dataset.schema import NOT_GIVEN
from nnvalue.values import POLES

_TEST_SHARE = 0.3


def rows_of(
    slots: Sequence[Slot], taken: Mapping[int, Sequence[Item]], config: BuildConfig
) -> dict[str, list[dict[str, Any]]]:
    """The tables of an edition: name -> rows. Of every value 30 % of a table are for testing, drawn with the seed."""
    by_value: dict[tuple[str, str], list[tuple[Slot, Item]]] = defaultdict(list)
    for number, slot in enumerate(slots):
        by_value[slot.kind, slot.value] += [(slot, item) for item in taken.get(number, ())]
    tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (kind, value), found in by_value.items():
        tested = _tested(f"{config.seed}/{kind}/{value}", len(found))
        for number, (slot, item) in enumerate(found):
            split = "test" if number in tested else "locate"
            tables[kind] += _MAKERS[kind](slot, item, number + 1, split)
    return dict(tables)


def _tested(mark: str, count: int) -> set[int]:
    """Which of so many are for testing: an equal share of every value, by a hash, so that runs agree."""
    order = sorted(range(count), key=lambda number: hashlib.sha256(f"{mark}/{number}".encode()).digest())
    return set(order[: round(_TEST_SHARE * count)])


def _situation(slot: Slot, item: Item, number: int, split: str) -> list[dict[str, Any]]:
    name = f"{slot.value}-s{number}"
    shared = {"value": slot.value, "second_value": slot.second_value, "domain": slot.domain, "split": split}
    return [{"id": name, "core": name, **shared, "facet": slot.facet or NOT_GIVEN, "text": item["text"]}]


def _description(slot: Slot, item: Item, number: int, split: str) -> list[dict[str, Any]]:
    shared = {"value": slot.value, "pair": number, "facet": slot.facet or NOT_GIVEN, "split": split}
    return [{"id": f"{slot.value}-d{number}-{pole[:3]}", "pole": pole, **shared, "text": item[pole]} for pole in POLES]


def _sentence(slot: Slot, item: Item, number: int, split: str) -> list[dict[str, Any]]:
    shared = {"value": slot.value, "facet": slot.facet or NOT_GIVEN, "split": split}
    return [{"id": f"{slot.value}-c{number}", **shared, **{pole: item[pole] for pole in POLES}}]


def _portrait(slot: Slot, item: Item, number: int, split: str) -> list[dict[str, Any]]:
    shared = {"value": slot.value, "refined": None, "pair": number, "facet": slot.facet, "split": split}
    return [
        {"id": f"{slot.value}-p{number}-{pole[:3]}", "keying": pole, **shared, "text": item[pole]} for pole in POLES
    ]


_MAKERS = {
    "situations": _situation, "descriptions": _description, "sentences": _sentence, "portraits": _portrait,
}  # fmt: skip
