"""Tables of scores: what is refused and why, and files that people bring."""

import numpy as np
import pytest

from nnvalue.causal import Context, ScoreTable, check_table, read_scores
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from tests.causal.simulated import random_dag, surveyed


def table(scores, roles=None):
    count = len(scores)
    roles = count if roles is None else roles
    return ScoreTable(
        tuple("abcdef"[: scores.shape[1]]), scores, np.arange(count) % roles, np.zeros(count, dtype=int),
        tuple(f"r{n}" for n in range(roles)), (Context("none"),),
    )  # fmt: skip


def random(rows=40, columns=4):
    return np.random.default_rng(0).normal(size=(rows, columns))


def test_good_scores_pass():
    check_table(table(random()))


def test_few_roles_are_refused_however_many_rows_there_are():
    with pytest.raises(InvalidInputError, match="9 roles were asked; a graph needs 10 at least, and 100"):
        check_table(table(random(90), roles=9))


def test_a_constant_column_is_named():
    scores = random()
    scores[:, 2] = 0.5
    with pytest.raises(InvalidInputError, match=r"'c' has the same score in every row.*leave it out"):
        check_table(table(scores))


def test_centred_scores_are_refused_with_the_reason():
    scores = random()
    with pytest.raises(InvalidInputError, match=r"collinear.*centred on each person's mean"):
        check_table(table(scores - scores.mean(1, keepdims=True)))


def test_collinear_values_are_named_and_others_are_not():
    scores = random(columns=5)
    scores[:, 3] = 2 * scores[:, 0] - scores[:, 1]
    with pytest.raises(InvalidInputError, match=r"collinear \(a, b, d\)"):
        check_table(table(scores))
    with pytest.raises(InvalidInputError, match="collinear"):
        check_table(table(random(rows=10, columns=6)[:, :6].repeat(1, 0)[:5].repeat(2, 0)))


def test_a_missing_cell_is_told_with_its_place():
    scores = random()
    scores[7, 1] = np.nan
    with pytest.raises(InvalidInputError, match="1 of 40 rows lack a score, the first of them 'b' of role 'r7'"):
        check_table(table(scores))


def test_two_values_are_too_few():
    with pytest.raises(InvalidInputError, match="three values at least; 2 given"):
        check_table(table(random(columns=2)))


def test_resampled_roles_bring_all_their_rows():
    given = surveyed(random_dag(np.random.default_rng(0), size=4), roles=5)
    drawn = given.take([3, 3, 0])
    assert len(drawn.roles) == 3
    for new, old in enumerate((3, 3, 0)):
        np.testing.assert_array_equal(drawn.scores[drawn.role == new], given.scores[given.role == old])
        np.testing.assert_array_equal(drawn.context[drawn.role == new], given.context[given.role == old])


def test_within_contexts_every_mean_is_zero_and_roles_differ_as_before():
    given = surveyed(random_dag(np.random.default_rng(0), size=4), roles=30)
    found = given.within()
    for place in range(len(given.contexts)):
        rows = given.context == place
        np.testing.assert_allclose(found.scores[rows].mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(np.cov(found.scores[rows].T), np.cov(given.scores[rows].T))


def test_there_is_one_unsteered_context():
    given = surveyed(random_dag(np.random.default_rng(0), size=4), roles=5)
    assert given.contexts[given.base].name == "unsteered"
    assert len(given.unsteered().scores) == 5
    without = given.only([one.name for one in given.contexts[1:]])
    with pytest.raises(InvalidInputError, match="0 contexts are unsteered"):
        without.unsteered()


CSV = "done,who,joy,power,joy:sd,note\n,ann,1,0.5,9,x\n7,ann,2,,9,y\n7,bob,3,1.5,9,z\n"


def test_files_are_read_with_their_own_columns(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text(CSV)
    found = read_scores(file, context="done", role="who")
    assert found.values == ("joy", "power")
    assert found.roles == ("ann", "bob")
    assert [(one.name, one.kind) for one in found.contexts] == [("none", "none"), ("7", "own")]
    assert found.role.tolist() == [0, 0, 1]
    assert found.context.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found.scores, [[1, 0.5], [2, np.nan], [3, 1.5]])
    assert len(read_scores(file, context="done", role="who", contexts=["none"]).scores) == 1
    assert len(read_scores(file, values=["power"]).roles) == 3


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"values": ["joyy"]}, UnknownNameError, "did you mean joy"),
        ({"role": "whom"}, UnknownNameError, "did you mean who"),
        ({"values": ["note"]}, InvalidInputError, "line 2: 'note' must be a number, 'x' given"),
        ({"context": "done", "contexts": ["8"]}, UnknownNameError, "no context '8'"),
    ],
)
def test_what_does_not_fit_a_file_is_told(tmp_path, settings, error, said):
    file = tmp_path / "scores.csv"
    file.write_text(CSV)
    with pytest.raises(error, match=said):
        read_scores(file, **settings)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(DatasetError, match="There is no file"):
        read_scores(tmp_path / "none.csv")
    with pytest.raises(InvalidInputError, match=r"must end in \.csv"):
        read_scores(tmp_path / "scores.xlsx")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(InvalidInputError, match="has no rows"):
        read_scores(tmp_path / "empty.csv")
