"""Locating: collect → statistics → score → significance → rank → `ValueNeurons`."""

from nnvalue.locator.collect import gather_contrasts, gather_readings
from nnvalue.locator.comparison import comparison_table
from nnvalue.locator.config import LocateConfig
from nnvalue.locator.likeness import between_values, shared_share
from nnvalue.locator.methods import Evidence, Method, get_method, method_names, register_method
from nnvalue.locator.moments import Moments
from nnvalue.locator.pipeline import compare_methods, locate
from nnvalue.locator.quantiles import exact_quantiles
from nnvalue.locator.readings import Reading
from nnvalue.locator.score import cohens_d, split_half_reliability
from nnvalue.locator.select import Selection, Threshold, TopK, select_neurons
from nnvalue.locator.universal import universal_neurons

__all__ = [
    "Evidence",
    "LocateConfig",
    "Method",
    "Moments",
    "Reading",
    "Selection",
    "Threshold",
    "TopK",
    "between_values",
    "cohens_d",
    "compare_methods",
    "comparison_table",
    "exact_quantiles",
    "gather_contrasts",
    "gather_readings",
    "get_method",
    "locate",
    "method_names",
    "register_method",
    "select_neurons",
    "shared_share",
    "split_half_reliability",
    "universal_neurons",
]
