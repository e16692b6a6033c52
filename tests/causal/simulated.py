"""Linear causal models with a known truth, and score tables drawn from them: no nnvalue in what is true."""

import numpy as np

from nnvalue.causal import Context, ScoreTable


def random_dag(rng, size=10, degree=3.0, weights=(0.4, 0.9)):
    """Weights float64 `[cause, effect]` of an acyclic graph in a random order, of either sign."""
    order = rng.permutation(size)
    chosen = np.triu(rng.random((size, size)) < degree / (size - 1), 1)
    made = np.zeros((size, size))
    made[np.ix_(order, order)] = np.where(chosen, rng.uniform(*weights, (size, size)), 0)
    return made * rng.choice((-1, 1), (size, size))


def draw(weights, disturbances, set_to=None):
    """Scores `[row, node]` of x = x B + e; `set_to` (node, level) takes one node's causes away."""
    size = len(weights)
    weights, given = weights.copy(), disturbances.copy()
    if set_to is not None:
        weights[:, set_to[0]] = 0
        given[:, set_to[0]] = set_to[1]
    return given @ np.linalg.inv(np.eye(size) - weights)


def surveyed(weights, seed=0, roles=100, noise=0.2, level=2.0, hits=0.0, sides=(1.0, -1.0)):
    """A table as a survey gives it: every role unsteered, and with each value set to ±level.

    hits: how far steering moves other values directly, standard deviation.
    """
    rng = np.random.default_rng(seed)
    size = len(weights)
    values = tuple(f"v{number}" for number in range(size))
    disturbances = rng.normal(size=(roles, size))
    tables, contexts = [draw(weights, disturbances)], [Context("unsteered")]
    for node in range(size):
        for side in sides:
            off = rng.normal(size=size) * hits * side
            off[node] = 0
            tables.append(draw(weights, disturbances + off, (node, side * level)))
            contexts.append(Context(f"prompt {values[node]} {side:+g}", values[node], side, "prompt"))
    scores = np.concatenate(tables) + noise * rng.normal(size=(len(tables) * roles, size))
    return ScoreTable(
        values, scores, np.tile(np.arange(roles), len(tables)), np.repeat(np.arange(len(tables)), roles),
        tuple(f"r{number}" for number in range(roles)), tuple(contexts),
    )  # fmt: skip
