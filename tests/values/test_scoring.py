import subprocess
import sys

import numpy as np
import pytest

import nnvalue.values
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import Item, group_scores, load_framework, load_instrument, recode_like_me, score

NAN = float("nan")
PVQ21 = load_instrument("pvq21")


def pvq21_person() -> np.ndarray:
    """Three everywhere, but universalism (3, 8, 19) six, benevolence (12, 18) five and power (2, 17) one."""
    answers = np.full(21, 3.0)
    answers[[2, 7, 18]], answers[[11, 17]], answers[[1, 16]] = 6, 5, 1
    return answers


def test_a_person_worked_by_hand():
    """Would catch a mean over values in place of one over items, and any division by a person's spread."""
    scores = score(pvq21_person(), PVQ21.items(), 1, 6)
    # 14 items at 3, three at 6, two at 5, two at 1: 42 + 18 + 10 + 2 = 72, over 21 items.
    assert scores.mrat == pytest.approx(72 / 21)
    centred = dict(zip(scores.values, scores.centred, strict=True))
    assert centred.pop("universalism") == pytest.approx(18 / 7)
    assert centred.pop("benevolence") == pytest.approx(11 / 7)
    assert centred.pop("power") == pytest.approx(-17 / 7)
    assert list(centred.values()) == pytest.approx([-3 / 7] * 7)
    assert scores.left_out == 0
    assert scores.answered == 1


def test_pvq21_scores_sum_to_zero_by_item_counts_and_only_so():
    """Would catch centring on the mean of the ten scores, where universalism's third item loses its weight."""
    scores = score(pvq21_person(), PVQ21.items(), 1, 6)
    counts = [3 if value == "universalism" else 2 for value in scores.values]
    assert np.dot(counts, scores.centred) == pytest.approx(0)
    assert scores.centred.sum() == pytest.approx(-9 / 7)


def test_the_direction_trap():
    """Would catch a recoding that is left out or done twice: signs turn, and no correlation would tell."""
    right = pvq21_person()
    stored = 7 - right  # 1 = very much like me
    items = PVQ21.items()
    assert recode_like_me(stored, 1, 6).tolist() == right.tolist()
    assert score(stored, items, 1, 6).centred == pytest.approx(-score(right, items, 1, 6).centred)
    assert recode_like_me([-1, 7, NAN], -1, 7) == pytest.approx([7, -1, NAN], nan_ok=True)


def test_unscored_items_count_for_the_persons_mean():
    """Would catch an SVS mean over the 46 scored items, which would give zeros here."""
    svs = load_instrument("svs57")
    answers = np.full(57, 3.0)
    answers[np.array([2, 6, 7, 10, 14, 19, 21, 23, 28, 42, 48]) - 1] = 7
    scores = score(answers, svs.items(), svs.low, svs.high)
    assert scores.mrat == pytest.approx((46 * 3 + 11 * 7) / 57)
    assert scores.centred == pytest.approx([-44 / 57] * 10)
    assert len(scores.values) == 10


@pytest.mark.filterwarnings("error")
def test_missing_items_leave_the_means_of_the_answered_ones():
    """Would catch a missing answer that counts as zero, spoils its row or a neighbour's, or warns."""
    answers = np.stack([pvq21_person(), pvq21_person()])
    answers[0, [2, 9, 20]] = NAN  # one item of universalism, both of hedonism
    scores = score(answers, PVQ21.items(), 1, 6).of(["universalism", "hedonism", "power"])
    assert scores.mrat == pytest.approx([(72 - 6 - 3 - 3) / 18, 72 / 21])
    assert scores.raw == pytest.approx(np.array([[6, NAN, 1], [6, 3, 1]]), nan_ok=True)
    assert scores.answered == pytest.approx([18 / 21, 1])


@pytest.mark.filterwarnings("error")
def test_who_answered_too_little_is_left_out_and_counted():
    """Would catch an exclusion off by one item, a silent one, and a person without answers who gets a score."""
    answers = np.stack([pvq21_person()] * 3)
    answers[0, :5], answers[1, :6], answers[2] = NAN, NAN, NAN
    scores = score(answers, PVQ21.items(), 1, 6, at_least=16 / 21)
    assert np.isnan(scores.mrat).tolist() == [False, True, True]
    assert np.isnan(scores.raw[1:]).all()
    assert np.isnan(scores.yes_saying[1:]).all()
    assert scores.answered == pytest.approx([16 / 21, 15 / 21, 0])
    assert scores.left_out == 2
    assert score(answers, PVQ21.items(), 1, 6).left_out == 1


