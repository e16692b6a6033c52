"""Causal value graphs: a survey of roles in many settings, discovery, and how far the result can be believed."""

from nnvalue.causal.background import Background, read_background
from nnvalue.causal.choosing import Choice, choose_intervention, choose_role, protected_values
from nnvalue.causal.comparing import Comparison, Measure, compare
from nnvalue.causal.effects import TotalEffects, direct_effects, total_effects
from nnvalue.causal.estimators import METHODS, ROWS, Rule, estimate
from nnvalue.causal.fitting import fit_graph
from nnvalue.causal.graph import Edge, Halves, ValueGraph
from nnvalue.causal.marks import (
    both_ways,
    circles,
    descendants,
    marks_of,
    marks_of_arrows,
    reduced,
    reduced_as_published,
)
from nnvalue.causal.pc_algorithm import pc
from nnvalue.causal.prediction import PredictionReport, PredictionScore, check_predictions, path_effects, predict
from nnvalue.causal.references import read_reference
from nnvalue.causal.scores import Context, ScoreTable, check_table, read_scores
from nnvalue.causal.settings import (
    UNSTEERED,
    Setting,
    direction_settings,
    feature_settings,
    neuron_settings,
    prompt_settings,
    published_feature_settings,
    unsteered,
)
from nnvalue.causal.side_effects import (
    SideEffects,
    ValueSideEffects,
    context_differences,
    over_roles,
    role_differences,
    side_effects,
)
from nnvalue.causal.structure import Structure, StructureMeasure, of_correlations, read_people, structure
from nnvalue.causal.survey import Survey, SurveyItem
from nnvalue.causal.surveying import PROTOCOLS, survey
from nnvalue.causal.yes_no import YesNo, read_answer

__all__ = [
    "METHODS",
    "PROTOCOLS",
    "ROWS",
    "UNSTEERED",
    "Background",
    "Choice",
    "Comparison",
    "Context",
    "Edge",
    "Halves",
    "Measure",
    "PredictionReport",
    "PredictionScore",
    "Rule",
    "ScoreTable",
    "Setting",
    "SideEffects",
    "Structure",
    "StructureMeasure",
    "Survey",
    "SurveyItem",
    "TotalEffects",
    "ValueGraph",
    "ValueSideEffects",
    "YesNo",
    "both_ways",
    "check_predictions",
    "check_table",
    "choose_intervention",
    "choose_role",
    "circles",
    "compare",
    "context_differences",
    "descendants",
    "direct_effects",
    "direction_settings",
    "estimate",
    "feature_settings",
    "fit_graph",
    "marks_of",
    "marks_of_arrows",
    "neuron_settings",
    "of_correlations",
    "over_roles",
    "path_effects",
    "pc",
    "predict",
    "prompt_settings",
    "protected_values",
    "published_feature_settings",
    "read_answer",
    "read_background",
    "read_people",
    "read_reference",
    "read_scores",
    "reduced",
    "reduced_as_published",
    "role_differences",
    "side_effects",
    "structure",
    "survey",
    "total_effects",
    "unsteered",
]
