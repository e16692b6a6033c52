"""Sparse autoencoders: opening other people's, and what they make of a model's activations."""

from nnvalue.sae.dictionary import ARCHITECTURES, SparseAutoencoder

__all__ = ["ARCHITECTURES", "SparseAutoencoder"]
