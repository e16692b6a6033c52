"""`ValueGraph`: a causal value graph with everything that says how far to believe it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.artifacts import canonical_json, plain, read_folder, write_folder
from nnvalue.causal.comparing import PERMUTATIONS, Comparison, compare
from nnvalue.causal.marks import CIRCLE, HEAD, TAIL, circles, descendants, heads, skeleton
from nnvalue.errors import ArtifactError, InvalidInputError

KIND = "graph"
_SCHEMA = 1
_ENDS = {(TAIL, HEAD): "→", (TAIL, TAIL): "—", (HEAD, HEAD): "↔", (CIRCLE, HEAD): "o→", (CIRCLE, CIRCLE): "o—o",
         (CIRCLE, TAIL): "o—"}  # fmt: skip
_ARRAYS = ("marks", "weights", "edge_frequency", "arrow_frequency", "total", "total_low", "total_high")
_REFUSAL = (
    "A graph is not shown without its stability: this one was fitted with fewer than two resamples; fit it with some "
    "(fit_graph(..., resamples=200))."
)


@dataclass(frozen=True)
class Halves:
    """How alike the graphs of two halves of the data are, over several ways of halving.

    skeleton, direction: mean F1; low, high: the 2.5 and 97.5 % quantiles over the ways; chance: with shuffled names.
    shd: mean structural Hamming distance.
    ways: how many; why: why there are none.
    """

    skeleton: float = float("nan")
    skeleton_low: float = float("nan")
    skeleton_high: float = float("nan")
    skeleton_chance: float = float("nan")
    direction: float = float("nan")
    direction_low: float = float("nan")
    direction_high: float = float("nan")
    direction_chance: float = float("nan")
    shd: float = float("nan")
    ways: int = 0
    why: str = ""


@dataclass(frozen=True)
class Edge:
    """An edge as it is shown.

    kind: `→` from cause to effect, `—` without a direction, `↔` both ways, `o→` and others of FCI.
    weight: signed; of the method `effects` the direct effect for a unit of the cause, else a standardised coefficient.
    edge_frequency: share of resamples in which the two are adjacent; arrow_frequency: in which this arrow is there (of
        an edge without a direction, the larger of both ways).
    """

    cause: str
    effect: str
    kind: str
    weight: float
    edge_frequency: float
    arrow_frequency: float


@dataclass(frozen=True, eq=False)
class ValueGraph:
    """A causal value graph. Matrices are `[value, value]`, cause first.

    rule: how it was told, as JSON data.
    marks: int8, see `nnvalue.causal.marks`; weights: float64, 0 without an edge.
    edge_frequency, arrow_frequency: float64, over `resamples` bootstraps of roles.
    rows, roles, contexts: how many there were.
    by_role, by_item: split-half stability.
    total, total_low, total_high: paired total effects of steering for a unit of the target's own movement, with 95 %
        intervals over roles; NaN where nothing moves the value; None where there are none to tell.
    warnings: what a reader must know, a sentence each.
    source: JSON data on where the scores are from.
    """

    values: tuple[str, ...]
    rule: Mapping[str, Any]
    marks: np.ndarray
    weights: np.ndarray
    edge_frequency: np.ndarray
    arrow_frequency: np.ndarray
    rows: int
    roles: int
    contexts: int
    resamples: int
    seed: int
    by_role: Halves
    by_item: Halves
    total: np.ndarray | None = None
    total_low: np.ndarray | None = None
    total_high: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.values),) * 2
        for name in _ARRAYS:
            given = getattr(self, name)
            if given is not None and given.shape != shape:
                raise InvalidInputError(f"'{name}' of a graph must be of shape {shape}; it is {given.shape}.")

    @property
    def arrows(self) -> np.ndarray:
        """Arrows, bool `[cause, effect]`; of an edge that points both ways, both."""
        return heads(self.marks)

    @property
    def descendants(self) -> np.ndarray:
        """Which values lie downstream of which, bool `[value, downstream]`; the value itself is not counted."""
        found = descendants(self.arrows)
        np.fill_diagonal(found, False)
        return found

    @property
    def circles(self) -> list[list[str]]:
        """Groups of values that cause each other in a circle; empty for an acyclic graph."""
        return [[self.values[place] for place in group] for group in circles(self.arrows)]

    def edges(self) -> list[Edge]:
        """Every edge with its frequencies, the most frequent first.

        Raises InvalidInputError for a graph that was fitted without resamples.
        """
        if self.resamples < 2:
            raise InvalidInputError(_REFUSAL)
        made = []
        for i, j in np.argwhere(np.triu(skeleton(self.marks))):
            # From tail to head, as one reads it.
            one, other = (i, j) if (self.marks[j, i], self.marks[i, j]) in _ENDS else (j, i)
            kind = _ENDS[int(self.marks[other, one]), int(self.marks[one, other])]
            ways = self.arrow_frequency[one, other], self.arrow_frequency[other, one]
            made.append(
                Edge(
                    self.values[one], self.values[other], kind, float(self.weights[one, other]),
                    float(self.edge_frequency[i, j]), float(ways[0] if "→" in kind else max(ways)),
                )
            )  # fmt: skip
        return sorted(made, key=lambda edge: (-edge.edge_frequency, edge.cause, edge.effect))

    def compare(self, other: ValueGraph | np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Comparison:
        """How alike it is to another graph, or to marks, of the same values.

        Raises InvalidInputError for a graph of other values.
        """
        if isinstance(other, ValueGraph):
            if set(other.values) != set(self.values):
                raise InvalidInputError(
                    f"Graphs are compared on the same values; one is of {', '.join(self.values)}, the other of "
                    f"{', '.join(other.values)}."
                )
            at = [other.values.index(value) for value in self.values]
            other = other.marks[np.ix_(at, at)]
        return compare(self.marks, other, permutations=permutations, seed=seed)

    def to_networkx(self) -> Any:
        """A `networkx.DiGraph` with weight, kind and frequencies on its arrows; an edge without a direction is both.

        Raises InvalidInputError for a graph that was fitted without resamples.
        """
        import networkx

        graph = networkx.DiGraph(method=self.rule["method"], rows=self.rows, roles=self.roles)
        graph.add_nodes_from(self.values)
        for edge in self.edges():
            told = {name: one for name, one in asdict(edge).items() if name not in ("cause", "effect")}
            graph.add_edge(edge.cause, edge.effect, **told)
            if edge.kind in ("—", "↔", "o—o"):
                graph.add_edge(edge.effect, edge.cause, **told)
        return graph

    def __str__(self) -> str:
        head = (
            f"A causal value graph of {len(self.values)} values by {self.rule['method']}, from {self.rows} rows of "
            f"{self.roles} roles in {self.contexts} contexts"
        )
        if self.resamples < 2:
            return f"{head}. {_REFUSAL}"
        lines = [
            f"  {edge.cause} {edge.kind} {edge.effect}  {edge.weight:+.2f}  edge {edge.edge_frequency:.2f}, arrow "
            f"{edge.arrow_frequency:.2f}"
            for edge in self.edges()
        ]
        return "\n".join([f"{head}; frequencies over {self.resamples} bootstraps of roles.", *lines, *self.stability()])

    __repr__ = __str__

    def stability(self) -> list[str]:
        """Two sentences: how alike the graphs of two halves of the roles are, and of the items."""
        return [f"Halves of the {what}: {_told(halves)}" for what, halves in
                (("roles", self.by_role), ("items", self.by_item))]  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {
            "values": list(self.values), "rule": dict(self.rule),
            **{name: None if one is None else _listed(one) for name, one in arrays.items()},
            **{name: getattr(self, name) for name in ("rows", "roles", "contexts", "resamples", "seed")},
            **{name: plain(asdict(getattr(self, name))) for name in ("by_role", "by_item")},
            "warnings": list(self.warnings), "source": dict(self.source),
        }  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write a folder of JSON and a README, as a whole or not at all. Raises ArtifactError."""
        files = {
            "graph.json": canonical_json({"schema": _SCHEMA, **self.as_json()}),
            "README.md": _CARD.format(told=self, warnings="\n".join(f"- {one}" for one in self.warnings) or "none",
                                      rule=canonical_json(dict(self.rule)).decode().rstrip()).encode(),
        }  # fmt: skip
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> ValueGraph:
        """Open a saved graph. Raises ArtifactError if it is missing, foreign, incomplete or damaged."""
        files = read_folder(Path(folder), KIND)
        try:
            raw = json.loads(files["graph.json"])
            if raw.pop("schema") != _SCHEMA:
                raise ArtifactError(f"{folder} was written by another version of nnvalue; fit the graph again.")
            for name in _ARRAYS:
                if raw[name] is not None:
                    kind = np.int8 if name == "marks" else np.float64
                    raw[name] = np.array([[np.nan if one is None else one for one in row] for row in raw[name]], kind)
            for name in ("by_role", "by_item"):
                halves: dict[str, Any] = {key: np.nan if one is None else one for key, one in raw[name].items()}
                raw[name] = Halves(**halves)
            return cls(**{**raw, "values": tuple(raw["values"]), "warnings": tuple(raw["warnings"])})
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{folder} is no whole graph ({' '.join(str(error).split())}).") from None


