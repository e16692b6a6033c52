"""The methods of discovery: each makes marks and weights of a table of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnvalue.causal.background import Background, Knowledge
from nnvalue.causal.effects import SMALLEST, direct_effects, total_effects
from nnvalue.causal.libraries import LIBRARY_METHODS
from nnvalue.causal.marks import both_ways, heads, marks_of_arrows, reduced_as_published
from nnvalue.causal.pc_algorithm import pc
from nnvalue.causal.scores import ScoreTable
from nnvalue.errors import InvalidInputError, UnknownNameError

ROWS = ("pooled", "unsteered", "within")
"""Which rows are taken: all as they are, those of the unsteered context, or all with each context's means taken off."""


@dataclass(frozen=True)
class Rule:
    """How a graph is told.

    method: a name in `METHODS`.
    alpha: of every independence test; None for the method's own.
    rows: one of `ROWS`; None for the method's own.
    background: what is known beforehand.
    deepest: nodes in a separating set at most; None for the method's own.
    smallest: of the method `effects`: direct effects below it are not drawn.
    """

    method: str = "jci"
    alpha: float | None = None
    rows: str | None = None
    background: Background = field(default_factory=Background)
    deepest: int | None = None
    smallest: float = SMALLEST

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnknownNameError("method", str(self.method), METHODS)
        if self.rows is not None and self.rows not in ROWS:
            raise UnknownNameError("choice of rows", str(self.rows), ROWS)
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise InvalidInputError(f"alpha lies between 0 and 1, {self.alpha} given.")
        if self.deepest is not None and self.deepest < 0:
            raise InvalidInputError(f"deepest is a number of nodes, {self.deepest} given.")
        method = METHODS[self.method]
        for name in ("alpha", "rows", "deepest"):
            if getattr(self, name) is not None and getattr(method, name) is None:
                raise InvalidInputError(f"The method '{self.method}' has no setting '{name}'; leave it out.")
        if self.background and not method.knows:
            raise InvalidInputError(
                f"The method '{self.method}' takes no background knowledge; leave it out, or use one that does: "
                f"{', '.join(name for name, one in METHODS.items() if one.knows)}."
            )

    def settled(self) -> dict[str, Any]:
        """Every setting as it is used, as JSON data; None for what the method does not have."""
        method = METHODS[self.method]
        own = {name: getattr(self, name) if getattr(self, name) is not None else getattr(method, name)
               for name in ("alpha", "rows", "deepest")}  # fmt: skip
        return {
            "method": self.method, **own, "background": self.background.as_json(),
            "smallest": self.smallest if self.method == "effects" else None,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Estimate:
    """Marks int8 and weights float64, both `[value, value]`, cause first; 0 where there is no edge."""

    marks: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Method:
    """A method of discovery, with its own settings; None for one that it does not have."""

    title: str
    run: Callable[[ScoreTable, Mapping[str, Any], Knowledge], Estimate]
    alpha: float | None = None
    rows: str | None = None
    deepest: int | None = None
    knows: bool = False


def estimate(table: ScoreTable, rule: Rule) -> Estimate:
    """The graph that a rule tells from a table, which `check_table` has passed."""
    settled = rule.settled()
    if settled["rows"] == "unsteered":
        table = table.unsteered()
    elif settled["rows"] == "within":
        table = table.within()
    return METHODS[rule.method].run(table, settled, rule.background.knowledge(table.values))


def _paper(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> Estimate:
    """PC on pooled rows; what has no direction points both ways; the published transitive reduction."""
    found = pc(np.corrcoef(table.scores.T), len(table.scores), settled["alpha"], knowledge, _depth(settled))
    marks = marks_of_arrows(reduced_as_published(both_ways(found)))
    return Estimate(marks, _weights(table.scores, marks))


def _pc(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> Estimate:
    marks = pc(np.corrcoef(table.scores.T), len(table.scores), settled["alpha"], knowledge, _depth(settled))
    return Estimate(marks, _weights(table.scores, marks))


def _jci(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> Estimate:
    """PC with a node for every context: Joint Causal Inference (Mooij, Magliacane and Claassen 2020, JMLR 21).

    No value causes a context, and contexts do not cause each other. A base context has no node: it is where all are 0.
    """
    count = len(table.values)
    given = [place for place in range(len(table.contexts)) if table.contexts[place].kind != "none"]
    if not given:
        raise InvalidInputError("The method jci needs contexts, and nothing was steered; use the method pc.")
    nodes = np.column_stack([table.scores, *(table.context == place for place in given)])
    size = nodes.shape[1]
    forbidden, required = np.zeros((size, size), dtype=bool), np.zeros((size, size), dtype=bool)
    forbidden[:count, :count], required[:count, :count] = knowledge.forbidden, knowledge.required
    forbidden[:, count:] = True
    marks = pc(
        np.corrcoef(nodes.T), len(nodes), settled["alpha"], Knowledge(forbidden, required), _depth(settled)
    )  # fmt: skip
    return Estimate(marks[:count, :count], _weights(nodes, marks)[:count, :count])


def _effects(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> Estimate:
    direct, drawn = direct_effects(total_effects(table), settled["smallest"])
    drawn = (drawn & ~knowledge.forbidden) | knowledge.required
    return Estimate(marks_of_arrows(drawn), np.where(drawn, direct, 0.0))


def _library(name: str) -> Callable[[ScoreTable, Mapping[str, Any], Knowledge], Estimate]:
    def run(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> Estimate:
        marks = LIBRARY_METHODS[name](table, settled, knowledge)
        return Estimate(marks, _weights(table.scores, marks))

    return run


METHODS: dict[str, Method] = {
    "jci": Method("PC with a node for every context", _jci, 0.01, None, 3, True),
    "effects": Method("inverted total effects of steering", _effects, knows=True),
    "paper": Method("PC on pooled rows and transitive reduction, as published", _paper, 0.05, "pooled", -1, True),
    "pc": Method("PC", _pc, 0.05, "unsteered", -1, True),
    "boss": Method("BOSS, best order score search", _library("boss"), rows="unsteered"),
    "ges": Method("GES, greedy equivalence search", _library("ges"), rows="unsteered"),
    "fci": Method("FCI, with unmeasured causes", _library("fci"), 0.05, "unsteered", -1, True),
    "lingam": Method("DirectLiNGAM, for noise that is not normal", _library("lingam"), rows="unsteered"),
}
"""Every method, the default first; `boss`, `ges`, `fci` and `lingam` come from the extra `causal-learn`."""


def _depth(settled: Mapping[str, Any]) -> int | None:
    """Nodes in a separating set at most; −1 stands for any number."""
    return None if settled["deepest"] in (None, -1) else settled["deepest"]


def _weights(scores: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Standardised coefficients of each node's regression on all that point to it; float64 `[cause, effect]`.

    Of an edge without a direction, those of either end on the other, with what points to it held fixed.
    """
    standard = (scores - scores.mean(0)) / scores.std(0)
    weights = np.zeros(marks.shape)
    arrows = heads(marks) | ((marks != 0) & ~heads(marks) & ~heads(marks).T)
    for effect in range(len(marks)):
        causes = np.flatnonzero(arrows[:, effect])
        if len(causes):
            weights[causes, effect] = np.linalg.lstsq(standard[:, causes], standard[:, effect], rcond=None)[0]
    return weights
