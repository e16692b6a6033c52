"""Intervals, parts and differences of a sheet against formulas and resamples made here."""

import numpy as np
import pytest

from nnvalue import measure
from nnvalue.errors import InvalidInputError
from nnvalue.readout import Question, Questionnaire, difference
from nnvalue.readout.scale_scores import Sheet, interval
from nnvalue.values import load_framework
from tests.readout.questionnaires import answer_by

VALUES = ("care", "fairness", "loyalty")


def questions(pairs):
    """Pairs of both keyings for three values."""
    return [
        Question(f"{value}-{pair}-{sign}", f"{value} {pair} {sign}.", "rating", ((value, sign),), f"{value} {pair}")
        for value in VALUES
        for pair in range(pairs)
        for sign in (1, -1)
    ]


def rows(answers, asked, voices=("neutral",), orders=("rising", "falling")):
    """Rows as `measure` makes them, from answers `[voice, item]`."""
    return [
        {
            "voice": voice, "item": one.id, "pair": one.unit, "order": order, "value": one.uses[0][0],
            "keying": "positive" if one.uses[0][1] > 0 else "negative", "score": answers[number, place],
        }
        for number, voice in enumerate(voices)
        for place, one in enumerate(asked)
        for order in orders
    ]  # fmt: skip


def sheet(answers, pairs, voices=("neutral",)):
    return Sheet.of_answers(rows(answers, questions(pairs), voices), voices, VALUES, (1.0, 6.0))


def test_intervals_have_the_spread_of_the_formula():
    """Items drawn over all values at once, or the mean of all held fixed, spread otherwise."""
    pairs = 9
    rng = np.random.default_rng(1)
    answers = rng.uniform(1, 6, (2, 2 * 3 * pairs))
    made = sheet(answers, pairs, ("a", "b"))
    drawn = made.resampled(seed=5, resamples=20_000)
    signs = np.array([one.uses[0][1] for one in questions(pairs)])
    recoded = np.where(signs > 0, answers, 7 - answers).reshape(2, 3, pairs, 2).mean(-1)  # [voice, value, pair]
    of_mean = recoded.var(axis=2) / pairs
    expected = (2 / 3) ** 2 * of_mean + (of_mean.sum(1, keepdims=True) - of_mean) / 9
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(expected), rtol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0), made.score().centred, atol=0.02)
    low, high = interval(drawn)
    np.testing.assert_allclose(high - low, 2 * 1.96 * np.sqrt(expected), rtol=0.06)
    assert np.array_equal(made.resampled(5, 50), made.resampled(5, 50))
    assert not np.array_equal(made.resampled(5, 50), made.resampled(6, 50))


def test_both_keyings_of_a_pair_are_drawn_together():
    """Apart, somebody who only says yes to different degrees would get an interval of values that they have not."""
    pairs = 6
    yes = np.repeat(np.linspace(4, 6, 3 * pairs), 2)[None]  # the same to both keyings of a pair
    made = sheet(yes, pairs)
    low, high = interval(made.resampled(0))
    np.testing.assert_allclose([low, high], 0, atol=1e-12)
    assert made.score().yes_saying[0] == pytest.approx(1.5)
    parts = made.parts()
    assert abs(parts["keying positive"]).max() > 0.4  # one keying alone takes it for values
    np.testing.assert_allclose(parts["keying positive"], -parts["keying negative"])


def test_parts_are_scores_of_their_answers_alone():
    """A part centred on all answers would be moved by the other part."""
    asked = questions(2)
    answers = np.full((1, len(asked)), 3.0)
    answers[0, :4] = [6, 2, 4, 1]  # care: +, −, +, −
    made = rows(answers, asked)
    for row in made:
        row["score"] = min(6.0, row["score"] + (row["order"] == "rising"))
    parts = Sheet.of_answers(made, ("neutral",), VALUES, (1.0, 6.0)).parts()
    rising = [np.mean([6, 7 - 3, 5, 7 - 2]), 3.5, 3.5]  # others: (4 + 3) / 2
    np.testing.assert_allclose(parts["order rising"][0], np.array(rising) - np.mean(rising))
    falling = [np.mean([6, 5, 4, 6]), 3.5, 3.5]
    np.testing.assert_allclose(parts["order falling"][0], np.array(falling) - np.mean(falling))
    positive = [np.mean([6, 4.5]), 3.5, 3.5]
    np.testing.assert_allclose(parts["keying positive"][0], np.array(positive) - np.mean(positive))


def test_one_observation_has_no_interval_and_few_are_told_of(monkeypatch):
    """An interval of width 0 would be the surest of all."""
    asked = [*questions(3)[:12], *questions(1)[4:]]  # one pair of loyalty
    answer_by(monkeypatch, lambda prompt: 4)
    found = measure(instrument=Questionnaire("mine", load_framework("moral_foundations"), tuple(asked)))
    assert np.isnan(found.low[0]).tolist() == [False, False, True]
    assert any("Intervals of every value rest on fewer than 5" in said for said in found.readout["warnings"])


def measured(monkeypatch, answers, pairs=5, seed=0):
    asked = questions(pairs)
    of_item = dict(zip((one.text for one in asked), answers, strict=True))

    def likely(prompt):
        """The answer's place between two options."""
        exact = of_item[next(text for text in of_item if prompt.user.startswith(text))]
        whole = int(exact)
        shares = [0.0] * 6
        shares[whole - 1], shares[min(whole, 5)] = whole + 1 - exact, exact - whole
        return shares if "1 (quite unlike you)" in prompt.user else shares[::-1]

    answer_by(monkeypatch, likely)
    return measure(instrument=Questionnaire("mine", load_framework("moral_foundations"), tuple(asked)), seed=seed)


def test_a_difference_is_paired_over_items(monkeypatch):
    """Two intervals laid side by side would be wide where every item moved alike."""
    base = np.random.default_rng(3).uniform(2, 5, 30)
    moved = base.copy()
    moved[:10:2] += 0.9  # care, agreeing speaks for it
    moved[1:10:2] -= 0.9
    before, after = measured(monkeypatch, base), measured(monkeypatch, moved)
    found = difference(after, before)
    np.testing.assert_allclose(found.scores[0], [0.6, -0.3, -0.3], atol=1e-5)
    np.testing.assert_allclose(found.low[0], [0.6, -0.3, -0.3], atol=1e-5)
    np.testing.assert_allclose(found.high[0], [0.6, -0.3, -0.3], atol=1e-5)
    assert (before.high - before.low).min() > 0.1
    np.testing.assert_allclose(difference(before, after).scores, -found.scores)


def test_differences_of_different_items_are_refused(monkeypatch):
    with pytest.raises(InvalidInputError, match="same voices, values and items"):
        difference(measured(monkeypatch, np.full(30, 3.0)), measured(monkeypatch, np.full(24, 3.0), pairs=4))