def _told(halves: Halves) -> str:
    if not halves.ways:
        return f"not told; {halves.why}"
    return (
        f"skeleton F1 {halves.skeleton:.2f} [{halves.skeleton_low:.2f} – {halves.skeleton_high:.2f}] (chance "
        f"{halves.skeleton_chance:.2f}), direction F1 {halves.direction:.2f} [{halves.direction_low:.2f} – "
        f"{halves.direction_high:.2f}] (chance {halves.direction_chance:.2f}), SHD {halves.shd:.1f}; {halves.ways} ways"
    )


def _listed(array: np.ndarray) -> list[list[Any]]:
    return [[one if np.isfinite(one) else None for one in row] for row in array.tolist()]


def named_arrows(graph: np.ndarray, values: Sequence[str]) -> list[tuple[str, str]]:
    """Arrows bool `[cause, effect]` by name, row by row."""
    return [(values[i], values[j]) for i, j in np.argwhere(graph)]


_CARD = """\
---
library_name: nnvalue
tags: [values, causal-graph]
---
# A causal value graph

```
{told}
```

Warnings: {warnings}

## How it was told
```json
{rule}
```

## How to open it
```python
from nnvalue.causal import ValueGraph
graph = ValueGraph.load("this folder")
graph.edges()
```
"""
