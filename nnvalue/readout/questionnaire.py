"""What is asked and what it speaks for: portraits of the dataset, a published scale, or imported items.

The text of a published questionnaire belongs to its authors: it comes from a file of the user's own, is put to the
model, and is kept nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nnvalue.artifacts import digest
from nnvalue.dataset import SPLITS, ValueInsight, load_valueinsight
from nnvalue.dataset.tables import read_rows
from nnvalue.errors import DatasetError, InvalidInputError, UnknownNameError
from nnvalue.values import SIGN, Framework, Instrument, embedded_instruments, load_framework, load_instrument
from nnvalue.values.forms import AnswerForm, forms

MIN_WEIGHT = 0.3
"""An item tells about a value if its weight lies beyond this, as in Value Portrait's protocol; a keying always does."""
PORTRAITS = "portraits"
_ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Question:
    """One item of a questionnaire.

    text: the item itself; None where it is not at hand, and so nobody can be asked.
    form: how it is put: a name that `nnvalue.values.forms.forms` knows.
    uses: (value, keying) for each value that it tells about: +1 where agreeing speaks for it, −1 against; none for an
        item that only counts for the mean of all answers.
    unit: shared by items that are one observation: both keyings of a pair.
    query: what the text replies to.
    closed: the item as a question that is answered yes or no, where there is one; yes agrees with the text.
    """

    id: str
    text: str | None
    form: str
    uses: tuple[tuple[str, int], ...]
    unit: str
    query: str = ""
    closed: str = ""

    def put(self, form: AnswerForm) -> str:
        """The user turn that asks it."""
        assert self.text is not None  # who asks leaves out what is not at hand
        return form.ask(self.text, self.query)


