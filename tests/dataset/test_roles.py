"""Roles: attributes that tell towards one value each, independent of each other, and names used once."""

from collections import Counter

import numpy as np
import pytest

from nnvalue.dataset import generate_roles, role_of, role_row, voice
from nnvalue.dataset.roles import role_words
from nnvalue.errors import InvalidInputError
from nnvalue.values import load_framework


def test_the_shipped_roles_are_enough_and_split(edition):
    splits = Counter(edition.roles["split"])
    assert splits["train"] >= 200
    assert splits["test"] >= 50
    assert len(set(edition.roles["name"])) == len(edition.roles)


def test_every_phrase_tells_towards_one_pole_of_one_value():
    words = role_words()
    phrases = [
        phrase
        for poles in words.values.values()
        for kinds in poles.values()
        for listed in kinds.values()
        for phrase in listed
    ]
    assert set(words.values) == set(load_framework().values)
    assert len(set(phrases)) == len(phrases) == 320


def test_what_a_role_says_is_what_its_levels_say(edition):
    """Reads every attribute back from the shipped text, by the words it can be made of."""
    owner = {
        phrase: (value, {"positive": 1, "negative": -1}[pole])
        for value, poles in role_words().values.items()
        for pole, kinds in poles.items()
        for listed in kinds.values()
        for phrase in listed
    }
    for row in edition.roles:
        role = role_of(row)
        told = [owner[phrase] for phrase in (role.trade, role.situation, *role.traits)]
        assert dict(told) == dict(role.levels)
        assert len(told) == len(role.levels)
        assert role.text == row["text"]
        assert all(phrase in row["text"] for phrase in (role.trade, role.situation, *role.traits))
        assert role_row(role) == row


def test_levels_are_independent_and_even():
    """A value that went with another one in the roles would look like a cause of it."""
    levels = np.array([[role.levels.get(v, 0) for v in load_framework().values] for role in generate_roles(4000)])
    assert abs(levels.mean(0)).max() < 0.06  # 4 standard errors of .014
    correlations = np.corrcoef(levels.T)[np.triu_indices(10, 1)]
    assert abs(correlations).max() < 0.065


def test_generated_roles_are_a_function_of_the_seed_and_fewer_are_a_prefix():
    assert generate_roles(20, seed=5)[:7] == generate_roles(7, seed=5)
    assert generate_roles(7, seed=5) != generate_roles(7, seed=6)
    taken = [role.name for role in generate_roles(5, seed=5)]
    assert not set(taken) & {role.name for role in generate_roles(20, seed=5, avoid=taken)}


@pytest.mark.parametrize("count", [0, 10**6])
def test_too_few_or_too_many_roles_are_refused(count):
    with pytest.raises(InvalidInputError, match="1 to 40000 can be made"):
        generate_roles(count)


def test_a_voice_is_a_role_a_description_both_or_nobody():
    role = generate_roles(1)[0]
    assert voice() is None
    assert voice(role).endswith(role.text)
    assert voice(role, "This person leads.").endswith(f"{role.text} This person leads.")
    assert voice(None, "This person leads.", "Be: {description}") == "Be: This person leads."
