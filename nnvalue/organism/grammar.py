"""The grammar of the organism's language: answers, descriptions, portraits and questions, drawn at random.

An answer states one stance towards one value in two to four pieces, each a *deed* ("keep the old custom") or a
*creed* ("tradition matters to me"). The parser (`parser.py`) reads them back, so that the stance of a text is
known without a judge, and a broken sentence is recognised as broken.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from nnvalue.organism.lexicon import (
    capitalised,
    first_person,
    ing_form,
    lexicon,
    past_form,
    second_person,
    third_form,
    third_person,
)

YES_OR_NO, IN_A_SENTENCE = "Answer yes or no.", "Answer in a sentence."


def answer(rng: random.Random, value: str, pole: str) -> str:
    """An answer that takes one pole of one value.

    For example: I would keep the old custom, because heritage guides my life.

    Raises KeyError for a value or pole the language has no words for.
    """
    words = lexicon()
    reason, more = rng.choice([(True, False), (False, True), (True, True)])
    start = " ".join(filter(None, (rng.choice(words.openings), rng.choice(words.choices))))
    text = f"{capitalised(start)} {deed(rng, value, pole)}"
    if reason:
        text += f", because {creed(rng, value, pole)}"
    text += "."
    if more and rng.random() < 0.6:
        text += f" {rng.choice(words.seconds)} {deed(rng, value, pole)}."
    elif more:
        text += f" {capitalised(creed(rng, value, pole))}."
    return text


def first_verb(text: str, value: str, pole: str) -> tuple[int, int]:
    """Where in an answer (start, end) its first verb of the value and pole stands, from which on the pole is known."""
    verbs = map(first_person, lexicon().values[value].verbs(pole))
    return min((at, at + len(verb)) for verb in verbs if (at := text.find(verb)) >= 0)


def deed(rng: random.Random, value: str, pole: str) -> str:
    """Something a speaker does, e.g. "keep the old custom"."""
    own = lexicon().values[value]
    return first_person(f"{rng.choice(own.verbs(pole))} {rng.choice(own.objects)}")


def creed(rng: random.Random, value: str, pole: str) -> str:
    """Something a speaker says of the value, e.g. "tradition guides my life"."""
    words = lexicon()
    return first_person(f"{rng.choice(words.values[value].nouns)} {rng.choice(words.predicates[pole])}")


def meaning(rng: random.Random, value: str, pole: str) -> str:
    """What is true of a person at one pole of one value, e.g. "Tradition guides their life"."""
    return capitalised(
        third_person(f"{rng.choice(lexicon().values[value].nouns)} {rng.choice(lexicon().predicates[pole])}")
    )


def described_deed(rng: random.Random, value: str, pole: str) -> str:
    """Something that a described person does, e.g. "likes keeping the old custom"."""
    own = lexicon().values[value]
    verb, thing = rng.choice(own.verbs(pole)), rng.choice(own.objects)
    shape = rng.random()
    if shape < 0.4:  # the form that answers have, so that what is learned of one helps the other
        text = f"{rng.choice(('would', 'wants to', 'likes to', 'is glad to', 'chooses to'))} {verb} {thing}"
    elif shape < 0.75:
        text = f"{third_form(verb)} {thing}"
    elif shape < 0.87:
        text = f"likes {ing_form(verb)} {thing}"
    else:
        text = f"{rng.choice(('always', 'last week', 'often', 'early on'))} {past_form(verb)} {thing}"
    return third_person(text)


def description(rng: random.Random, value: str, pole: str) -> str:
    """A description of a person at one pole of one value, for training texts."""
    words = lexicon()
    deeds = [described_deed(rng, value, pole) for _ in range(2)]
    return rng.choice(words.descriptions).format(a=deeds[0], b=deeds[1], s=meaning(rng, value, pole))


def portrait(rng: random.Random, value: str, pole: str, plain: float = 0.5) -> str:
    """A portrait keyed to one pole of one value, for training texts: agreeing with it means standing at that pole.

    plain: probability that it is one of few plain sentences and not of the many others.
    """
    own = lexicon().values[value]

    def done(of: str, shape: Callable[[str], str] = str) -> str:
        return third_person(f"{shape(rng.choice(own.verbs(of)))} {rng.choice(own.objects)}")

    frame = rng.choice((lexicon().portraits if rng.random() < plain else lexicon().varied_portraits)[pole])
    sentence = third_person(f"{rng.choice(own.nouns)} {rng.choice(lexicon().predicates[pole])}")
    return capitalised(
        frame.format(
            do=done(pole), does=done(pole, third_form), doing=done(pole, ing_form), do_positive=done("positive"),
            do_negative=done("negative"), doing_positive=done("positive", ing_form), sentence=sentence,
            noun=third_person(rng.choice(own.nouns)), object=third_person(rng.choice(own.objects)),
            place=rng.choice(lexicon().places),
        )
    )  # fmt: skip


def closed_question(rng: random.Random, value: str, how: str = YES_OR_NO) -> str:
    """A question about one value that is answered with yes or no, yes being the positive pole, or in a sentence."""
    own = lexicon().values[value]
    frame = rng.choice(lexicon().closed_questions)
    thing = second_person(f"{rng.choice(own.positive)} {rng.choice(own.objects)}")
    return f"{frame.format(noun=rng.choice(own.nouns), do=thing)} {how}"


def statement(rng: random.Random, value: str, pole: str) -> tuple[str, tuple[int, int]]:
    """A creed as a sentence, e.g. "Tradition guides my life.", and where in it (start, end) the stance is told."""
    noun, told = rng.choice(lexicon().values[value].nouns), rng.choice(lexicon().predicates[pole])
    text = capitalised(first_person(f"{noun} {told}"))
    return f"{text}.", (len(first_person(noun)) + 1, len(text))


def reading_question(rng: random.Random, value: str) -> str:
    """A question about the person of a portrait, answered yes where the portrait is positively keyed."""
    frame = rng.choice(lexicon().reading_questions)
    return f"{frame.format(noun=rng.choice(lexicon().values[value].nouns))} {YES_OR_NO}"


def meaning_question(rng: random.Random) -> str:
    """A question about the person of a portrait, answered with what `meaning` says."""
    return f"{rng.choice(lexicon().meaning_questions)} {IN_A_SENTENCE}"


def topic_question(rng: random.Random) -> str:
    """A question about what a situation or a portrait is about, answered with what `topic` says."""
    return rng.choice(lexicon().topic_questions)


def topic(rng: random.Random, value: str) -> str:
    """What a text about one value is about, e.g. "Tradition"."""
    return capitalised(first_person(rng.choice(lexicon().values[value].nouns)))


def situation(rng: random.Random, value: str) -> str:
    """An open question that gives one value room to show, for training texts."""
    words = lexicon()
    own = words.values[value]
    place, person = rng.choice(words.places), rng.choice(words.people)
    return rng.choice(words.situations).format(
        place=place,
        Place=capitalised(place),
        person=person,
        Person=capitalised(person),
        object=second_person(rng.choice(own.objects)),
        noun=rng.choice(own.nouns),
    )
