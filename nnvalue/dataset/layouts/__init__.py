"""The layouts that other people publish their data in: one reader each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from nnvalue.dataset.layouts import personalitybench, valuebench, valueportrait
from nnvalue.dataset.layouts.source import Placed, Source

LAYOUTS: Mapping[str, Callable[[Path], Source]] = MappingProxyType(
    {
        "personalitybench": personalitybench.read,
        "valuebench": valuebench.read,
        "valueportrait": valueportrait.read,
    }
)
"""Name -> reader. A reader takes a path and raises DatasetError where nothing in its layout lies there."""

__all__ = ["LAYOUTS", "Placed", "Source"]