def test_paired_keyings_part_yes_saying_from_values():
    """Would catch a reversed item that is not recoded, or recoded before yes-saying is taken."""
    items = [Item("p+", "power"), Item("p-", "power", -1), Item("b+", "benevolence"), Item("b-", "benevolence", -1)]
    # The first agrees with everything; the second holds power and no benevolence; the third does so, leaning to yes.
    scores = score([[6, 6, 6, 6], [6, 1, 1, 6], [6, 3, 3, 6]], items, 1, 6)
    assert scores.values == ("power", "benevolence")
    assert scores.raw.tolist() == [[3.5, 3.5], [6, 1], [5, 2]]
    assert scores.centred.tolist() == [[0, 0], [2.5, -2.5], [1.5, -1.5]]
    assert scores.yes_saying.tolist() == [2.5, 0, 1]


def test_any_axes_before_the_items():
    """Would catch a mean over the wrong axis."""
    answers = np.random.default_rng(0).uniform(1, 6, (4, 3, 21))
    scores = score(answers, PVQ21.items(), 1, 6)
    assert scores.raw.shape == scores.centred.shape == (4, 3, 10)
    assert scores.mrat.shape == scores.yes_saying.shape == scores.answered.shape == (4, 3)
    alone = score(answers[2, 1], PVQ21.items(), 1, 6)
    assert scores.centred[2, 1] == pytest.approx(alone.centred)
    assert score(answers[:0], PVQ21.items(), 1, 6).raw.shape == (0, 3, 10)


def test_groups_are_plain_means_of_their_members():
    """Would catch a group weighted by item counts, which Schwartz's definition is not."""
    scores = score(pvq21_person(), PVQ21.items(), 1, 6)
    groups = group_scores(scores, load_framework())
    assert groups == pytest.approx(
        {
            "openness_to_change": -3 / 7,
            "self_enhancement": (-3 / 7 - 17 / 7) / 2,
            "conservation": -3 / 7,
            "self_transcendence": (11 / 7 + 18 / 7) / 2,
        }
    )
    with pytest.raises(InvalidInputError, match="'self_direction_thought', which was not scored"):
        group_scores(scores, load_framework("schwartz19"))


def test_values_in_another_order():
    """Would catch scores that part from their names."""
    scores = score(pvq21_person(), PVQ21.items(), 1, 6)
    assert scores.values[:2] == ("self_direction", "power")  # items 1 and 2
    assert scores.of(["power", "universalism"]).raw.tolist() == [1, 6]
    with pytest.raises(UnknownNameError, match="did you mean power"):
        scores.of(["powr"])


TWO = (Item(1, "a"), Item(2, "b"))


@pytest.mark.parametrize(
    ("answers", "items", "scale", "message"),
    [
        ([1, 2, 3], TWO, (1, 6), r"must be \[..., 2\].*\(3,\)"),
        (3.0, TWO, (1, 6), "must be"),
        ([[1, 7], [0, 3]], TWO, (1, 6), "2 answers lie outside the scale from 1 to 6, the first being 7"),
        ([1, float("inf")], TWO, (1, 6), "1 answers lie outside"),
        (["often", "never"], TWO, (1, 6), "array of numbers"),
        ([1, 1], TWO, (1, 1), "fewer than two options"),
        ([1, 2], TWO, (6, 1), "fewer than two options"),
        ([1, 2], TWO, (NAN, 6), "fewer than two options"),
        ([], (), (1, 6), "nothing to score: 0 items"),
        ([1], (Item(1, None),), (1, 6), "none of which measures a value"),
        ([1, 2], (Item(1, "a"), Item(1, "b")), (1, 6), "Item 1 is given twice"),
    ],
)
def test_what_cannot_be_right_is_refused(answers, items, scale, message):
    """Would catch numbers that come out of nonsense."""
    with pytest.raises(InvalidInputError, match=message):
        score(answers, items, *scale)


def test_other_refusals():
    """Would catch a keying of 0, a code for 'no answer' that is recoded, and a count in place of a share."""
    with pytest.raises(InvalidInputError, match="keying of item 4 must be 1 or -1, 0 given"):
        Item(4, "a", 0)
    with pytest.raises(InvalidInputError, match="first being 99"):
        recode_like_me([1, 99], 1, 6)
    with pytest.raises(InvalidInputError, match="at_least is a share"):
        score([1, 2], TWO, 1, 6, at_least=2)


def test_the_room_stays_light_and_holds_all_it_names():
    """Would catch numpy loaded with every framework, and a public name that leads nowhere."""
    code = "import sys, nnvalue.values; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(nnvalue.values, name) is not None for name in nnvalue.values.__all__)
    assert set(nnvalue.values._HOME) <= set(nnvalue.values.__all__)
