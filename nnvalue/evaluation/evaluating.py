"""The verb: an experiment from its design to rows, and from rows to the tables that a reviewer asks for."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from nnvalue.artifacts import (
    Journal,
    canonical_json,
    digest,
    holds,
    library_versions,
    other_settings,
    parquet_bytes,
    read_folder,
    write_folder,
)
from nnvalue.dataset import ValueInsight, load_valueinsight
from nnvalue.errors import ArtifactError, InvalidInputError
from nnvalue.evaluation.conditions import conditions_of, describe
from nnvalue.evaluation.design import Design, design_from
from nnvalue.evaluation.reading import items_of, read_answers, read_cost, read_items
from nnvalue.evaluation.tables import Tables, tables_of
from nnvalue.models import Subject, open_model
from nnvalue.progress import Progress, silent
from nnvalue.readout import Judge, ParserJudge
from nnvalue.values import Facet, Framework, Group, Value, load_framework

KIND = "evaluation"
_SCHEMA = 1
_ORGANISM = "nnvalue/organism"
_SPOKEN = ("schwartz",)
"""Frameworks whose values the organism speaks of."""
_ROWS = ("answers", "items", "costs")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An experiment's rows, from which all its tables follow.

    facts: JSON data: design, model, dataset, judge, what every arm does, notes on what was left out, versions.
    answers, items, costs: rows, as `nnvalue.evaluation.reading` makes them.
    """

    facts: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]
    items: Sequence[Mapping[str, Any]]
    costs: Sequence[Mapping[str, Any]]

    @property
    def design(self) -> Design:
        """What was compared."""
        return design_from(self.facts["design"], "the design of this evaluation")

    @property
    def framework(self) -> Framework:
        """Whose values they are, as it was when they were measured."""
        return _framework_from(self.facts["framework"])

    def tables(self) -> Tables:
        """Every figure, from the rows alone."""
        return tables_of(self.design, self.framework, self.answers, self.items, self.costs)

    def save(self, folder: str | Path) -> Path:
        """Write a folder of JSON, parquet, CSV and a README, as a whole or not at all. Raises ArtifactError."""
        tables = self.tables()
        files = {f"{name}.parquet": _parquet(getattr(self, name)) for name in _ROWS}
        files |= {
            "evaluation.json": canonical_json({"schema": _SCHEMA, **self.facts}),
            "tables.json": canonical_json(tables.as_json()),
            "effects.csv": tables.effects_csv().encode(),
            "README.md": tables.card(self.facts).encode(),
        }
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Evaluation:
        """Open a saved evaluation. Raises ArtifactError if it is missing, foreign, incomplete or damaged."""
        import json

        files = read_folder(Path(folder), KIND)
        try:
            facts = json.loads(files["evaluation.json"])
            rows = [_read(files[f"{name}.parquet"]) for name in _ROWS]
            if facts.pop("schema") != _SCHEMA:
                raise ArtifactError(f"{folder} was written by another version of nnvalue; evaluate again.")
            made = cls(facts, *rows)
            made.design, made.framework  # noqa: B018 - what cannot be is found here and not later
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactError(f"{folder} is no whole evaluation ({' '.join(str(error).split())}).") from None
        return made


