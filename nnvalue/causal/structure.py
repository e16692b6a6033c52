"""How values hang together, against the circle and against people: correlations, never without their null.

What is shown of a structure is told beside the same with the values' names shuffled, and beside what people reach.
Scores are centred on each person's mean first, as people's are. Centring makes opposite values correlate negatively
whatever the answers are (of pure noise, .93 of opposite pairs do), so a share of signs says nothing without its null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import Framework, human_reference, human_samples

PERMUTATIONS, THEORY_PERMUTATIONS = 2_000, 200
STARTS = 30
_STEPS, _STILL = 300, 1e-7
_OPPOSITE, _NEAR = 135.0, 45.0
_TINY = 1e-9
_FEWEST = 5


@dataclass(frozen=True)
class StructureMeasure:
    """One figure of a structure.

    name, title: what it is, short and in words.
    value: the figure; NaN where it is not defined.
    chance, sd: over shuffled names; p: the share of them that are at least as high, the real one counted; NaN for
        figures that do not depend on the names.
    people_low, people_high: what samples of people reach, by the same formula on their correlations.
    """

    name: str
    title: str
    value: float
    chance: float
    sd: float
    p: float
    people_low: float
    people_high: float


@dataclass(frozen=True, eq=False)
class Structure:
    """A correlation matrix of values, and what is like a circle or like people in it.

    values: names of rows and columns; n: people, or roles, behind it.
    correlations: float64 `[value, value]`.
    measures: against the circle; empty where the framework has none, and `why` says so.
    people: sample -> likeness to its correlations, with the ceiling of samples among themselves.
    points: float64 `[value, 2]`, a metric MDS turned onto the circle, or None without one; angles: theirs in degrees.
    """

    values: tuple[str, ...]
    n: int
    correlations: np.ndarray
    measures: tuple[StructureMeasure, ...]
    people: dict[str, StructureMeasure]
    why: str = ""
    points: np.ndarray | None = None
    angles: np.ndarray | None = None


def structure(
    scores: np.ndarray,
    values: Sequence[str],
    framework: Framework,
    *,
    people: dict[str, np.ndarray] | None = None,
    centred: bool = True,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Structure:
    """The structure of scores `[person, value]`.

    Args:
        people: name -> correlations `[value, value]` of people on the same values; None for the published samples, as
            far as they have these values.
        centred: take each person's mean off first, as people's scores are.

    Raises InvalidInputError for fewer than five people or values, or values that do not vary.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(values) or len(scores) < _FEWEST or len(values) < _FEWEST:
        raise InvalidInputError(
            f"A structure needs {_FEWEST} people and {_FEWEST} values at least, [person, value]; {scores.shape} given "
            f"for {len(values)} values."
        )
    if not np.isfinite(scores).all():
        raise InvalidInputError("A structure is taken of whole answers; leave out people who lack a score.")
    table = scores - scores.mean(1, keepdims=True) if centred else scores
    if (flat := np.flatnonzero(table.std(0) < _TINY)).size:
        raise InvalidInputError(f"'{values[flat[0]]}' does not vary between people; nothing hangs together with it.")
    return of_correlations(
        np.corrcoef(table.T), values, framework, len(scores), people=people, permutations=permutations, seed=seed
    )  # fmt: skip


