"""Making a new edition of the dataset with a language model."""

from nnvalue.builder.building import BuiltEdition, build_edition
from nnvalue.builder.config import DOMAINS, BuildConfig

__all__ = ["DOMAINS", "BuildConfig", "BuiltEdition", "build_edition"]
