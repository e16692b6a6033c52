"""Structure against cases whose answer is known, published figures of people, and scikit-learn's MDS."""

import numpy as np
import pytest

from nnvalue.causal import of_correlations, read_people, structure
from nnvalue.causal.structure import (
    best_mds,
    circle_points,
    circular_order,
    mds,
    procrustes_phi,
    rthor,
    signs,
    template,
)
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import human_reference, load_framework

SCHWARTZ = load_framework()
VALUES = tuple(SCHWARTZ.values)
ANGLES = np.radians([SCHWARTZ.angle(value) for value in VALUES])
N = 300


def people(kind, seed=0):
    """Scores `[person, value]`: two circular factors, the same with strong yes-saying, or noise alone."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.normal(size=(N, 10))
    circular = rng.normal(size=(N, 2)) @ circle_points(ANGLES).T + 0.9 * rng.normal(size=(N, 10))
    return circular + (2 * rng.normal(size=(N, 1)) if kind == "yes" else 0)


def measured(kind, centred, seed=0):
    found = structure(people(kind, seed), VALUES, SCHWARTZ, centred=centred, permutations=199)
    return {one.name: one for one in found.measures}


def test_a_true_circle_is_recovered():
    found = measured("circle", False)
    for name in ("template", "rthor", "phi", "phi_theory", "opposition"):
        assert found[name].value >= 0.97, name
        assert found[name].p <= 0.01
    assert found["order"].value > 0.95
    assert found["stress"].value < 0.25


def test_yes_saying_hides_opposition_and_not_order():
    """The facts: template .98, RTHOR .99, opposition 0, and 1 again once each person's mean is off."""
    found = measured("yes", False)
    assert min(found["template"].value, found["rthor"].value) > 0.95
    assert found["opposition"].value == 0
    assert measured("yes", True)["opposition"].value >= 0.9


def test_noise_looks_like_something_until_its_null_is_beside_it():
    """phi from the circle flatters to .68 – .92, centring makes .93 of opposite pairs negative: both are chance."""
    raw, centred = [measured("noise", flag, seed=3) for flag in (False, True)]
    assert abs(raw["template"].value) < 0.3
    assert 0.6 < raw["phi_theory"].value < 0.97
    assert raw["phi"].value < 0.65
    assert centred["opposition"].value > 0.8
    for found in (raw, centred):
        assert all(one.p > 0.02 for one in found.values() if one.name != "stress"), found
    assert centred["opposition"].chance > 0.8


@pytest.mark.slow
def test_nulls_are_called_significant_as_seldom_as_they_should():
    called = sum(
        next(one for one in structure(people("noise", seed), VALUES, SCHWARTZ, permutations=99, people={}).measures).p
        < 0.05
        for seed in range(60)
    )
    assert called <= 8  # of 60 at .05, the 99.5 % bound


def test_people_reach_what_was_published_of_them():
    """Facts of the instruments page: r with the circle .784, .869, .838, RTHOR .73, .84, .78, and signs."""
    expected = {
        "prolific_pvq21_n569": (0.784, 0.73, 0.93, 0.80),
        "us_pvq40_n151": (0.869, 0.84, 1.0, 0.90),
        "uk_svs_n327": (0.838, 0.78, 1.0, 0.80),
    }
    for name, (r, order, opposite, near) in expected.items():
        figures = human_reference(name)
        angles = np.radians([SCHWARTZ.angle(value) for value in figures.values])
        assert template(figures.correlations, angles) == pytest.approx(r, abs=0.001)
        assert rthor(figures.correlations, angles) == pytest.approx(order, abs=0.015)
        assert signs(figures.correlations, angles) == pytest.approx((opposite, near), abs=0.04)
        _, stress = best_mds(figures.correlations, np.random.default_rng(0))
        assert stress == pytest.approx(figures.stress1, abs=0.01)


def test_a_matrix_of_people_is_most_like_itself_and_no_ceiling_is_one():
    figures = human_reference()
    found = of_correlations(figures.correlations, figures.values, SCHWARTZ, figures.n, permutations=199)
    own = found.people[figures.name]
    assert own.value == pytest.approx(1)
    assert 0.6 < own.people_low < own.people_high < 0.95
    other = found.people["us_pvq40_n151"]
    assert other.value == pytest.approx(0.89, abs=0.01)  # the facts: people against people
    assert found.measures[0].people_high < 0.9


