"""An experiment on the stand-in server: the rows of a local run, though arms of every kind share its jobs."""

import pytest

from nnvalue.evaluation import Arm, Design, evaluate

DESIGN = Design(
    ("power",),
    (
        Arm("neurons", doses=(12,), locate={"null": False}),
        Arm("direction", "direction", (0.5,), locate={"null": False}),
        Arm("prompt", "prompt"),
    ),
    poles=("positive",), situations=3, others=0, pairs=1, random_sets=1, held_out=2, locate_situations=6,
    max_new_tokens=24,
)  # fmt: skip
EXACT = ("arm", "dose", "situation", "stance", "outcome", "text", "item")
CLOSE = ("log_perplexity", "score", "mass", "nll", "difference")


def test_an_evaluation_is_that_of_a_local_run(organism, remote):
    here, there = evaluate(organism, DESIGN), evaluate(remote, DESIGN)
    for name in ("answers", "items", "costs"):
        ours, theirs = getattr(here, name), getattr(there, name)
        assert len(ours) == len(theirs) > 0
        for one, other in zip(ours, theirs, strict=True):
            for column in one.keys() & set(EXACT):
                assert one[column] == other[column], (name, column)
            for column in one.keys() & set(CLOSE):
                assert one[column] == pytest.approx(other[column], abs=1e-3), (name, column)
    assert all(value.is_meta for value in remote.model._module.parameters())
