"""Sparse autoencoders: opening other people's, what they make of a model's activations, and features of values."""

from nnvalue.sae.dictionary import ARCHITECTURES, SparseAutoencoder
from nnvalue.sae.features import ValueFeature, ValueFeatures
from nnvalue.sae.locating import checked_site, contrast, locate_features, sae_facts

__all__ = [
    "ARCHITECTURES",
    "SparseAutoencoder",
    "ValueFeature",
    "ValueFeatures",
    "checked_site",
    "contrast",
    "locate_features",
    "sae_facts",
]
