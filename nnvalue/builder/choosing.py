"""Which of the writer's items are taken: rules of form, no likeness to others, poles of even length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnvalue.builder.config import BuildConfig
from nnvalue.builder.rules import LONGEST_GAP, Likeness, length, pair_fault, text_fault
from nnvalue.builder.slots import PAIRED, Slot
from nnvalue.dataset.checks import plain_words

SURPLUS = "more than needed"
Item = Mapping[str, str]


@dataclass
class Choice:
    """What was taken for each slot, and what was not.

    taken: by number of the slot, its items in the order in which they came.
    rejected: (slot's number, item's number in the slot, reason), in order.
    """

    taken: dict[int, list[Item]] = field(default_factory=dict)
    rejected: list[tuple[int, int, str]] = field(default_factory=list)

    def missing(self, number: int, slot: Slot) -> int:
        """How many items a slot lacks."""
        return slot.wanted - len(self.taken.get(number, ()))


def choose(slots: Sequence[Slot], written: Sequence[Sequence[Item]], config: BuildConfig) -> Choice:
    """Judge all items of all slots; a function of them alone, so that it can be done anew after every round."""
    judge, made = _Judge(config), Choice()
    for number, (slot, items) in enumerate(zip(slots, written, strict=True)):
        taken = made.taken.setdefault(number, [])
        for place, item in enumerate(items):
            fault = SURPLUS if len(taken) == slot.wanted else judge.fault(slot, item)
            if fault:
                made.rejected.append((number, place, fault))
            else:
                judge.take(slot, item)
                taken.append(item)
    return made


class _Judge:
    """Knows what was taken so far."""

    def __init__(self, config: BuildConfig) -> None:
        self._english = config.english
        # Few pairs must come out more even than many: what counts is the mean.
        self._tilt = {kind: min(LONGEST_GAP[kind], getattr(config, kind)) for kind in PAIRED}
        self._seen: dict[str, set[str]] = defaultdict(set)
        self._likeness = Likeness()
        self._longer: dict[tuple[str, str], int] = defaultdict(int)  # words of the positive texts beyond the negative

    def fault(self, slot: Slot, item: Item) -> str | None:
        """Why an item cannot be taken, or None."""
        texts = list(item.values())
        if slot.kind in PAIRED:
            fault = pair_fault(item["positive"], item["negative"], slot.kind, self._english)
        else:
            fault = text_fault(item["text"], slot.kind, self._english)
        if fault:
            return fault
        plain = [plain_words(text) for text in texts]
        if len(set(plain)) < len(plain) or self._seen[slot.kind] & set(plain):
            return "the same text was taken before"
        if slot.kind == "situations" and self._likeness.is_like_another(item["text"]):
            return "too like a text that was taken before"
        if slot.kind in PAIRED and self._tilts(slot, item):
            return "would make the texts of one pole longer than the other's"
        return None

    def take(self, slot: Slot, item: Item) -> None:
        """Count an item among those that later ones are held against."""
        self._seen[slot.kind] |= {plain_words(text) for text in item.values()}
        if slot.kind == "situations":
            self._likeness.take(item["text"])
        else:
            self._longer[slot.kind, slot.value] += _gap(item)

    def _tilts(self, slot: Slot, item: Item) -> bool:
        """Whether the poles' lengths would differ by more in sum than one pair's may, and by more than they do now."""
        now = self._longer[slot.kind, slot.value]
        after = now + _gap(item)
        return abs(after) > max(abs(now), self._tilt[slot.kind])


def _gap(item: Item) -> int:
    return length(item["positive"]) - length(item["negative"])
