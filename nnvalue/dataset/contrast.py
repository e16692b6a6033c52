"""Contrast prompts: one situation asked under both poles of one value."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnvalue.dataset.edition import ValueInsight
from nnvalue.dataset.voices import SYSTEM_PROMPT, voice
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.prompts import Prompt
from nnvalue.values import POLES

if TYPE_CHECKING:
    from datasets import Dataset

SENTENCE_QUESTION = "What is true of you?"
"""What the dataset's own sentences answer."""


@dataclass(frozen=True)
class Contrast:
    """One situation under both poles of one value.

    fold: 0 ≤ fold < number of folds; situations' cores and descriptions of different folds are disjoint.
    null_of: of an A/A contrast the pole that both arms come from; `positive` and `negative` then only name the arms.
    answers: prompt id -> what the dataset answers; empty where the model does.
    """

    value: str
    situation_id: str
    fold: int
    positive: Prompt
    negative: Prompt
    null_of: str | None = None
    answers: Mapping[str, str] = field(default_factory=dict)


def neutral_prompt(situation: dict[str, Any]) -> Prompt:
    """The situation without a description."""
    return Prompt(f"{situation['id']}/neutral", None, situation["text"])


def build_contrasts(
    edition: ValueInsight,
    value: str,
    *,
    situations: int | None = None,
    folds: int = 16,
    split: str = "locate",
    seed: int = 0,
    system_prompt: str = SYSTEM_PROMPT,
    null_of: str | None = None,
) -> list[Contrast]:
    """Contrasts of one basic value, in a seeded order; a function of the arguments alone.

    Every core comes once before any comes a second time, so that few situations are as unlike as can be. Folds
    partition the situations' cores and the pairs of descriptions alike, so that what two folds have in common
    is the value and not a text. There are never more folds than cores, and every fold has two pairs of descriptions
    at least where there are two.

    Args:
        situations: how many situations; None for all of the split. Fewer are a prefix of more.
        folds: at most so many folds.
        system_prompt: frame with the field `{description}`.
        null_of: a pole. Both arms then come from it, from disjoint halves of each fold's descriptions: an A/A contrast,
            which shows what descriptions that differ in wording only do. One arm of each is the very prompt of the
            ordinary contrast, so that only the other one costs a new response.

    Raises:
        UnknownNameError: the dataset has no situations for the value.
        DatasetError: too few situations, or a pole without a description; or an edition of items alone.
        InvalidInputError: a number below 1, or a system prompt without its field.
    """
    if folds < 1 or (situations is not None and situations < 1):
        raise InvalidInputError(f"folds and situations must be at least 1; {folds} and {situations} given.")
    if "{description}" not in system_prompt:
        raise InvalidInputError(f"The system prompt {system_prompt!r} lacks the field {{description}}.")
    asked = _rows_of(edition, "situations", value, split)
    if not asked:
        raise UnknownNameError("value", value, edition.values(), f"(with '{split}' situations in {edition.name})")
    if situations is not None and situations > len(asked):
        raise DatasetError(
            f"{situations} situations asked for, but {edition.name} has {len(asked)} for '{value}' in its '{split}' "
            f"split; ask for at most {len(asked)}."
        )
    pairs = _description_pairs(edition, value, split)
    if null_of and len(pairs) < 2:
        raise DatasetError(
            f"Two arms of one pole need two descriptions at least; {edition.name} has {len(pairs)} of '{value}' in its "
            f"'{split}' split. Add some, or leave the null out (--no-null)."
        )
    rng = random.Random(f"{seed}/{value}/{split}")
    cores = sorted({row["core"] for row in asked})
    rng.shuffle(cores)
    rng.shuffle(pairs)
    folds = min(folds, max(1, len(pairs) // 2), len(cores))
    fold_of = {core: number % folds for number, core in enumerate(cores)}
    asked = _variants_in_turn(asked, cores, rng)
    made = []
    for row in asked[:situations]:
        fold = fold_of[row["core"]]
        own = pairs[fold::folds]
        chosen, elsewhere = rng.randrange(len(own)), rng.random()
        described = {pole: _prompt(row, pole, own[chosen][pole], system_prompt) for pole in POLES}
        first, second = (described[pole] for pole in POLES)
        if null_of:
            half = len(own) // 2
            others = own[half:] if chosen < half else own[:half]
            other = others[int(elsewhere * len(others))][null_of]
            first, second = described[null_of], _prompt(row, f"{null_of}-other", other, system_prompt)
            first, second = (first, second) if chosen < half else (second, first)
        made.append(Contrast(value, row["id"], fold, first, second, null_of))
    return made


def build_sentence_contrasts(
    edition: ValueInsight,
    value: str,
    *,
    pairs: int | None = None,
    folds: int = 16,
    split: str = "locate",
    seed: int = 0,
    null_of: str | None = None,
) -> list[Contrast]:
    """Contrasts that the dataset answers: its pairs of sentences that differ in a value only, after one same question.

    As `build_contrasts`, with pairs of sentences for situations; nobody is described. The other arm of an A/A contrast
    is the sentence of another pair of the same fold, so two folds share no sentence.

    Raises DatasetError if there are too few pairs, or items of instruments alone; InvalidInputError for a number
    below 1.
    """
    if folds < 1 or (pairs is not None and pairs < 1):
        raise InvalidInputError(f"folds and pairs must be at least 1; {folds} and {pairs} given.")
    rows = _rows_of(edition, "sentences", value, split)
    wanted = len(rows) if pairs is None else pairs
    if not rows or wanted > len(rows) or (null_of and wanted < 2):
        raise DatasetError(
            f"{wanted} pairs of sentences asked for, but {edition.name} has {len(rows)} of '{value}' in its '{split}' "
            f"split, and a null needs two; ask for fewer, or let the model answer."
        )
    rng = random.Random(f"{seed}/{value}/{split}/sentences")
    rows.sort(key=lambda row: row["id"])
    rng.shuffle(rows)
    rows = rows[:wanted]
    folds = min(folds, max(1, len(rows) // 2))
    made = []
    for number, row in enumerate(rows):
        own = rows[number % folds :: folds]
        here, half = number // folds, len(own) // 2
        elsewhere = rng.choice(own[half:] if here < half else own[:half] or own)
        arms = [(f"{row['id']}/{pole}", row[pole]) for pole in POLES]
        if null_of:
            arms = [(f"{row['id']}/{null_of}", row[null_of]), (f"{row['id']}/{null_of}-other", elsewhere[null_of])]
            arms = arms if here < half else arms[::-1]
        first, second = (Prompt(name, None, SENTENCE_QUESTION) for name, _ in arms)
        made.append(Contrast(value, row["id"], number % folds, first, second, null_of, dict(arms)))
    return made


def _rows_of(edition: ValueInsight, kind: str, value: str, split: str) -> list[dict[str, Any]]:
    """The rows of one value in one split, chosen by column: row by row, thousands of situations take their time.

    Raises DatasetError for an edition of items alone: they say what people think, and nobody can be asked with them.
    """
    import pyarrow.compute

    table: Dataset = getattr(edition, kind)
    if not len(table) and not len(edition.situations) and len(edition.items):
        raise DatasetError(
            f"{edition.name} holds items of instruments and no situations, so nobody at either pole of a value can be "
            f"asked anything with it; give a dataset with descriptions and situations."
        )
    wanted = (pyarrow.compute.field("value") == value) & (pyarrow.compute.field("split") == split)
    return table.with_format("arrow")[:].filter(wanted).to_pylist()


def _variants_in_turn(asked: list[dict[str, Any]], cores: list[str], rng: random.Random) -> list[dict[str, Any]]:
    """One variant of every core in the cores' order, then a second one of every core that has one, and so on."""
    order = {core: number for number, core in enumerate(cores)}
    variants: dict[str, list[dict[str, Any]]] = {core: [] for core in cores}
    for row in sorted(asked, key=lambda row: row["id"]):
        variants[row["core"]].append(row)
    for rows in variants.values():
        rng.shuffle(rows)
    turns = [(turn, order[core], row) for core, rows in variants.items() for turn, row in enumerate(rows)]
    return [row for _, _, row in sorted(turns, key=lambda item: item[:2])]


def _description_pairs(edition: ValueInsight, value: str, split: str) -> list[dict[str, str]]:
    """For each pair of the split: pole -> description."""
    found: dict[int, dict[str, str]] = {}
    for row in _rows_of(edition, "descriptions", value, split):
        found.setdefault(row["pair"], {})[row["pole"]] = row["text"]
    pairs = [found[number] for number in sorted(found)]
    if not pairs:
        raise DatasetError(
            f"{edition.name} has no pair of a positive and a negative description of '{value}' in its '{split}' split."
        )
    return pairs


def _prompt(row: dict[str, Any], mark: str, description: str, system_prompt: str) -> Prompt:
    return Prompt(f"{row['id']}/{mark}", voice(None, description, system_prompt), row["text"])
