"""Experiments: arms, doses and readouts side by side, with controls: what moves, what else, and what it costs."""

from nnvalue.evaluation.design import PRESETS, Arm, Design, preset, read_design
from nnvalue.evaluation.evaluating import Evaluation, evaluate
from nnvalue.evaluation.feature_ranking import rank_features
from nnvalue.evaluation.leakage import Leakage, against_people, along_the_circle, leakage
from nnvalue.evaluation.matched import Matched, matched
from nnvalue.evaluation.statistics import DoseResponse, Effect, adjusted, dose_response, effect, pareto_front
from nnvalue.evaluation.tables import Tables, tables_of

__all__ = [
    "PRESETS",
    "Arm",
    "Design",
    "DoseResponse",
    "Effect",
    "Evaluation",
    "Leakage",
    "Matched",
    "Tables",
    "adjusted",
    "against_people",
    "along_the_circle",
    "dose_response",
    "effect",
    "evaluate",
    "leakage",
    "matched",
    "pareto_front",
    "preset",
    "rank_features",
    "read_design",
    "tables_of",
]
