"""The verb: a causal value graph from a survey or a table of scores, and how stable it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from nnvalue.artifacts import digest, library_versions
from nnvalue.causal.comparing import compare
from nnvalue.causal.effects import TotalEffects, total_effects
from nnvalue.causal.estimators import Rule, estimate
from nnvalue.causal.graph import Halves, ValueGraph
from nnvalue.causal.marks import circles, heads, skeleton
from nnvalue.causal.scores import ScoreTable, check_table
from nnvalue.causal.survey import Survey
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.progress import Progress, silent

RESAMPLES, WAYS = 200, 20
_FEWEST_UNITS = 2
_CHANCE = 200


def fit_graph(
    data: Survey | ScoreTable,
    method: str = "jci",
    *,
    values: Iterable[str] | None = None,
    kinds: Iterable[str] | None = None,
    resamples: int = RESAMPLES,
    ways: int = WAYS,
    seed: int = 0,
    progress: Progress = silent,
    **rule: Any,
) -> ValueGraph:
    """A causal value graph, with the frequency of every edge over bootstraps of roles and its split-half stability.

    Args:
        data: a survey, or scores from elsewhere (`read_scores`), of which no halves of items can be told.
        method: a name in `METHODS`: `jci` (the default), `effects`, `paper`, `pc`, or with the extra `causal-learn`
            `boss`, `ges`, `fci`, `lingam`.
        values: these only; all by default.
        kinds: settings of these kinds only, beside the unsteered one: `prompt`, `neurons`, `direction`.
        resamples: bootstraps of roles; below 2 the graph can be computed with, and is not shown.
        ways: of halving roles, and items.
        rule: further settings of `Rule`: alpha, rows, background, deepest, smallest.

    Raises InvalidInputError or UnknownNameError for what no graph can be told from.
    """
    told = Rule(method, **rule)
    table_of = _tables(data, values, kinds)
    table = table_of(None)
    told.background.knowledge(table.values)  # what contradicts itself is told before anything else
    check_table(table)
    for name in ("resamples", "ways"):
        if (given := {"resamples": resamples, "ways": ways}[name]) < 0:
            raise InvalidInputError(f"{name} must be at least 0, {given} given.")
    found = estimate(table, told)
    edges, arrows = _frequencies(table, told, resamples, seed, progress)
    by_role = _role_halves(table, told, ways, seed, progress)
    by_item = _item_halves(data, table_of, told, ways, seed, progress)
    total = _total(table)
    kept = [table.contexts[place] for place in np.unique(table.context)]
    effects, low, high = (None, None, None) if total is None else (total.effects, total.low, total.high)
    return ValueGraph(
        table.values, told.settled(), found.marks, found.weights, edges, arrows, len(table.scores),
        len(np.unique(table.role)), len(kept), resamples, seed, by_role, by_item,
        effects, low, high, warnings=_warnings(table, found.marks, total),
        source=_source(data, [one.name for one in kept]),
    )  # fmt: skip


def _tables(
    data: Survey | ScoreTable, values: Iterable[str] | None, kinds: Iterable[str] | None
) -> Callable[[list[str] | None], ScoreTable]:
    """(units of items, or None for all) -> the table of the values and kinds that are wanted."""
    whole = data.table() if isinstance(data, Survey) else data
    chosen = whole.values if values is None else tuple(dict.fromkeys(values))
    for value in chosen:
        if value not in whole.values:
            raise UnknownNameError("value", str(value), whole.values)
    at = [whole.values.index(value) for value in chosen]
    known = sorted({one.kind for one in whole.contexts if one.kind != "none"})
    wanted = set(known if kinds is None else kinds)
    for kind in wanted - set(known):
        raise UnknownNameError("kind of setting", str(kind), known)
    contexts = [one.name for one in whole.contexts if one.kind == "none" or one.kind in wanted]

    def table(units: list[str] | None) -> ScoreTable:
        made = whole
        if units is not None:
            assert isinstance(data, Survey)  # a table of scores has no units
            made = data.table(units)
        made = made.only(contexts)
        given = tuple(replace(one, value=one.value if one.value in chosen else None) for one in made.contexts)
        return replace(made, values=tuple(chosen), scores=made.scores[:, at], contexts=given)

    return table


def _frequencies(
    table: ScoreTable, rule: Rule, resamples: int, seed: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of bootstraps of roles in which there is an edge, and an arrow; float64 `[value, value]` each."""
    rng = np.random.default_rng(seed)
    shape = (len(table.values),) * 2
    edges, arrows, done = np.zeros(shape), np.zeros(shape), 0
    for number in range(resamples):
        marks = _marks(table.take(rng.integers(len(table.roles), size=len(table.roles))), rule)
        if marks is not None:
            edges += skeleton(marks)
            arrows += heads(marks)
            done += 1
        progress("resampling roles", number + 1, resamples)
    return edges / max(done, 1), arrows / max(done, 1)