def evaluate(
    model: Any = None,
    design: Design | None = None,
    *,
    dataset: ValueInsight | str | Path | None = None,
    judge: Judge | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    batch_tokens: int = 8192,
    progress: Progress = silent,
    **settings: Any,
) -> Evaluation:
    """Steer by every arm of a design, and read what moves, what else moves, and what it costs.

    Answers to situations are judged, portraits and statements read from option probabilities, held-out sentences from
    their likelihood. Rows of different arms share batches, and answers to one situation their noise.

    Args:
        model: a `Subject`, or anything that `open_model` takes; None for the embedded organism.
        design: what is compared; `settings` override single fields. Default: the preset `quick`.
        dataset: an edition, its name or folder.
        judge: who reads answers; None for the organism's parser, which reads no other model.
        out: folder to save in. Neurons that arms are made of lie in `<out>.neurons`, and unfinished work in
            `<out>.work`: a run with the same settings goes on from there, and a finished one is returned as it is.
        overwrite: replace what other settings left there.

    Raises NnvalueError of some kind, with what to do, for anything that a user can mend.
    """
    from nnvalue.evaluation.design import preset

    design = replace(design or preset("quick"), **settings)
    edition = dataset if isinstance(dataset, ValueInsight) else load_valueinsight(dataset)
    framework = load_framework(edition.framework)
    design = replace(design, values=tuple(dict.fromkeys(map(framework.resolve, design.values))))
    subject = model if isinstance(model, Subject) else open_model(model)
    judge = judge or _parser(subject, framework)
    out = None if out is None else Path(out).expanduser().resolve()
    spec = {
        "design": design.as_json(),
        "model": subject.identity(),
        "dataset": {"name": edition.name, "sha256": edition.fingerprint},
        "framework": asdict(framework),
        "judge": judge.describe(),
        "versions": library_versions(),
    }
    if (known := _finished(out, spec, overwrite)) is not None:
        return known
    subject.runtime.begin()
    with _places(out, spec, overwrite) as (journal, neurons):
        put = items_of(design, edition, _statements())
        conditions, notes, arms = conditions_of(subject, design, edition, neurons, overwrite, progress)
        rest = (batch_tokens, progress)
        whole = isinstance(judge, ParserJudge)
        answers = read_answers(subject, conditions, design, edition, judge, whole, journal, *rest)
        items = read_items(subject, conditions, put, journal, *rest)
        costs = read_cost(subject, conditions, design, edition, batch_tokens, journal, progress)
        facts = {**spec, "notes": notes, "arms": arms, "conditions": len(conditions), "does": describe(conditions)}
        made = Evaluation(facts, answers, items, costs)
        if out is not None:
            made.save(out)
            journal.remove()
    return made


def _parser(subject: Subject, framework: Framework) -> Judge:
    if subject.name != _ORGANISM:
        raise InvalidInputError(
            f"Who shall judge the answers of '{subject.name}'? Only the embedded organism has a parser; give a judge."
        )
    if framework.name not in _SPOKEN:
        raise InvalidInputError(
            f"The organism's parser knows the values of {' and '.join(_SPOKEN)}, and these are of {framework.name}; "
            "give another judge."
        )
    return ParserJudge(framework)


def _framework_from(data: Mapping[str, Any]) -> Framework:
    """A framework from what `asdict` made of it."""
    return Framework(
        data["name"], data["title"], data["source"],
        {name: Value(**fields) for name, fields in data["values"].items()},
        {name: Group(**{**fields, "members": tuple(fields["members"])}) for name, fields in data["groups"].items()},
        tuple(data["circle"]), {name: Facet(**fields) for name, fields in data["facets"].items()},
    )  # fmt: skip


def _statements() -> Mapping[str, Sequence[str]]:
    from importlib import resources

    return yaml.safe_load(resources.files(__package__).joinpath("statements.yaml").read_text(encoding="utf-8"))


def _finished(out: Path | None, spec: Mapping[str, Any], overwrite: bool) -> Evaluation | None:
    if out is None or not holds(out, KIND) or overwrite:
        return None
    known = Evaluation.load(out)
    if digest({name: known.facts.get(name) for name in spec}) == digest(spec):
        return known
    raise other_settings(out, KIND)


@contextmanager
def _places(out: Path | None, spec: Mapping[str, Any], overwrite: bool) -> Iterator[tuple[Journal, Path]]:
    """The journal, and where located neurons are kept."""
    if out is not None:
        with Journal(out.with_name(f"{out.name}.work"), spec, discard=overwrite) as journal:
            yield journal, out.with_name(f"{out.name}.neurons")
        return
    with tempfile.TemporaryDirectory(prefix="nnvalue-") as folder, Journal(Path(folder) / "work", spec) as journal:
        yield journal, Path(folder) / "neurons"


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow

    names = dict.fromkeys(name for row in rows for name in row)
    return parquet_bytes(pyarrow.table({name: pyarrow.array([row.get(name) for row in rows]) for name in names}))


def _read(content: bytes) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None
