"""What Kang et al. (ACL Findings 2025) published of Gemma-2B-IT: correlations behind the graph, and its arrows."""

import json
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[3] / "shared" / "data" / "value_causal_graph"
FIGURES = json.loads((Path(__file__).parent / "published_gemma.json").read_text())
VALUES, N, CONTEXTS = tuple(FIGURES["values"]), FIGURES["n"], FIGURES["contexts"]
_ONE_WAY = """
Empathy > Achievement, Aesthetic, Economic
Resilience > Achievement, Anxiety Disorder
Anxiety Disorder > Aesthetic
Breadth of Interest > Anxiety Disorder
Theoretical > Anxiety Disorder, Empathy
Religious > Breadth of Interest, Empathy, Political
Uncertainty Avoidance > Breadth of Interest, Social Cynicism, Theoretical
Understanding > Breadth of Interest, Social Cynicism
Social Cynicism > Empathy, Resilience
Social > Political
Social Complexity > Resilience, Theoretical
"""
_BOTH_WAYS = (
    ("Organization", "Positive coping"), ("Positive coping", "Religious"), ("Social", "Uncertainty Avoidance"),
)  # fmt: skip
ARROWS = {
    (cause.strip(), effect.strip())
    for line in _ONE_WAY.strip().splitlines()
    for cause, effects in [line.split(">")]
    for effect in effects.split(",")
} | {pair for one, other in _BOTH_WAYS for pair in ((one, other), (other, one))}


def correlations():
    lower = FIGURES["correlations"]
    made = np.eye(len(VALUES))
    for row, cells in enumerate(lower):
        made[row, : len(cells)] = made[: len(cells), row] = cells
    return made


def scores_file(part="train"):
    file = DATA / f"ans_gemma_{part}_formal.csv"
    if not file.is_file():
        pytest.skip("the published scores do not lie beside this checkout (shared/data/value_causal_graph)")
    return file
