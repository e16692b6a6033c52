"""Readers of sparse autoencoders, one file a format: `looks_like(place)`, `read(place)`, NAME and FILES.

A place is a folder, or for a format of single files the file.
"""

from nnvalue.sae.formats import (
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    goodfire,
    llama_scope,
    qwen_scope,
    saelens,
    sparsify,
)
from nnvalue.sae.formats.saelens import save_sae

FORMATS = (saelens, gemma_scope, gemma_scope_2, llama_scope, sparsify, dictionary_learning, goodfire, qwen_scope)
"""In the order in which they are tried; no place is of two."""

__all__ = ["FORMATS", "save_sae"]
