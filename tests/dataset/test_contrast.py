import pytest

from nnvalue.dataset import build_contrasts
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.values import POLES


def rows(edition, table, value, split):
    return [row for row in getattr(edition, table) if row["value"] == value and row["split"] == split]


def test_a_contrast_asks_one_situation_under_a_matched_pair_of_descriptions(edition):
    described = {row["text"]: row for row in rows(edition, "descriptions", "power", "locate")}
    asked = {row["id"]: row["text"] for row in rows(edition, "situations", "power", "locate")}
    contrasts = build_contrasts(edition, "power")
    assert len(contrasts) == len(asked)
    for contrast in contrasts:
        assert contrast.positive.user == contrast.negative.user == asked[contrast.situation_id]
        found = {
            pole: next(row for text, row in described.items() if text in getattr(contrast, pole).system)
            for pole in ("positive", "negative")
        }
        assert found["positive"]["pole"] == "positive"
        assert found["negative"]["pole"] == "negative"
        assert found["positive"]["pair"] == found["negative"]["pair"]


def test_folds_share_neither_situations_nor_descriptions(edition):
    contrasts = build_contrasts(edition, "tradition", folds=16)
    assert {c.fold for c in contrasts} == set(range(14))  # 28 pairs of descriptions, two a fold
    for text in ("situation_id", "positive"):
        owner = {}
        for contrast in contrasts:
            key = contrast.situation_id if text == "situation_id" else contrast.positive.system
            assert owner.setdefault(key, contrast.fold) == contrast.fold


def test_every_fold_has_two_pairs_of_descriptions(edition):
    """With one, the arms of its A/A contrasts would share it."""
    n_pairs = len(rows(edition, "descriptions", "tradition", "locate")) // 2
    contrasts = build_contrasts(edition, "tradition", folds=1000)
    assert {c.fold for c in contrasts} == set(range(n_pairs // 2))
    for fold in range(n_pairs // 2):
        assert len({c.positive.system for c in contrasts if c.fold == fold}) == 2


def test_every_core_comes_once_before_any_comes_twice(edition):
    """Few situations that were variants of one another would all be about the same thing."""
    core_of = {row["id"]: row["core"] for row in rows(edition, "situations", "power", "locate")}
    cores = [core_of[c.situation_id] for c in build_contrasts(edition, "power")]
    n = len(set(cores))
    assert len(set(cores[:n])) == n
    assert cores[n : 2 * n] == cores[:n]
    variants = {row["id"]: row["id"][-2:] for row in edition.situations}
    assert len({variants[c.situation_id] for c in build_contrasts(edition, "power", situations=n)}) > 5


def test_no_text_of_the_test_split_is_used(edition):
    test_texts = {
        row["text"] for table in ("descriptions", "situations") for row in rows(edition, table, "power", "test")
    }
    for contrast in build_contrasts(edition, "power"):
        assert contrast.positive.user not in test_texts
        assert not any(text in contrast.negative.system for text in test_texts)


def test_contrasts_are_a_function_of_the_seed_and_fewer_are_a_prefix(edition):
    full = build_contrasts(edition, "power", seed=3)
    assert build_contrasts(edition, "power", seed=3) == full
    assert build_contrasts(edition, "power", seed=4) != full
    assert [c.situation_id for c in build_contrasts(edition, "power", seed=3, situations=5)] == [
        c.situation_id for c in full[:5]
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"value": "kindness"}, UnknownNameError, "no value 'kindness'"),
        ({"value": "power", "situations": 100_000}, DatasetError, "ask for at most 1110"),
        ({"value": "power", "situations": 0}, InvalidInputError, "at least 1"),
        ({"value": "power", "folds": 0}, InvalidInputError, "at least 1"),
        ({"value": "power", "system_prompt": "be someone"}, InvalidInputError, "lacks the field"),
    ],
)
def test_impossible_contrasts_are_refused(edition, arguments, error, message):
    with pytest.raises(error, match=message):
        build_contrasts(edition, **arguments)


def test_the_arms_of_a_null_contrast_share_a_pole_and_no_description(edition):
    """Were a description in both arms, the null would be narrower than what other wordings alone do."""
    described = {row["text"]: row for row in rows(edition, "descriptions", "power", "locate")}
    poles = {pole: [text for text, row in described.items() if row["pole"] == pole] for pole in POLES}
    contrasts = build_contrasts(edition, "power", null_of="negative")
    arms = {pole: {} for pole in POLES}
    for contrast in contrasts:
        for arm in POLES:
            system = getattr(contrast, arm).system
            (text,) = (text for text in poles["negative"] if text in system)
            arms[arm].setdefault(text, set()).add(contrast.fold)
    assert not set(arms["positive"]) & set(arms["negative"])
    assert len(arms["positive"]) == len(arms["negative"]) == len(poles["negative"]) / 2
    assert all(len(folds) == 1 for arm in arms.values() for folds in arm.values())
    assert [c.situation_id for c in contrasts] == [
        c.situation_id for c in build_contrasts(edition, "power", null_of="positive")
    ]


@pytest.mark.parametrize("pole", POLES)
def test_one_arm_of_a_null_contrast_is_the_ordinary_prompt(edition, pole):
    """Were it another prompt, or always the same arm, the null would cost twice as much, or be lopsided."""
    ordinary = build_contrasts(edition, "power", situations=200)
    null = build_contrasts(edition, "power", situations=200, null_of=pole)
    places = []
    for real, drawn in zip(ordinary, null, strict=True):
        assert (real.situation_id, real.fold) == (drawn.situation_id, drawn.fold)
        places.append([drawn.positive, drawn.negative].index(getattr(real, pole)))
        other = (drawn.negative, drawn.positive)[places[-1]]
        assert other.system != getattr(real, pole).system
        assert other.id == f"{real.situation_id}/{pole}-other"
    assert 70 < sum(places) < 130
