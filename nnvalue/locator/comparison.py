"""Results of several methods side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnvalue.findings import ValueNeurons


def comparison_table(found: Mapping[str, ValueNeurons]) -> dict[str, Any]:
    """How reliable methods are, how much they call, and how much they agree; means over the values.

    Args:
        found: by method, as `compare_methods` gives it: the same values of the same model.

    Returns:
        `methods`, for each method `split_half_r`, `called` and `selected` (shares of all neurons) and
        `selected_called` (share of the selected ones that are called), None where nothing is defined: no second fold,
        or no test; `overlap`, the Jaccard overlap of the methods' selected neurons with their poles,
        `[method][method]`; and `correlation`, the Pearson correlation of their score maps, `[method][method]`, None
        where a map is flat.
    """
    methods = {}
    for name, one in found.items():
        facts = [one.config["counts"][value] for value in one.values]
        tested = all(fact["significance"] is not None for fact in facts)
        methods[name] = {
            "split_half_r": _mean([fact["split_half_r"] for fact in facts]),
            "called": float(one.maps["called"].mean()) if tested else None,
            "selected": len(one) / one.maps["called"].size,
            "selected_called": float(one.columns["called"].mean()) if tested and len(one) else None,
        }
    return {
        "methods": methods,
        "overlap": [[_overlap(one, other) for other in found.values()] for one in found.values()],
        "correlation": [[_correlation(one, other) for other in found.values()] for one in found.values()],
    }


def _overlap(one: ValueNeurons, other: ValueNeurons) -> float:
    shares = []
    for value in one.values:
        mine, theirs = ({row[1:4] for row in found.top(value, n=len(found))} for found in (one, other))
        shares.append(len(mine & theirs) / max(1, len(mine | theirs)))
    return float(np.mean(shares))


def _correlation(one: ValueNeurons, other: ValueNeurons) -> float | None:
    pairs = zip(one.maps["score"], other.maps["score"], strict=True)
    return _mean([_pearson(mine.ravel(), theirs.ravel()) for mine, theirs in pairs])


def _pearson(one: np.ndarray, other: np.ndarray) -> float | None:
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else None


def _mean(numbers: list[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return None if len(known) < len(numbers) else float(np.mean(known))
