import dataclasses

import numpy as np
import pytest

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import embedded_instruments, group_scores, load_framework, load_instrument, score

TEN = list(load_framework().values)
SVS_UNSCORED = {2, 6, 7, 10, 14, 19, 21, 23, 28, 42, 48}
FACE = {9, 24, 49}
# Items per value as the scoring sheets print them, in the order of the ten values.
COUNTS = {
    "pvq40": [4, 3, 3, 4, 3, 5, 4, 4, 4, 6],
    "pvq21": [2, 2, 2, 2, 2, 2, 2, 2, 2, 3],
    "svs57": [5, 3, 3, 4, 4, 5, 4, 5, 5, 8],
    "pvqrr57": [3] * 19,
    "pvqrr57_ten": [6, 3, 3, 3, 6, 6, 6, 6, 6, 9],
    "twivi20": [2] * 10,
}


@pytest.mark.parametrize("name", embedded_instruments())
def test_keys_are_complete_and_name_no_item_twice(name):
    """Would catch a slip of a number, such as the circulating 49 for 47 in the SVS's conformity."""
    instrument = load_instrument(name)
    numbers = sorted(number for keyed in instrument.keys.values() for number in keyed)
    unscored = {"svs57": SVS_UNSCORED, "pvqrr57_ten": FACE}.get(name, set())
    assert numbers == sorted(set(range(1, instrument.items_total + 1)) - unscored)
    assert [len(keyed) for keyed in instrument.keys.values()] == COUNTS[name]
    assert list(instrument.keys) == list(load_framework(instrument.framework).values)


def test_every_instrument_is_counted():
    """Would catch a new instrument that no test looks at."""
    assert set(embedded_instruments()) == set(COUNTS)


@pytest.mark.parametrize(
    ("name", "value", "numbers"),
    [
        ("pvq40", "conformity", (7, 16, 28, 36)),
        ("pvq40", "universalism", (3, 8, 19, 23, 29, 40)),
        ("pvq21", "hedonism", (10, 21)),
        ("svs57", "conformity", (11, 20, 40, 47)),
        ("svs57", "universalism", (1, 17, 24, 26, 29, 30, 35, 38)),
        ("pvqrr57", "benevolence_caring", (11, 25, 47)),
        ("pvqrr57", "power_resources", (12, 20, 44)),
    ],
)
def test_keys_of_the_scoring_sheets(name, value, numbers):
    """Would catch two values that changed places."""
    assert load_instrument(name).keys[value] == numbers


def test_the_two_older_keys_agree_on_their_first_twenty_items():
    """Would catch a value's key that stands on another value's line in one of them."""
    short, long = load_instrument("pvq21").keys, load_instrument("pvq40").keys
    for value in TEN:
        assert set(short[value]) - {21} == {number for number in long[value] if number <= 20}


def test_twivi_pairs_items_ten_apart_in_its_own_order():
    """Would catch pairs in the order of the circle in place of the questionnaire's."""
    order = ["conformity", "tradition", "benevolence", "universalism", "self_direction",
             "stimulation", "hedonism", "achievement", "power", "security"]  # fmt: skip
    keys = load_instrument("twivi20").keys
    assert [keys[value] for value in order] == [(k, k + 10) for k in range(1, 11)]


def test_the_ten_broad_values_are_the_nineteen_put_together():
    """Would catch a broad value that misses a part, and face counted for a value."""
    answers = np.random.default_rng(0).integers(1, 7, (5, 57))
    nineteen, ten = load_instrument("pvqrr57"), load_instrument("pvqrr57_ten")
    fine = score(answers, nineteen.items(), 1, 6)
    broad = score(answers, ten.items(), 1, 6).of(TEN)
    assert broad.mrat == pytest.approx(fine.mrat)
    parts = group_scores(fine, load_framework("schwartz19"))
    for place, value in enumerate(TEN):
        if value in ("stimulation", "hedonism", "achievement"):
            expected = fine.of([value]).centred[:, 0]
        else:
            expected = parts["tradition_broad" if value == "tradition" else value]
        assert broad.centred[:, place] == pytest.approx(expected)


def test_items_follow_the_questionnaire():
    """Would catch items listed by value, which would score somebody else's answers, and unscored ones left out."""
    items = load_instrument("svs57").items()
    assert [item.id for item in items] == list(range(1, 58))
    assert {item.id for item in items if item.value is None} == SVS_UNSCORED
    assert items[0].value == "universalism"
    assert {item.keying for item in items} == {1}


def test_scales_and_sources_are_told():
    """Would catch a scale of the SVS from 1, and a key without its source."""
    assert {(i.low, i.high) for i in map(load_instrument, COUNTS) if i.name != "svs57"} == {(1, 6)}
    svs = load_instrument("svs57")
    assert (svs.low, svs.high) == (-1, 7)
    assert all(load_instrument(name).source for name in COUNTS)


def test_refusals():
    """Would catch a key that gives one item to two values, and a name that is silently another's."""
    with pytest.raises(UnknownNameError, match="did you mean pvq40"):
        load_instrument("PVQ-40")
    for keys in ({"a": (1, 2), "b": (2,)}, {"a": (0,)}, {"a": (58,)}):
        with pytest.raises(InvalidInputError, match="name each item once at most, from 1 to 57"):
            dataclasses.replace(load_instrument("svs57"), keys=keys)
