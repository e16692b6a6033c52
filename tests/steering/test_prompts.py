"""A role for a value: held against the words that roles are made of."""

import pytest

from nnvalue.dataset import role_of
from nnvalue.errors import DatasetError, UnknownNameError
from nnvalue.steering import value_role
from nnvalue.values import SIGN


@pytest.mark.parametrize("pole", ["positive", "negative"])
@pytest.mark.parametrize("value", ["power", "benevolence"])
def test_a_role_stands_at_the_pole_and_tells_least_of_others(edition, value, pole):
    steering = value_role(edition, value, pole)
    roles = {row["id"]: role_of(row) for row in edition.roles if row["split"] == "train"}
    chosen = roles[steering.about["role"]]
    assert chosen.levels[value] == SIGN[pole]
    assert len(chosen.levels) == min(len(one.levels) for one in roles.values() if one.levels.get(value) == SIGN[pole])
    assert chosen.name in steering.forth
    assert value_role(edition, value, pole).forth == steering.forth


def test_a_role_of_a_group_does_not_stand_at_both_poles_of_its_members(edition):
    steering = value_role(edition, "self_enhancement", "negative")
    levels = next(role_of(row).levels for row in edition.roles if row["id"] == steering.about["role"])
    told = [levels[one] for one in ("achievement", "power") if one in levels]
    assert told
    assert set(told) == {-1}


def test_what_there_is_not_is_told(edition):
    with pytest.raises(UnknownNameError, match="no pole 'both'"):
        value_role(edition, "power", "both")
    with pytest.raises(DatasetError, match="no role at the positive pole of 'power' in its 'locate' split"):
        value_role(edition, "power", split="locate")