@dataclass(frozen=True)
class Questionnaire:
    """Items that are asked together, and scored on one scale.

    facts: where it is from, as JSON data for the record.
    """

    name: str
    framework: Framework
    questions: tuple[Question, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = [question.id for question in self.questions]
        if not ids or len(set(ids)) != len(ids):
            raise InvalidInputError(f"'{self.name}' needs items, each with an id of its own; {len(ids)} given.")
        kinds = {form.options: sorted(form.scores) for name in self.form_names for form in forms(name)}
        if len(kinds) > 1:
            raise InvalidInputError(f"Forms with different options cannot be mixed: {', '.join(self.form_names)}.")
        for question in self.questions:
            if not question.query and any(form.takes_query for form in forms(question.form)):
                raise InvalidInputError(
                    f"The form '{question.form}' is about replies, and item '{question.id}' replies to nothing; choose "
                    "another form."
                )

    @property
    def form_names(self) -> list[str]:
        """The forms in which its items are put."""
        return list(dict.fromkeys(question.form for question in self.questions))

    @property
    def options(self) -> tuple[str, ...]:
        """The answers that count."""
        return forms(self.form_names[0])[0].options

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest answer."""
        scores = forms(self.form_names[0])[0].scores
        return min(scores), max(scores)

    @property
    def values(self) -> tuple[str, ...]:
        """The values that its items tell about, in the framework's order."""
        told = {value for question in self.questions for value, _ in question.uses}
        return tuple(value for value in self.framework.values if value in told)

    def missing(self) -> list[str]:
        """Ids of the items whose text is not at hand."""
        return [question.id for question in self.questions if question.text is None]

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON data: no text, but a digest of all."""
        return {
            "name": self.name,
            **self.facts,
            "forms": self.form_names,
            "scale": list(self.scale),
            "items": len(self.questions),
            "missing": self.missing(),
            "sha256": digest([asdict(question) for question in self.questions]),
        }


def read_questionnaire(
    instrument: str | Path | Questionnaire,
    *,
    dataset: ValueInsight | str | Path | None = None,
    framework: str | None = None,
    split: str = "test",
    form: str | None = None,
    pairs: int | None = None,
) -> Questionnaire:
    """The questionnaire that a name stands for.

    Args:
        instrument: `portraits`, of the dataset; `NAME=FILE` for a published scale, such as `pvq21=items.csv`; the
            folder of an edition with items, as `import_layout` writes it; or a questionnaire.
        dataset, framework, split, pairs: see `portrait_questionnaire`.
        form: the form of answer; None for the one that suits the items.

    Raises InvalidInputError, DatasetError or UnknownNameError for what is not there or does not fit.
    """
    if isinstance(instrument, Questionnaire):
        return instrument
    if str(instrument) == PORTRAITS:
        edition = dataset if isinstance(dataset, ValueInsight) else load_valueinsight(dataset)
        return portrait_questionnaire(edition, framework=framework, split=split, form=form or "rating", pairs=pairs)
    name, _, file = str(instrument).partition("=")
    if file or name in embedded_instruments():
        if not file:
            raise InvalidInputError(
                f"The items of '{name}' belong to their authors and do not come with nnvalue; give a file of yours "
                f"with the columns number and text: {name}=items.csv."
            )
        return published_questionnaire(load_instrument(name), Path(file), form=form)
    if Path(instrument).is_dir():
        return item_questionnaire(load_valueinsight(instrument), form=form)
    raise UnknownNameError(
        "instrument", str(instrument), (PORTRAITS, *(f"{name}=FILE" for name in embedded_instruments())),
        "Or give the folder of an imported edition with items.",
    )  # fmt: skip


def portrait_questionnaire(
    edition: ValueInsight,
    *,
    framework: str | None = None,
    split: str = "test",
    form: str = "rating",
    pairs: int | None = None,
) -> Questionnaire:
    """The portraits of an edition, in both keyings.

    Args:
        framework: that of the edition, or the finer one that its portraits are labelled with too (`schwartz19`).
        split: `test`, `locate`, or `all` of them.
        pairs: at most so many pairs of each value, the first; None for all.

    Raises UnknownNameError for a split, form or value that there is not, DatasetError where no portrait is left.
    """
    if split not in (*SPLITS, "all"):
        raise UnknownNameError("split", split, (*SPLITS, "all"))
    theory = load_framework(framework or edition.framework)
    column = "value" if theory.name == load_framework(edition.framework).name else "refined"
    rows = [row for row in edition.portraits if split in ("all", row["split"]) and row[column]]
    kept: dict[str, dict[tuple[Any, int], None]] = {}
    for row in rows:
        _check_value(row[column], theory, edition)
        kept.setdefault(row[column], {}).setdefault((row["value"], row["pair"]))
    chosen = {value: set(list(found)[:pairs]) for value, found in kept.items()}
    questions = tuple(
        Question(
            row["id"], row["text"], form, ((row[column], SIGN[row["keying"]]),), f"{row['value']} {row['pair']}"
        )
        for row in rows
        if (row["value"], row["pair"]) in chosen[row[column]]
    )  # fmt: skip
    if not questions:
        raise DatasetError(
            f"{edition.name} has no portraits of {theory.name} in its '{split}' split; choose another dataset, or an "
            "instrument of its own."
        )
    facts = {"kind": PORTRAITS, "dataset": _named(edition), "split": split}
    return Questionnaire(PORTRAITS, theory, questions, facts)


def published_questionnaire(instrument: Instrument, file: Path, *, form: str | None = None) -> Questionnaire:
    """A published scale with its text from a file: `.csv`, `.jsonl` or `.parquet` with the columns number and text.

    Items that the file lacks stay in it without a text: they are counted, and nobody is asked.

    Raises DatasetError where the file is missing or a line of it does not fit, InvalidInputError for a form of another
    scale.
    """
    texts = _numbered_texts(file, instrument)
    form = form or ("importance" if instrument.low < 0 else "rating")
    ends = {min(one.scores) for one in forms(form)}, {max(one.scores) for one in forms(form)}
    if ends != ({instrument.low}, {instrument.high}):
        raise InvalidInputError(
            f"The form '{form}' does not count from {instrument.low} to {instrument.high}, as {instrument.name} does; "
            "leave the form out."
        )
    questions = tuple(
        Question(
            f"{instrument.name}-{item.id}", texts.get(item.id), form,
            () if item.value is None else ((item.value, item.keying),), str(item.id),
        )
        for item in instrument.items()
    )  # fmt: skip
    facts = {
        "kind": "published", "title": instrument.title, "source": instrument.source, "file": file.name,
        "file_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }  # fmt: skip
    return Questionnaire(instrument.name, load_framework(instrument.framework), questions, facts)


def item_questionnaire(edition: ValueInsight, *, form: str | None = None) -> Questionnaire:
    """The items of an imported edition, such as ValueBench or Value Portrait.

    An item tells about the values that its weight lies beyond ±`MIN_WEIGHT` for, and is keyed by its sign. A statement
    is put in the form `agreement`, a reply to a query in the form `similarity`. What tells about no value is not asked,
    and rows about a group of values are left out.

    Raises DatasetError where no item is left, UnknownNameError for a value that the framework has not.
    """
    theory = load_framework(edition.framework)
    found: dict[str, Question] = {}
    aside = {"of a group": 0, "without a value": 0, "of a small weight": 0}
    for row in edition.items:
        if row["value"] is None:
            aside["without a value"] += 1
        elif row["value"] in theory.groups:
            aside["of a group"] += 1
        elif abs(row["weight"]) <= MIN_WEIGHT:
            aside["of a small weight"] += 1
        else:
            _check_value(row["value"], theory, edition)
            suits = form or ("agreement" if row["query"] is None else "similarity")
            first = Question(
                row["item"], row["text"], suits, (), row["item"], row["query"] or "", row["question"] or ""
            )
            known = found.setdefault(row["item"], first)
            use = (row["value"], 1 if row["weight"] > 0 else -1)
            if row["value"] not in dict(known.uses):
                found[row["item"]] = replace(known, uses=(*known.uses, use))
    if not found:
        raise DatasetError(
            f"{edition.name} has no items that tell about a value; its portraits are asked with the instrument "
            f"'{PORTRAITS}' and this dataset."
        )
    facts = {"kind": "items", "dataset": _named(edition), "sources": sorted(set(edition.items["source"]))}
    return Questionnaire(edition.name, theory, tuple(found.values()), facts | {"rows_left_out": aside})


def _numbered_texts(file: Path, instrument: Instrument) -> dict[int | str, str]:
    """Number -> text of a user's file, checked line by line."""
    if file.suffix not in _ENDINGS:
        raise DatasetError(f"{file} must end in {', '.join(_ENDINGS)}.")
    texts: dict[int | str, str] = {}
    for line, row in read_rows(file, "items"):
        if missing := [name for name in ("number", "text") if name not in row]:
            raise DatasetError(
                f"{file}, line {line}: the column '{missing[0]}' is missing; needed are number and text."
            )
        number, text = _whole(row["number"]), row["text"]
        if number is None or not 1 <= number <= instrument.items_total:
            raise DatasetError(
                f"{file}, line {line}: {instrument.name} numbers its items from 1 to {instrument.items_total}, "
                f"{row['number']!r} given."
            )
        if number in texts:
            raise DatasetError(f"{file}, line {line}: item {number} was given before.")
        if not isinstance(text, str) or not text.strip():
            raise DatasetError(f"{file}, line {line}: item {number} has no text.")
        texts[number] = text.strip()
    if not texts:
        raise DatasetError(f"{file} has no item in it.")
    return texts


def _whole(given: Any) -> int | None:
    text = str(given).strip().removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _check_value(value: str, theory: Framework, edition: ValueInsight) -> None:
    if value not in theory.values:
        raise UnknownNameError("value", value, theory.values, f"({edition.name}, framework '{theory.name}')")


def _named(edition: ValueInsight) -> dict[str, str]:
    return {"name": edition.name, "sha256": edition.fingerprint}
