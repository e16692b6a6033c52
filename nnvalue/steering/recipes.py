"""A recipe: which neurons are edited, how, and by how much at dose 1; and how a dose becomes compiled edits."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nnvalue.errors import InvalidInputError, ModelError, UnknownNameError
from nnvalue.models import SITES, Anatomy
from nnvalue.steering_protocol import Edits

OPS = ("add", "scale", "set", "cap", "floor", "clear")
"""What is done to a neuron, by a dose d ≥ 0:

- `add`: a + d · amount
- `scale`: a · (1 + d (amount − 1)); so 0 ablates and 1 does nothing
- `set`: (1 − d) a + d · amount, d at most 1
- `cap`, `floor`: a + min(d, 1) (min(a, amount) − a), and likewise with max
- `clear`: (1 − d) a where amount ≤ a ≤ high, d at most 1
"""
_SHARES = ("set", "clear")  # done by a share of at most 1
_COLUMNS = {"layer": np.int64, "neuron": np.int64, "op": np.int64, "amount": np.float32, "high": np.float32}


@dataclass(frozen=True, eq=False)
class Recipe:
    """Edits of single neurons, one a row; a neuron stands in it once.

    layer, neuron, op: int64 `[k]`; op is a place in `OPS`.
    amount, high: float32 `[k]`, in units of the activation (of `scale`, a factor); `high` counts for `clear` alone.
    """

    layer: np.ndarray
    neuron: np.ndarray
    op: np.ndarray
    amount: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> Recipe:
        """From rows (op, layer, neuron, amount), or (`clear`, layer, neuron, low, high).

        Raises UnknownNameError for an op that does not exist, InvalidInputError for a row that makes no sense.
        """
        cells: list[tuple[int, int, int, float, float]] = []
        for row in rows:
            op, *numbers = row if isinstance(row, Sequence) and row else (row,)
            if op not in OPS:
                raise UnknownNameError("edit", str(op), OPS)
            if len(numbers) != (4 if op == "clear" else 3):
                wanted = "(layer, neuron, low, high)" if op == "clear" else "(layer, neuron, amount)"
                raise InvalidInputError(f"An edit '{op}' takes {wanted}; {row!r} given.")
            try:
                layer, neuron = map(operator.index, numbers[:2])
                amount, high = map(float, (*numbers[2:], 0.0)[:2])
            except (TypeError, ValueError, OverflowError):
                raise InvalidInputError(
                    f"Layer and neuron of an edit are whole numbers, and the rest are amounts; {row!r} given."
                ) from None
            cells.append((layer, neuron, OPS.index(op), amount, high))
        columns = zip(*cells, strict=True) if cells else [()] * len(_COLUMNS)
        return cls(*(np.array(column, kind) for column, kind in zip(columns, _COLUMNS.values(), strict=True)))

    def __post_init__(self) -> None:
        if not (np.isfinite(self.amount).all() and np.isfinite(self.high).all()):
            raise InvalidInputError("An amount of an edit is NaN or infinite; finite numbers are expected.")
        if ((self.op == OPS.index("clear")) & (self.high < self.amount)).any():
            raise InvalidInputError("The range of a 'clear' ends below its start; give (layer, neuron, low, high).")
        pairs, counts = np.unique(np.stack((self.layer, self.neuron)), axis=1, return_counts=True)
        if (counts > 1).any():
            layer, neuron = pairs[:, counts > 1][:, 0]
            raise InvalidInputError(
                f"Contradictory edits: neuron {neuron} of layer {layer} is edited {counts.max()} times; keep one."
            )

    def __len__(self) -> int:
        return len(self.layer)

    def kept(self, chosen: np.ndarray) -> Recipe:
        """The rows that are chosen, by a mask or by places."""
        return Recipe(*(getattr(self, name)[chosen] for name in _COLUMNS))

    def moved(self, neuron: np.ndarray) -> Recipe:
        """The same edits at other neurons, int64 `[k]`, of the same layers."""
        return Recipe(self.layer, neuron, self.op, self.amount, self.high)

    def check_dose(self, dose: float) -> None:
        """Raises InvalidInputError for a dose above 1 of what is done by a share."""
        shared = [OPS[op] for op in np.unique(self.op) if OPS[op] in _SHARES]
        if abs(dose) > 1 and shared:
            raise InvalidInputError(f"The dose of '{shared[0]}' is a share of at most 1, {dose:g} given.")

    def check_anatomy(self, anatomy: Anatomy) -> None:
        """Raises ModelError where an edit is at a layer or neuron that the model lacks."""
        for name, limit in (("layer", anatomy.layers), ("neuron", anatomy.width)):
            given = getattr(self, name)
            if ((given < 0) | (given >= limit)).any():
                wrong = given[(given < 0) | (given >= limit)][0]
                raise ModelError(
                    f"An edit is at {name} {wrong}, and this model has {limit} "
                    f"({'layers' if name == 'layer' else 'neurons a layer'}, counted from 0)."
                )

    def compile(
        self, anatomy: Anatomy, site: str, dose: float, scope: Any, full_caps: bool, keep: float, seed: int
    ) -> Edits:
        """Edits of a dose above 0, one a layer that has any.

        Args:
            full_caps: whether caps and floors act fully at every dose.
            keep, seed: probability with which an addition is made, by a coin for each neuron, layer and step.
        """
        self.check_anatomy(anatomy)
        self.check_dose(dose)
        made = []
        for layer in np.unique(self.layer):
            here = self.kept(self.layer == layer)
            edit: dict[str, Any] = {"neurons": torch.from_numpy(here.neuron), **here.amounts(dose, full_caps)}
            if scope != "answer":
                edit["scope"] = scope
            if keep < 1 and "add" in edit:
                edit |= {"keep": keep, "seed": seed * 1009 + int(layer)}
            made.append((anatomy.sites(site)[layer], [edit]))
        return made

    def amounts(self, dose: float, full_caps: bool = False) -> dict[str, torch.Tensor]:
        """The amounts of a dose as compiled edits name them, float32 `[1, k]` each; what has none is left alone."""
        share = 1.0 if full_caps else min(dose, 1.0)
        found: dict[str, np.ndarray] = {}
        for number in np.unique(self.op):
            op, mine = OPS[number], self.op == number
            if op == "add":
                found["add"] = np.where(mine, dose * self.amount, 0)
            elif op == "scale":
                found["scale"] = np.where(mine, 1 + dose * (self.amount - 1), 1)
            elif op == "clear":
                found |= {"low": self.amount, "high": self.high, "clear_share": np.where(mine, dose, 0)}
            else:
                found |= {op: self.amount, f"{op}_share": np.where(mine, dose if op == "set" else share, 0)}
        return {name: torch.from_numpy(each.astype(np.float32)).unsqueeze(0) for name, each in found.items()}

    def facts(self) -> dict[str, Any]:
        """How many neurons it edits, and how."""
        return {
            "neurons": len(self),
            "layers": sorted({int(layer) for layer in self.layer}),
            "edits": {OPS[op]: int((self.op == op).sum()) for op in np.unique(self.op)},
        }

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Its columns, for a file."""
        return {f"{prefix}.{name}": torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _COLUMNS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], prefix: str) -> Recipe:
        """From the columns of a file. Raises InvalidInputError where they make no sense, KeyError where one is absent.

        What is read from a file is not trusted: an op that does not exist must not be done silently as another.
        """
        columns = {name: tensors[f"{prefix}.{name}"].numpy() for name in _COLUMNS}
        sound = all(columns[name].dtype == kind and columns[name].ndim == 1 for name, kind in _COLUMNS.items())
        sound = sound and len({len(column) for column in columns.values()}) == 1
        lowest = [columns[name].min(initial=0) for name in ("layer", "neuron", "op")] if sound else [-1]
        if min(lowest) < 0 or columns["op"].max(initial=0) >= len(OPS):
            raise InvalidInputError("The edits of this steering are no table of edits.")
        return cls(**columns)


def checked_site(site: str) -> str:
    """The site, if neurons can be edited there. Raises UnknownNameError."""
    if site not in SITES:
        raise UnknownNameError("site of neurons", site, SITES)
    return site
