"""The embedded model organism: its weights, and the grammar and parser of its language."""

from importlib import resources
from pathlib import Path

from nnvalue.organism.corpus import Corpus, Example, WrittenText
from nnvalue.organism.parser import Reading, parse

__all__ = ["Corpus", "Example", "Reading", "WrittenText", "folder", "parse"]


def folder() -> Path:
    """Where the organism's weights, tokenizer and model card lie: an ordinary transformers checkpoint."""
    return Path(str(resources.files(__package__) / "model"))
