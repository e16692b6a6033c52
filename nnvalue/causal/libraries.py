"""Methods of the library causal-learn (MIT), an extra, imported when one of them is used."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnvalue.causal.background import Knowledge
from nnvalue.causal.marks import CIRCLE, HEAD, NOTHING, TAIL, marks_of_arrows
from nnvalue.causal.scores import ScoreTable
from nnvalue.errors import InvalidInputError

_MARKS = {0: NOTHING, -1: TAIL, 1: HEAD, 2: CIRCLE}
_TINY = 1e-9


def _boss(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> np.ndarray:
    """BOSS (Andrews et al. 2023) on BIC."""
    from causallearn.search.PermutationBased.BOSS import boss

    before = random.getstate()
    random.seed(0)  # the library draws its orders from the global stream
    try:
        return _from_library(boss(table.scores, "local_score_BIC_from_cov").graph)
    finally:
        random.setstate(before)


def _ges(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> np.ndarray:
    """GES (Chickering 2002) on BIC."""
    from causallearn.search.ScoreBased.GES import ges

    return _from_library(ges(table.scores, "local_score_BIC")["G"].graph)


def _fci(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> np.ndarray:
    """FCI (Spirtes, Meek and Richardson 1995) with Fisher's z."""
    from causallearn.search.ConstraintBased.FCI import fci
    from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge

    known = None
    if knowledge.forbidden.any() or knowledge.required.any():
        from causallearn.graph.GraphNode import GraphNode

        nodes = [GraphNode(f"X{number + 1}") for number in range(len(table.values))]  # as the library names them
        known = BackgroundKnowledge()
        for cause, effect in np.argwhere(knowledge.forbidden):
            known.add_forbidden_by_node(nodes[cause], nodes[effect])
        for cause, effect in np.argwhere(knowledge.required):
            known.add_required_by_node(nodes[cause], nodes[effect])
    graph, _ = fci(
        table.scores, "fisherz", settled["alpha"], depth=settled["deepest"], background_knowledge=known,
        show_progress=False,
    )  # fmt: skip
    return _from_library(graph.graph)


def _lingam(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> np.ndarray:
    """DirectLiNGAM (Shimizu et al. 2011); coefficients that its adaptive lasso leaves at 0 are no arrows."""
    from causallearn.search.FCMBased.lingam import DirectLiNGAM

    model = DirectLiNGAM()
    model.fit(table.scores)
    return marks_of_arrows(np.abs(np.asarray(model.adjacency_matrix_)).T > _TINY)


def _from_library(graph: np.ndarray) -> np.ndarray:
    """Marks of the library's matrix, whose entry [j, i] is the mark at j's end of the edge between i and j."""
    made = np.zeros(graph.shape, dtype=np.int8)
    for theirs, ours in _MARKS.items():
        made[theirs == graph.T] = ours
    return made


def _quietly(
    run: Callable[[ScoreTable, Mapping[str, Any], Knowledge], np.ndarray],
) -> Callable[[ScoreTable, Mapping[str, Any], Knowledge], np.ndarray]:
    """Some of the library's searches print; and it may not be there."""

    def quiet(table: ScoreTable, settled: Mapping[str, Any], knowledge: Knowledge) -> np.ndarray:
        try:
            import causallearn  # noqa: F401
        except ImportError:
            raise InvalidInputError(
                "This method comes from the library causal-learn: pip install 'nnvalue[causal-learn]'."
            ) from None
        with contextlib.redirect_stdout(io.StringIO()):
            return run(table, settled, knowledge)

    return quiet


LIBRARY_METHODS = {"boss": _quietly(_boss), "ges": _quietly(_ges), "fci": _quietly(_fci), "lingam": _quietly(_lingam)}
