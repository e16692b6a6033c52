import random
from collections import Counter

import pytest

from nnvalue.organism import parse
from nnvalue.organism.grammar import answer, description
from nnvalue.organism.lexicon import ing_form, lexicon, past_form, third_form
from nnvalue.values import POLES, load_framework

VALUES = sorted(lexicon().values)


def test_the_language_has_words_for_the_ten_values():
    assert set(VALUES) == set(load_framework().values)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("pole", POLES)
def test_the_parser_reads_back_what_the_grammar_says(value, pole):
    rng = random.Random(0)
    for _ in range(300):
        text = answer(rng, value, pole)
        reading = parse(text)
        assert reading.well_formed, text
        assert reading.value == value
        assert reading.stance == (1 if pole == "positive" else -1)
        assert 2 <= len(reading.pieces) <= 3


def test_a_mixed_answer_has_the_mean_of_its_pieces():
    reading = parse("I would keep the old custom, because tradition leaves me cold.")
    assert (reading.well_formed, reading.value, reading.pieces, reading.stance) == (True, "tradition", (1, -1), 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would",
        "I would keep the old custom",  # no full stop
        "I would keep the old custom.",  # one piece only
        "i would keep the old custom, because tradition matters to me.",  # lower case
        "I would keep the the old custom, because tradition matters to me.",  # a word doubled
        "I would keep custom, because tradition matters to me.",  # a word lost
        "I would keep the old custom, because safety matters to me.",  # two values
        "I would keep the old custom, because tradition matters to me. I would also",  # cut off
        "I would keep the old custom. heritage matters to me.",  # second sentence in lower case
        "I would keep the old custom. Tradition matters to me. Tradition matters to me.",
    ],
)
def test_a_broken_answer_is_unreadable(text):
    reading = parse(text)
    assert not reading.well_formed
    assert reading.stance == 0


def test_no_damage_to_a_sentence_goes_unnoticed():
    """Dropping, doubling or exchanging any word either breaks the answer or gives another one of the grammar."""
    rng = random.Random(1)
    unnoticed = 0
    for _ in range(400):
        words = answer(rng, rng.choice(VALUES), rng.choice(POLES)).split()
        place = rng.randrange(len(words))
        damaged = rng.choice(
            [words[:place] + words[place + 1 :], words[:place] + [words[place]] * 2 + words[place + 1 :]]
        )
        unnoticed += parse(" ".join(damaged)).well_formed
    assert unnoticed <= 20  # "I will …" after a lost opening is whole, for example


def test_no_verb_and_no_noun_serves_two_values():
    words = lexicon().values.values()
    for phrases in (
        (verb for own in words for pole in POLES for verb in own.verbs(pole)),
        (n for own in words for n in own.nouns),
    ):
        assert max(Counter(phrases).values()) == 1


@pytest.mark.parametrize(
    ("verb", "third", "ing", "past"),
    [
        ("carry on", "carries on", "carrying on", "carried on"),
        ("be there for", "is there for", "being there for", "was there for"),
        ("drop", "drops", "dropping", "dropped"),
        ("obey", "obeys", "obeying", "obeyed"),
        ("push for", "pushes for", "pushing for", "pushed for"),
        ("give up", "gives up", "giving up", "gave up"),
        ("forget about", "forgets about", "forgetting about", "forgot about"),
        ("forgo", "forgoes", "forgoing", "forwent"),
        ("cancel", "cancels", "cancelling", "cancelled"),
        ("lose interest in", "loses interest in", "losing interest in", "lost interest in"),
        ("make room for", "makes room for", "making room for", "made room for"),
        ("outgrow", "outgrows", "outgrowing", "outgrew"),
        ("strive for", "strives for", "striving for", "strove for"),
        ("close {my} eyes to", "closes {my} eyes to", "closing {my} eyes to", "closed {my} eyes to"),
    ],
)
def test_inflection(verb, third, ing, past):
    assert (third_form(verb), ing_form(verb), past_form(verb)) == (third, ing, past)


def test_descriptions_speak_in_the_third_person():
    rng = random.Random(0)
    for value in VALUES:
        for pole in POLES:
            text = description(rng, value, pole)
            assert "{" not in text
            assert " my " not in text
