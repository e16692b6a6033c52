"""`ScoreTable`: value scores by role and context, however they were come by; what discovery works on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.dataset.tables import read_rows
from nnvalue.errors import InvalidInputError, UnknownNameError

NONE = "none"
"""What an empty cell of a file's context or role column is called: unsteered, or nobody in particular."""
_NEARLY = 1e-8
_ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Context:
    """What was done to the model in some rows.

    value: which value it is meant to move; None for the unsteered context, and where it is about no single value.
    side: 1 towards its positive pole, −1 towards the negative one, 0 for neither.
    kind: `none`, `prompt`, `neurons`, …
    """

    name: str
    value: str | None = None
    side: float = 0.0
    kind: str = "none"


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of values in many rows; rows of one role are not independent.

    values: names of the columns.
    scores: float64 `[row, value]`, uncentred.
    role, context: int64 `[row]`, places in `roles` and `contexts`.
    one_sided: values whose items have one keying only, so that yes-saying is still in their scores.
    """

    values: tuple[str, ...]
    scores: np.ndarray
    role: np.ndarray
    context: np.ndarray
    roles: tuple[str, ...]
    contexts: tuple[Context, ...]
    one_sided: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = (len(self.role), len(self.context))
        if self.scores.ndim != 2 or self.scores.shape[1] != len(self.values) or rows != (len(self.scores),) * 2:
            raise InvalidInputError(
                f"Scores must be [row, value] with a role and a context for each row; {self.scores.shape} given for "
                f"{len(self.values)} values, {rows[0]} roles and {rows[1]} contexts."
            )
        if len(set(self.values)) != len(self.values):
            raise InvalidInputError("A value stands in two columns; give each once.")

    @property
    def base(self) -> int:
        """The place of the unsteered context. Raises InvalidInputError where there is none, or more than one."""
        found = [place for place, one in enumerate(self.contexts) if one.kind == "none"]
        if len(found) != 1:
            raise InvalidInputError(
                f"{len(found)} contexts are unsteered, of {len(self.contexts)}; effects are told against one. Keep one "
                "of them."
            )
        return found[0]

    def take(self, roles: Sequence[int] | np.ndarray) -> ScoreTable:
        """The rows of these roles, each as often as it is named; drawn twice, a role counts as two."""
        order = np.argsort(self.role, kind="stable")
        starts = np.searchsorted(self.role[order], np.arange(len(self.roles) + 1))
        parts = [order[starts[role] : starts[role + 1]] for role in roles]
        rows = np.concatenate(parts)
        new = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        names = tuple(f"{self.roles[role]}/{number}" for number, role in enumerate(roles))
        return replace(self, scores=self.scores[rows], role=new, context=self.context[rows], roles=names)

    def only(self, contexts: Iterable[str]) -> ScoreTable:
        """The rows of these contexts, in the table's order. Raises UnknownNameError."""
        known = [one.name for one in self.contexts]
        wanted = set(contexts)
        for name in wanted - set(known):
            raise UnknownNameError("context", name, known)
        kept = [place for place, name in enumerate(known) if name in wanted]
        rows = np.isin(self.context, kept)
        new = {place: number for number, place in enumerate(kept)}
        return replace(
            self, scores=self.scores[rows], role=self.role[rows],
            context=np.array([new[place] for place in self.context[rows]], dtype=np.int64),
            contexts=tuple(self.contexts[place] for place in kept),
        )  # fmt: skip

    def unsteered(self) -> ScoreTable:
        """The rows of the unsteered context."""
        return self.only([self.contexts[self.base].name])

    def within(self) -> ScoreTable:
        """The same with each context's means taken off: what varies between roles alone."""
        count = np.bincount(self.context, minlength=len(self.contexts))
        sums = np.zeros((len(self.contexts), len(self.values)))
        np.add.at(sums, self.context, self.scores)
        return replace(self, scores=self.scores - (sums / np.maximum(count, 1)[:, None])[self.context])


