"""nnvalue: locate human values in the neurons of a language model."""

__version__ = "0.1.0"