def of_correlations(
    correlations: np.ndarray,
    values: Sequence[str],
    framework: Framework,
    n: int,
    *,
    people: dict[str, np.ndarray] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Structure:
    """The structure of correlations `[value, value]` that n people gave."""
    names, rng = tuple(values), np.random.default_rng(seed)
    known = _samples(names) if people is None else people
    alike = {name: _against_people(correlations, one, known, name, permutations, rng) for name, one in known.items()}
    if not set(names) <= set(framework.circle):
        why = f"not defined: the framework '{framework.name}' has no circle of these values"
        return Structure(names, n, correlations, (), alike, why)
    angles = np.radians([framework.angle(value) for value in names])
    ceilings = [_figures(one, angles, np.random.default_rng(0)) for one in known.values()]
    found = _figures(correlations, angles, rng)
    null = _null(correlations, angles, permutations, rng)
    measures = tuple(
        _measure(name, title, found[name], null.get(name), [one[name] for one in ceilings])
        for name, title in _TITLES.items()
    )
    points, _ = best_mds(correlations, rng)
    turned = _onto(points, circle_points(angles))
    degrees = np.degrees(np.arctan2(turned[:, 1], turned[:, 0])) % 360
    return Structure(names, n, correlations, measures, alike, "", turned, degrees)


_TITLES = {
    "template": "r with the circle's template, cos(distance)",
    "rthor": "RTHOR: order of correlations by distance on the circle",
    "phi": "Procrustes phi of a free MDS",
    "phi_theory": "Procrustes phi of an MDS that starts at the circle (flattering)",
    "order": "circular order of MDS angles",
    "opposition": "share of opposite pairs with r < 0",
    "adjacency": "share of neighbouring pairs with r > 0",
    "stress": "stress-1 of the MDS (lower is better)",
}


def _figures(correlations: np.ndarray, angles: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    points, stress = best_mds(correlations, rng)
    started, _ = mds(correlations, circle_points(angles))
    opposition, adjacency = signs(correlations, angles)
    return {
        "template": template(correlations, angles), "rthor": rthor(correlations, angles),
        "phi": procrustes_phi(points, circle_points(angles)),
        "phi_theory": procrustes_phi(started, circle_points(angles)),
        "order": circular_order(points, angles), "opposition": opposition, "adjacency": adjacency, "stress": stress,
    }  # fmt: skip


def _null(
    correlations: np.ndarray, angles: np.ndarray, permutations: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Every figure that depends on names, with the names shuffled; turns and reflections of the circle are left out.

    A matrix that follows the circle follows a turned one nearly as well, so these are no chance hits.
    """
    points, _ = best_mds(correlations, rng)
    made: dict[str, list[float]] = {name: [] for name in _TITLES if name != "stress"}
    distances = _distances(angles)
    while len(made["template"]) < permutations:
        drawn = rng.permutation(angles)
        if np.allclose(_distances(drawn), distances):
            continue
        made["template"].append(template(correlations, drawn))
        made["rthor"].append(rthor(correlations, drawn))
        made["phi"].append(procrustes_phi(points, circle_points(drawn)))
        made["order"].append(circular_order(points, drawn))
        for name, one in zip(("opposition", "adjacency"), signs(correlations, drawn), strict=True):
            made[name].append(one)
        if len(made["phi_theory"]) < THEORY_PERMUTATIONS:
            started, _ = mds(correlations, circle_points(drawn))
            made["phi_theory"].append(procrustes_phi(started, circle_points(drawn)))
    return {name: np.array(one) for name, one in made.items()}


def _measure(name: str, title: str, value: float, null: np.ndarray | None, people: Sequence[float]) -> StructureMeasure:
    chance = sd = p = float("nan")
    if null is not None and np.isfinite(value):
        null = null[np.isfinite(null)]
        chance, sd = float(null.mean()), float(null.std())
        p = float((1 + (null >= value - _TINY).sum()) / (1 + len(null)))
    known = [one for one in people if np.isfinite(one)]
    ends = (min(known), max(known)) if known else (float("nan"),) * 2
    return StructureMeasure(name, title, float(value), chance, sd, p, *ends)


def _against_people(
    correlations: np.ndarray,
    people: np.ndarray,
    others: dict[str, np.ndarray],
    sample: str,
    permutations: int,
    rng: np.random.Generator,
) -> StructureMeasure:
    """Pearson's r over cells with people's correlations; the ceiling is what other samples reach with this one."""
    upper = np.triu_indices(len(people), 1)
    value = _r(correlations[upper], people[upper])
    null = []
    for _ in range(permutations):
        order = rng.permutation(len(people))
        null.append(_r(correlations[np.ix_(order, order)][upper], people[upper]))
    ceiling = [_r(one[upper], people[upper]) for name, one in others.items() if name != sample]
    return _measure(sample, f"r with people's correlations ({sample})", value, np.array(null), ceiling)


def _samples(values: Sequence[str]) -> dict[str, np.ndarray]:
    """People's correlations of these values, by sample; empty where people were not asked about all of them."""
    made = {}
    for name in human_samples():
        figures = human_reference(name)
        if set(values) <= set(figures.values):
            at = [figures.values.index(value) for value in values]
            made[name] = figures.correlations[np.ix_(at, at)]
    return made


def template(correlations: np.ndarray, angles: np.ndarray) -> float:
    """Pearson's r of the cells above the diagonal with cos(θᵢ − θⱼ)."""
    upper = np.triu_indices(len(angles), 1)
    return _r(correlations[upper], np.cos(angles[:, None] - angles[None])[upper])


def rthor(correlations: np.ndarray, angles: np.ndarray) -> float:
    """Correspondence index of Hubert and Arabie's randomization test of a hypothesized order (1987).

    Of all pairs of cells whose distances on the circle differ, the share in which the nearer one correlates higher,
    minus the share in which it correlates lower.
    """
    upper = np.triu_indices(len(angles), 1)
    cells, far = correlations[upper], np.round(_distances(angles)[upper], 6)
    nearer = far[:, None] < far[None]
    higher = np.sign(cells[:, None] - cells[None])
    return float(higher[nearer].sum() / nearer.sum()) if nearer.any() else float("nan")


def mds(correlations: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """A metric MDS in the plane of the dissimilarities √(2 − 2r), by SMACOF (De Leeuw 1977) from a start; its stress-1.

    Args:
        start: float64 `[value, 2]`.
    """
    wanted = np.sqrt(np.maximum(2 - 2 * correlations, 0))
    upper = np.triu_indices(len(wanted), 1)
    points, before = start - start.mean(0), np.inf
    scale = (wanted[upper] ** 2).sum()
    for _ in range(_STEPS):
        found = np.linalg.norm(points[:, None] - points[None], axis=-1)
        stress = ((found - wanted)[upper] ** 2).sum()
        if before - stress < _STILL * scale:
            break
        before = stress
        ratio = -np.divide(wanted, found, out=np.zeros_like(found), where=found > _TINY)
        np.fill_diagonal(ratio, 0)
        np.fill_diagonal(ratio, -ratio.sum(1))
        points = ratio @ points / len(points)
    found = np.linalg.norm(points[:, None] - points[None], axis=-1)[upper]
    # Kruskal's stress-1, at the size of the configuration that suits it best.
    size = (found @ wanted[upper]) / (found @ found) if (found @ found) > _TINY else 1.0
    return points, float(np.sqrt(((size * found - wanted[upper]) ** 2).sum() / ((size * found) ** 2).sum()))


def best_mds(correlations: np.ndarray, rng: np.random.Generator, starts: int = STARTS) -> tuple[np.ndarray, float]:
    """The best of several random starts."""
    found = [mds(correlations, rng.normal(size=(len(correlations), 2))) for _ in range(starts)]
    return min(found, key=lambda one: one[1])


def circle_points(angles: np.ndarray) -> np.ndarray:
    """Places on the unit circle, `[value, 2]`."""
    return np.column_stack([np.cos(angles), np.sin(angles)])


def procrustes_phi(points: np.ndarray, target: np.ndarray) -> float:
    """Likeness of two configurations after turning, reflecting and scaling: the sum of singular values of Aᵀ B.

    Both are centred and of unit norm, so 1 is the same shape; the Procrustes disparity is 1 − phi².
    """
    one, other = (each - each.mean(0) for each in (points, target))
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return float(np.linalg.svd(one.T @ other, compute_uv=False).sum())


def circular_order(points: np.ndarray, angles: np.ndarray) -> float:
    """Fisher and Lee's circular correlation (1983) of the points' angles with the theory's, without its sign.

    Σ sin(αᵢ−αⱼ) sin(θᵢ−θⱼ) / √(Σ sin²(αᵢ−αⱼ) Σ sin²(θᵢ−θⱼ)).
    """
    upper = np.triu_indices(len(angles), 1)
    found = np.arctan2(*(points - points.mean(0)).T[::-1])
    one, other = (np.sin(each[:, None] - each[None])[upper] for each in (found, angles))
    return float(abs((one * other).sum()) / np.sqrt((one**2).sum() * (other**2).sum()))


def signs(correlations: np.ndarray, angles: np.ndarray) -> tuple[float, float]:
    """Shares of pairs at least 135° apart with r < 0, and of pairs at most 45° apart with r > 0; NaN without such."""
    upper = np.triu_indices(len(angles), 1)
    far, cells = np.degrees(_distances(angles)[upper]), correlations[upper]
    opposite, near = far >= _OPPOSITE - _TINY, far <= _NEAR + _TINY
    return (
        float((cells[opposite] < 0).mean()) if opposite.any() else float("nan"),
        float((cells[near] > 0).mean()) if near.any() else float("nan"),
    )


def read_people(matrix: np.ndarray, names: Sequence[str], values: Sequence[str], framework: Framework) -> np.ndarray:
    """A user's correlations of people on these values, from a matrix whose columns are named.

    Raises UnknownNameError for a name that the framework lacks, InvalidInputError for a value that is missing or a
    matrix that is none of correlations.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    known = [framework.resolve(name) for name in names]
    if matrix.shape != (len(known),) * 2 or not np.isfinite(matrix).all():
        raise InvalidInputError(
            f"Correlations are square and without gaps; {matrix.shape} given for {len(known)} names."
        )
    if not np.allclose(matrix, matrix.T, atol=0.02) or np.abs(matrix).max() > 1 + _TINY:
        raise InvalidInputError("Correlations are symmetric and lie between −1 and 1; these do not.")
    if not np.allclose(np.diag(matrix), 1, atol=0.02):
        raise InvalidInputError("Every value correlates with itself by 1; the diagonal of this matrix says otherwise.")
    for value in values:
        if value not in known:
            raise UnknownNameError("value", value, known, "(in the file of people's correlations)")
    at = [known.index(value) for value in values]
    return (matrix + matrix.T)[np.ix_(at, at)] / 2


def _onto(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points turned and reflected onto a target, about their centre, and scaled to a mean radius of 1."""
    centred = points - points.mean(0)
    left, _, right = np.linalg.svd(centred.T @ (target - target.mean(0)))
    turned = centred @ (left @ right)
    return turned / np.linalg.norm(turned, axis=1).mean()


def _distances(angles: np.ndarray) -> np.ndarray:
    gap = np.abs(angles[:, None] - angles[None]) % (2 * np.pi)
    return np.minimum(gap, 2 * np.pi - gap)


def _r(one: np.ndarray, other: np.ndarray) -> float:
    if np.ptp(one) < _TINY or np.ptp(other) < _TINY:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
