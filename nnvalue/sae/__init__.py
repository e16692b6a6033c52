"""Sparse autoencoders: opening other people's, what they make of a model's activations, and features of values."""

from nnvalue.sae.activations import response_activations
from nnvalue.sae.checking import SaeQuality, check_sae, place_sae
from nnvalue.sae.dictionary import ARCHITECTURES, SparseAutoencoder
from nnvalue.sae.features import ValueFeature, ValueFeatures
from nnvalue.sae.formats import save_sae
from nnvalue.sae.locating import contrast, locate_features, sae_facts
from nnvalue.sae.opening import open_sae
from nnvalue.sae.scores import active_at, output_scores
from nnvalue.sae.training import train_sae

__all__ = [
    "ARCHITECTURES",
    "SaeQuality",
    "SparseAutoencoder",
    "ValueFeature",
    "ValueFeatures",
    "active_at",
    "check_sae",
    "contrast",
    "locate_features",
    "open_sae",
    "output_scores",
    "place_sae",
    "response_activations",
    "sae_facts",
    "save_sae",
    "train_sae",
]
