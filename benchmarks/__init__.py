"""Ratios against bare transformers and peers. Run them from the repository root: `python -m benchmarks.collect`."""
