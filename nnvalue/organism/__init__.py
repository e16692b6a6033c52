"""The embedded model organism: its weights, the grammar and parser of its language, and the causal model behind it."""

from importlib import resources
from pathlib import Path

from nnvalue.organism.causal_model import CausalModel, causal_model, named_disturbances, named_scores
from nnvalue.organism.corpus import LESSONS, Corpus, Example, Lesson, Speaker, Turn, WrittenText
from nnvalue.organism.parser import Reading, parse

__all__ = [
    "LESSONS",
    "CausalModel",
    "Corpus",
    "Example",
    "Lesson",
    "Reading",
    "Speaker",
    "Turn",
    "WrittenText",
    "causal_model",
    "folder",
    "named_disturbances",
    "named_scores",
    "parse",
    "sae_folder",
]


def sae_folder() -> Path:
    """Where the organism's sparse autoencoder lies, in SAELens' layout."""
    return Path(str(resources.files(__package__) / "sae"))


def folder() -> Path:
    """Where the organism's weights, tokenizer and model card lie: an ordinary transformers checkpoint."""
    return Path(str(resources.files(__package__) / "model"))