def test_mds_is_as_good_as_scikit_learns():
    manifold = pytest.importorskip("sklearn.manifold")
    correlations = human_reference().correlations
    wanted = np.sqrt(2 - 2 * correlations)
    start = np.random.default_rng(1).normal(size=(10, 2))
    points, _ = mds(correlations, start)
    theirs, _ = manifold.smacof(
        wanted, metric=True, init=start, n_init=1, max_iter=3000, eps=1e-12, normalized_stress=False
    )  # fmt: skip

    def raw(one):
        return ((np.linalg.norm(one[:, None] - one[None], axis=-1) - wanted) ** 2).sum()

    assert raw(points) == pytest.approx(raw(theirs), rel=0.02)


def test_shapes_are_compared_whatever_their_place_turn_and_size():
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1, -1])
    moved = 3 * circle_points(ANGLES) @ turn + [5, -2]
    assert procrustes_phi(moved, circle_points(ANGLES)) == pytest.approx(1)
    assert circular_order(moved, ANGLES) == pytest.approx(1)
    assert circular_order(circle_points(np.sort(ANGLES)[[0, 5, 2, 7, 4, 9, 6, 1, 8, 3]]), ANGLES) < 0.9
    expected = np.linalg.svd(
        *[(circle_points(ANGLES) / np.sqrt(10)).T @ (people("noise")[:10, :2] - people("noise")[:10, :2].mean(0))
          / np.linalg.norm(people("noise")[:10, :2] - people("noise")[:10, :2].mean(0))], compute_uv=False
    ).sum()  # fmt: skip
    assert procrustes_phi(people("noise")[:10, :2], circle_points(ANGLES)) == pytest.approx(expected)


def test_without_a_circle_it_is_not_defined_and_says_so():
    foundations = load_framework("moral_foundations")
    values = tuple(foundations.values)
    rng = np.random.default_rng(0)
    found = structure(rng.normal(size=(50, len(values))), values, foundations)
    assert found.measures == ()
    assert "not defined: the framework 'moral_foundations' has no circle" in found.why
    assert found.points is None
    assert found.people == {}


def test_points_lie_where_the_angles_say():
    found = structure(people("circle"), VALUES, SCHWARTZ, permutations=99)
    assert np.abs((found.angles - np.degrees(ANGLES) + 180) % 360 - 180).max() < 25
    np.testing.assert_allclose(
        np.degrees(np.arctan2(found.points[:, 1], found.points[:, 0])) % 360, found.angles
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.ones((3, 10)), "5 people and 5 values at least"),
        (np.ones((20, 4)), "for 10 values"),
        (np.full((20, 10), np.nan), "leave out people who lack a score"),
        (np.zeros((20, 10)), "'self_direction' does not vary"),
    ],
)
def test_what_has_no_structure_is_refused(scores, said):
    with pytest.raises(InvalidInputError, match=said):
        structure(scores, VALUES, SCHWARTZ)


def test_a_users_matrix_is_checked_and_put_in_order():
    figures = human_reference()
    titles = [SCHWARTZ.values[value].title for value in figures.values]
    order = np.arange(10)[::-1]
    found = read_people(
        figures.correlations[np.ix_(order, order)], [titles[place] for place in order], VALUES, SCHWARTZ
    )  # fmt: skip
    at = [figures.values.index(value) for value in VALUES]
    np.testing.assert_allclose(found, figures.correlations[np.ix_(at, at)], atol=1e-9)
    with pytest.raises(InvalidInputError, match="square"):
        read_people(np.ones((9, 10)), titles, VALUES, SCHWARTZ)
    with pytest.raises(InvalidInputError, match="symmetric"):
        read_people(np.triu(np.full((10, 10), 0.5)) + 0.5 * np.eye(10), titles, VALUES, SCHWARTZ)
    with pytest.raises(InvalidInputError, match="by 1"):
        read_people(np.full((10, 10), 0.5), titles, VALUES, SCHWARTZ)
    with pytest.raises(UnknownNameError, match="people's correlations"):
        read_people(figures.correlations[:9, :9], titles[:9], VALUES, SCHWARTZ)
