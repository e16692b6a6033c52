import pytest

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import embedded_frameworks, load_framework

WITHOUT_CIRCLE = """
name: plain
values:
  - {name: care, gist: looking after others}
  - {name: fairness}
"""


def test_the_ten_values_stand_opposite_each_other_as_in_schwartz():
    framework = load_framework()
    assert len(framework.values) == 10
    # Facing pairs at equal steps of the published order.
    expected = {
        "self_direction": "security",
        "stimulation": "conformity",
        "hedonism": "tradition",
        "achievement": "benevolence",
        "power": "universalism",
    }
    for one, other in expected.items():
        assert framework.opposites(one) == (other,)
        assert framework.opposites(other) == (one,)
        assert framework.distance(one, other) == pytest.approx(180)


def test_higher_order_values_have_the_members_of_the_scoring_sheet_and_face_each_other():
    framework = load_framework()
    assert framework.members("openness_to_change") == ("self_direction", "stimulation", "hedonism")
    assert framework.members("conservation") == ("security", "conformity", "tradition")
    assert framework.opposites("self_enhancement") == ("self_transcendence",)
    assert framework.groups_of("power") == ("self_enhancement",)
    # Circular mean across the wrap: benevolence 288 and universalism 324.
    assert framework.angle("self_transcendence") == pytest.approx(306)


def test_nineteen_values_have_two_opposites_at_170_degrees():
    framework = load_framework("schwartz19")
    assert len(framework.values) == len(framework.circle) == 19
    for value in framework.circle:
        opposites = framework.opposites(value)
        assert len(opposites) == 2
        assert framework.distance(value, opposites[0]) == pytest.approx(170.5, abs=0.1)
    assert "face" not in {m for group in framework.groups.values() for m in group.members}


@pytest.mark.parametrize("given", ["Self-direction", "SD", "self direction", "SELF_DIRECTION"])
def test_a_value_is_found_by_name_code_or_title(given):
    assert load_framework().resolve(given) == "self_direction"


def test_an_unknown_value_names_the_closest_ones():
    with pytest.raises(UnknownNameError, match="did you mean benevolence"):
        load_framework().resolve("benevolance")


def test_a_framework_needs_neither_circle_nor_groups(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(WITHOUT_CIRCLE)
    framework = load_framework(path)
    assert list(framework.values) == ["care", "fairness"]
    assert not framework.has_circle
    assert framework.members("care") == ("care",)
    assert framework.groups_of("care") == ()
    with pytest.raises(InvalidInputError, match="not defined for framework 'plain'"):
        framework.angle("care")
    with pytest.raises(InvalidInputError, match="not defined for framework 'plain'"):
        framework.opposites("care")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("values: [", "not readable YAML"),
        ("[]", "must be a mapping"),
        ("name: x", "field 'values' is missing"),
        ("name: x\nvalues: []", "must be a list"),
        ("name: x\nvalues: [{code: A}]", "entry 1: the field 'name' is missing"),
        ("name: x\nvalues: [{name: a}, {name: a}]", "used before"),
        ("name: x\nvalues: [{name: Big Value}]", "lower_case_with_underscores"),
        ("name: x\nvalues: [{name: a, colour: red}]", "unknown field 'colour'"),
        ("name: x\nvalues: [{name: a}]\ngroups: [{name: g, members: [b]}]", "no value 'b'"),
        ("name: x\nvalues: [{name: a}]\ngroups: [{name: g}]", "has no members"),
        ("name: x\nvalues: [{name: a}]\ngroups: [{name: a, members: [a]}]", "both a value and a group"),
        ("name: x\nvalues: [{name: a}, {name: b}]\ncircle: [a, b]", "at least three"),
        ("name: x\nvalues: [{name: a}, {name: b}, {name: c}]\ncircle: [a, b, b]", "twice"),
        ("name: x\nvalues: [{name: ../up}]", "lower_case_with_underscores"),
        ("name: x\nvalues: [{name: a, code: b}, {name: b}]", "'b' stands for two values"),
        ("name: x\nvalues: [{name: a, gist: 2020-01-01}]", "gist must be text"),
        ("name: x\nvalues: [{name: a}]\ngroups: [{name: g, members: a}]", "members must be a list of names"),
        ("name: x\nvalues: [{name: a}]\ncircle: 5", "circle must be a list of names"),
    ],
)
def test_a_malformed_framework_is_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises((InvalidInputError, UnknownNameError), match=message):
        load_framework(path)


def test_groups_are_compared_within_their_level():
    framework = load_framework("schwartz19")
    assert framework.opposites("conservation") == ("openness_to_change",)
    assert framework.opposites("openness_to_change") == ("conservation",)
    assert "self_enhancement" not in framework.opposites("universalism")


def test_an_unknown_framework_lists_the_embedded_ones():
    with pytest.raises(UnknownNameError, match=f"did you mean {embedded_frameworks()[0]}"):
        load_framework("schwarz")
