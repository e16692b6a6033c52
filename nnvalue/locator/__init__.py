"""Locating: collect → statistics → score → rank → `ValueNeurons`."""

from nnvalue.locator.collect import gather_contrasts, gather_readings
from nnvalue.locator.moments import Moments
from nnvalue.locator.pipeline import LocateConfig, locate
from nnvalue.locator.quantiles import exact_quantiles
from nnvalue.locator.readings import Reading
from nnvalue.locator.score import Scores, firing_difference, split_half_reliability
from nnvalue.locator.select import Selection, Threshold, TopK, select_neurons

__all__ = [
    "LocateConfig",
    "Moments",
    "Reading",
    "Scores",
    "Selection",
    "Threshold",
    "TopK",
    "exact_quantiles",
    "firing_difference",
    "gather_contrasts",
    "gather_readings",
    "locate",
    "select_neurons",
    "split_half_reliability",
]
