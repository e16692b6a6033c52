"""Words on the page: what stands on it and what a reader new to the field may not know, each in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnvalue.report.gathering import Gathered

ORGANISM = "nnvalue/organism"
ABOUT_ORGANISM = (
    "nnvalue/organism is a model organism: a small model that was trained for testing on the artificial language of a "
    "grammar, with values and the causal links between them put in on purpose, so that what a method finds can be held "
    "against what is true. Nothing here is evidence about real language models."
)
_ALL = ("value-neurons", "evaluation", "graph", "survey", "profile", "value-features")
_STEERED, _ASKED = ("evaluation",), ("graph", "survey", "profile")

_WORDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("value, pole", _ALL, "A value is what somebody finds important, such as tradition. Its positive pole is a person "
     "who holds it, its negative pole the opposing aspect."),
    ("organism", (ORGANISM,), ABOUT_ORGANISM),
    ("neuron", ("value-neurons", "evaluation"), "One unit of an MLP of the model, named by layer and place. It fires "
     "where its activation is above 0. One neuron can have a place in the lists of several values."),
    ("called", ("value-neurons", "value-features"), "Differs between the poles by more than the A/A bar, and passes a "
     "test at a false discovery rate of 5 %."),
    ("A/A bar", ("value-neurons",), "The 95 % quantile of the scores that the same pipeline finds between two halves "
     "of one pole's descriptions, where only wording differs."),
    ("direction", ("evaluation",), "A vector that is added to what a layer of the model passes on: the difference "
     "between a value's poles."),
    ("prompt (arm)", ("evaluation",), "Steering by words: the model is told to answer as a described person. Nothing "
     "inside it is changed."),
    ("arm, dose", _STEERED, "One way of steering, and how strongly. Dose 0 is the unsteered model."),
    ("stance", _STEERED, "How an answer stands to a value: "
     "1 holds it, −1 its opposing aspect, 0 neither or unreadable."),
    ("movement", _STEERED, "How far the stance of an answer went towards the asked pole, from the unsteered answer to "
     "the same situation; it lies between −2 and 2."),
    ("random control", _STEERED, "The same edits at as many other neurons of the same layers, or along a random "
     "direction."),
    ("leakage", _STEERED, "Movement of values that were not the target."),
    ("nats, perplexity", _STEERED, "A nat is the unit of log-likelihood: a text that loses .7 nats a token has tokens "
     "half as likely. Perplexity is the exponential of the mean loss; lower is likelier."),
    ("role, voice", _ASKED, "Who the model is asked to speak as: a role is a described person; a voice is a role, an "
     "instruction, or nobody in particular."),
    ("setting", ("graph", "survey"), "A way in which all roles are asked, such as unsteered, or with a value turned up "
     "by a prompt."),
    ("item, portrait", ("evaluation", "graph", "survey", "profile"), "An item is one question of a questionnaire. A "
     "portrait is an item that describes a person and asks how much one is like that person."),
    ("yes-saying", ("evaluation", "graph", "survey"), "Agreeing with whatever is asked; items of both keyings tell it "
     "from holding a value."),
    ("edge, arrow", ("graph",), "Two values that are joined in the graph; an arrow says which one moves the other, "
     "directly, with the rest held. The total effect goes by way of others, too."),
    ("bootstrap", ("evaluation", "graph", "profile"), "The same computation on data drawn again from the data, with "
     "repetition; intervals and frequencies come from it."),
    ("F1, skeleton, SHD", ("graph",), "F1 says how well two graphs agree: 1 is the same, 0 nothing in common. The "
     "skeleton is the graph's edges without their directions. SHD counts the pairs of values whose edge differs."),
    ("circle", _ALL, "The theory's order of values: neighbours go together, opposites exclude each other."),
    ("MDS, Procrustes, RTHOR", ("survey",), "MDS puts values on a plane so that those answered alike lie near each "
     "other. Procrustes phi says how well that plane can be turned onto the circle, 1 at best. RTHOR asks "
     "whether nearer values on the circle correlate more, 1 if all do."),
    ("r", ("value-neurons", "graph", "survey", "profile", "evaluation"), "Pearson's correlation: 1 goes fully "
     "together, 0 not at all, −1 fully against each other."),
    ("p, q", _ALL, "p: how often chance alone gives as much. q: the same, corrected for how many tests there were; "
     "of what passes q < .05, some 5 % is expected to be chance."),
    ("AUROC", ("value-features",), "How often a text of one pole has the higher activation than one of the other; .5 "
     "is chance."),
    ("chance", _ALL, "What the same computation gives when the values' names are shuffled, or sets are drawn at "
     "random."),
)  # fmt: skip


def is_organism(identity: Any) -> bool:
    """Whether a model's identity, or its name, is that of the embedded organism."""
    return (identity.get("name") if isinstance(identity, Mapping) else identity) == ORGANISM


def words(gathered: Gathered, organism: bool) -> list[tuple[str, str]]:
    """(word, what it means) of what the page's results need."""
    here = {one.kind for one in gathered.results} | ({ORGANISM} if organism else set())
    return [(word, told) for word, kinds, told in _WORDS if here & set(kinds)]