def check_table(table: ScoreTable, fewest_roles: int = 10) -> None:
    """Raises InvalidInputError for what no graph can be told from: few roles, gaps, constant or collinear values."""
    counted = len(np.unique(table.role))
    if counted < fewest_roles:
        raise InvalidInputError(
            f"{counted} roles were asked; a graph needs {fewest_roles} at least, and 100 to be worth much. Survey more."
        )
    if len(table.values) < 3:
        raise InvalidInputError(f"A graph needs three values at least; {len(table.values)} given.")
    missing = ~np.isfinite(table.scores)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise InvalidInputError(
            f"{int(missing.any(1).sum())} of {len(table.scores)} rows lack a score, the first of them "
            f"'{table.values[column]}' of role '{table.roles[table.role[row]]}' in context "
            f"'{table.contexts[table.context[row]].name}'; leave these roles or contexts out, or ask again in a form "
            "that the model answers."
        )
    spread = table.scores.std(0)
    if (flat := np.flatnonzero(spread <= _NEARLY * (1 + np.abs(table.scores).max(0)))).size:
        raise InvalidInputError(
            f"'{table.values[flat[0]]}' has the same score in every row, and nothing can be told of it; leave it out, "
            "or ask more items."
        )
    standard = (table.scores - table.scores.mean(0)) / spread
    _, singular, axes = np.linalg.svd(standard / np.sqrt(len(standard)), full_matrices=False)
    if len(singular) < len(table.values) or singular[-1] < _NEARLY:
        loud = np.argsort(-np.abs(axes[-1]))[: max(2, int((np.abs(axes[-1]) > 0.1).sum()))]
        names = ", ".join(table.values[place] for place in sorted(loud)[:6])
        raise InvalidInputError(
            f"The scores are collinear ({names}): one follows from the others, as it does when scores are centred on "
            "each person's mean. Give uncentred scores, leave one of these values out, or give more rows."
        )


def read_scores(
    file: str | Path,
    *,
    values: Sequence[str] | None = None,
    context: str | None = None,
    role: str | None = None,
    contexts: Sequence[str] | None = None,
) -> ScoreTable:
    """Scores from a CSV, JSON-lines or parquet file with a row for every role and context, a column for every value.

    Args:
        values: the value columns, in their order; by default every column of numbers whose name has no ":" in it and
            that is not named here otherwise.
        context: the column that says what was done; an empty cell is unsteered. None: nothing was done to any row.
        role: the column that says who was asked; an empty cell is nobody in particular. None: every row is a role.
        contexts: keep these only, in the file's order; `none` is the unsteered one.

    Raises DatasetError or InvalidInputError, with the line, for what does not fit.
    """
    path = Path(file)
    if path.suffix not in _ENDINGS:
        raise InvalidInputError(f"{path} must end in {', '.join(_ENDINGS)}, or be the folder of a survey.")
    rows = read_rows(path, "scores")
    if not rows:
        raise InvalidInputError(f"{path} has no rows.")
    names = list(rows[0][1])
    for column in (context, role, *(values or ())):
        if column is not None and column not in names:
            raise UnknownNameError("column", column, names, f"({path})")
    chosen = list(values) if values is not None else _number_columns(rows, names, {context, role})
    roles: dict[str, int] = {}
    kinds: dict[str, int] = {}
    table, who, where = [], [], []
    for number, (line, row) in enumerate(rows):
        done = NONE if context is None else _text(row.get(context))
        if contexts is not None and done not in contexts:
            continue
        person = f"row {number + 1}" if role is None else _text(row.get(role))
        table.append([_number(row.get(name), path, line, name) for name in chosen])
        who.append(roles.setdefault(person, len(roles)))
        where.append(kinds.setdefault(done, len(kinds)))
    if contexts is not None and (absent := [name for name in contexts if name not in kinds]):
        raise UnknownNameError("context", absent[0], sorted({_text(row.get(context or "")) for _, row in rows}))
    made = tuple(Context(name, None, 0.0, "none" if name == NONE else "own") for name in kinds)
    return ScoreTable(tuple(chosen), np.array(table), np.array(who), np.array(where), tuple(roles), made)


def _number_columns(
    rows: Sequence[tuple[int, dict[str, Any]]], names: Sequence[str], others: set[str | None]
) -> list[str]:
    """Columns of numbers; gaps are allowed here and told of later."""
    found = []
    for name in names:
        if name in others or ":" in name:
            continue
        cells = [row.get(name) for _, row in rows]
        given = [cell for cell in cells if _text(cell) != NONE]
        if given and all(_is_number(cell) for cell in given):
            found.append(name)
    return found


def _text(cell: object) -> str:
    text = "" if cell is None else str(cell).strip()
    return text or NONE


def _is_number(cell: object) -> bool:
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _number(cell: object, path: Path, line: int, column: str) -> float:
    if _text(cell) == NONE:
        return float("nan")
    if not _is_number(cell):
        raise InvalidInputError(f"{path}, line {line}: '{column}' must be a number, {cell!r} given.")
    return float(cell)  # type: ignore[arg-type]
