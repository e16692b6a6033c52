import dataclasses

import numpy as np
import pytest

from nnvalue import ValueProfile
from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError

NAN = float("nan")


def profile(**changes):
    scores = np.array([[0.5, -0.5, NAN], [1.0, 0.25, -1.25]])
    fields = {
        "readout": {"kind": "scale", "steering": None, "seed": 3}, "framework": "moral_foundations",
        "voices": ("neutral", "r1"), "values": ("care", "fairness", "loyalty"), "scores": scores, "low": scores - 1,
        "high": scores + 1, "n": np.array([[4, 4, 0], [4, 4, 4]]),
        "outcomes": {"answered": 20, "refused": 1, "failed": 3}, "parts": {"order rising": scores * 2},
        "answers": [
            {"voice": "neutral", "item": "a", "score": 1.5}, {"voice": "r1", "item": "b", "score": None, "x": "y"},
        ],
    }  # fmt: skip
    return ValueProfile(**{**fields, **changes})


def test_a_saved_profile_comes_back_whole(tmp_path):
    """A dropped NaN, part or column would be missing from everything that reads profiles later."""
    made = profile()
    made.save(tmp_path / "p")
    found = ValueProfile.load(tmp_path / "p")
    for name in ("scores", "low", "high", "n"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    np.testing.assert_array_equal(found.parts["order rising"], made.parts["order rising"])
    for name in ("readout", "framework", "voices", "values", "outcomes"):
        assert getattr(found, name) == getattr(made, name)
    assert found.answers == [{**made.answers[0], "x": None}, made.answers[1]]
    assert found.asked == 24
    assert found.answers_table().column_names == ["voice", "item", "score", "x"]
    first = {path.name: path.read_bytes() for path in (tmp_path / "p").iterdir()}
    made.save(tmp_path / "p")
    assert {path.name: path.read_bytes() for path in (tmp_path / "p").iterdir()} == first


def test_its_table_has_a_row_for_each_voice_and_value():
    table = profile().to_pandas()
    assert list(table.columns) == ["voice", "value", "score", "low", "high", "n", "order rising"]
    row = table[(table.voice == "r1") & (table.value == "loyalty")].iloc[0]
    assert (row.score, row.low, row.high, row.n, row["order rising"]) == (-1.25, -2.25, -0.25, 4, -2.5)


def test_values_in_another_order_keep_their_figures():
    """Scores that part from their names are wrong everywhere."""
    some = profile().of(["loyalty", "care"])
    assert some.values == ("loyalty", "care")
    assert some.scores[1].tolist() == [-1.25, 1.0]
    assert some.n[0].tolist() == [0, 4]
    assert some.parts["order rising"][1].tolist() == [-2.5, 2.0]
    with pytest.raises(UnknownNameError, match="did you mean care"):
        profile().of(["car"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros((2, 2))}, "'scores' of a profile must be float64 of shape"),
        ({"n": np.zeros((2, 3))}, "'n' of a profile must be int64"),
        ({"parts": {"order rising": np.zeros(3)}}, "'order rising' of a profile"),
        ({"voices": ("a", "a")}, "every voice and every value once"),
        ({"outcomes": {"answered": 3}}, "counts of answered, refused, failed"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        profile(**changes)


def test_damaged_and_foreign_folders_are_refused(tmp_path):
    profile().save(tmp_path / "p")
    (tmp_path / "p" / "answers.parquet").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="damaged"):
        ValueProfile.load(tmp_path / "p")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="no profile result"):
        profile().save(tmp_path / "q")
    with pytest.raises(ArtifactError, match="no manifest"):
        ValueProfile.load(tmp_path / "q")


def test_a_profile_without_answers_is_kept_too(tmp_path):
    bare = dataclasses.replace(profile(), answers=(), parts={})
    bare.save(tmp_path / "p")
    assert ValueProfile.load(tmp_path / "p").answers == []