def _role_halves(table: ScoreTable, rule: Rule, ways: int, seed: int, progress: Progress) -> Halves:
    rng = np.random.default_rng([seed, 1])
    pairs = []
    for number in range(ways):
        order = rng.permutation(len(table.roles))
        middle = len(order) // 2
        pairs.append(tuple(_marks(table.take(half), rule) for half in (order[:middle], order[middle:])))
        progress("halving roles", number + 1, ways)
    return _summary(pairs, seed, "no way of halving was asked for.")


def _item_halves(
    data: Survey | ScoreTable,
    table_of: Callable[[list[str] | None], ScoreTable],
    rule: Rule,
    ways: int,
    seed: int,
    progress: Progress,
) -> Halves:
    """Halves of every value's items, both keyings of a pair together."""
    if not isinstance(data, Survey):
        return Halves(why="the scores came without their items.")
    units = {value: found for value, found in data.units().items() if value in table_of(None).values}
    if few := [value for value, found in units.items() if len(found) < _FEWEST_UNITS]:
        return Halves(why=f"{few[0]} has one item or pair of items only; survey more pairs.")
    rng = np.random.default_rng([seed, 2])
    pairs = []
    for number in range(ways):
        halves: tuple[list[str], list[str]] = ([], [])
        for found in units.values():
            order = rng.permutation(len(found))
            for place, at in enumerate(order):
                halves[place % 2].append(found[at])
        pairs.append(tuple(_marks(table_of(half), rule) for half in halves))
        progress("halving items", number + 1, ways)
    return _summary(pairs, seed, "no way of halving was asked for.")


def _marks(table: ScoreTable, rule: Rule) -> np.ndarray | None:
    """The marks of a resample; None where chance has made one from which nothing can be told."""
    try:
        return estimate(table, rule).marks
    except (InvalidInputError, np.linalg.LinAlgError):
        return None


def _summary(pairs: list[tuple[np.ndarray | None, ...]], seed: int, why: str) -> Halves:
    known: list[Any] = [pair for pair in pairs if all(one is not None for one in pair)]
    if not known:
        return Halves(why=why if not pairs else "half of it is too little for this method.")
    found = [compare(*pair, permutations=_CHANCE, seed=seed) for pair in known]
    figures: dict[str, Any] = {}
    for name in ("skeleton", "direction"):
        one = np.array([getattr(each, name).value for each in found])
        low, high = np.quantile(one, (0.025, 0.975))
        chance = np.mean([getattr(each, name).chance for each in found])
        figures |= {name: float(one.mean()), f"{name}_low": float(low), f"{name}_high": float(high),
                    f"{name}_chance": float(chance)}  # fmt: skip
    return Halves(**figures, shd=float(np.mean([each.shd.value for each in found])), ways=len(known))


def _total(table: ScoreTable) -> TotalEffects | None:
    """Total effects where there is one kind of steering towards values; None elsewhere."""
    kinds = {one.kind for one in table.contexts if one.side and one.value is not None}
    if len(kinds) != 1:
        return None
    try:
        return total_effects(table)
    except InvalidInputError:
        return None


def _warnings(table: ScoreTable, marks: np.ndarray, total: TotalEffects | None) -> tuple[str, ...]:
    said = []
    if table.one_sided:
        said.append(f"Yes-saying is still in the scores of {_some(table.one_sided)}: their items have one keying only.")
    if found := circles(heads(marks)):
        groups = "; ".join(", ".join(table.values[one] for one in group) for group in found)
        said.append(f"The graph goes round in circles ({groups}), so what lies downstream of what is not told by it.")
    if total is not None:
        if hit := total.off_target():
            pairs = ", ".join(f"{one} and {other}" for one, other in hit[:5])
            said.append(
                f"Steering hits other values: in {len(hit)} pairs either one moves the other ({pairs}"
                f"{', …' if len(hit) > 5 else ''}), which no acyclic graph explains; do not trust direct effects that "
                "are told from total ones there."
            )
        steered = {one.value for one in table.contexts if one.side}
        if unmoved := [value for value in total.unmoved() if value in steered]:
            said.append(f"Steering towards {_some(unmoved)} does not move it.")
    return tuple(said)


def _some(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _source(data: Survey | ScoreTable, contexts: list[str]) -> dict[str, Any]:
    """Where the scores are from, as JSON data."""
    if isinstance(data, Survey):
        return {
            "survey_sha256": digest([dict(data.facts), data.scores.sum(dtype=float, where=~np.isnan(data.scores))]),
            "model": dict(data.facts["model"]), "framework": data.facts["framework"], "contexts": contexts,
            "versions": library_versions(),
        }  # fmt: skip
    return {"contexts": contexts, "versions": library_versions()}
