"""The page: every result a part, every kind of result a section, in one file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nnvalue.artifacts import write_bytes
from nnvalue.errors import ArtifactError
from nnvalue.report import drawing, legends
from nnvalue.report.answers import BUDGET
from nnvalue.report.blocks import Block, Part, Section
from nnvalue.report.causal import graph_blocks
from nnvalue.report.evaluation import evaluation_blocks
from nnvalue.report.figures import Figure, HeatMap
from nnvalue.report.gathering import Gathered, Problem, Result, gather
from nnvalue.report.glossary import ABOUT_ORGANISM, is_organism, words
from nnvalue.report.neurons import neuron_blocks
from nnvalue.report.profile import feature_blocks, profile_blocks
from nnvalue.report.structure import survey_blocks, survey_structure
from nnvalue.report.summary import (
    KINDS,
    absent,
    asked,
    framework_name,
    headline,
    located_by,
    mixed,
    model_of,
    runs_table,
    steered_with,
)
from nnvalue.values import Framework, embedded_frameworks, load_framework

MARK = '<meta name="generator" content="nnvalue report">'
"""What tells a report of ours from other people's files."""
_HEAD = 2048


@dataclass(frozen=True)
class Report:
    """What a page was made of.

    out: where it was written; bytes: its size.
    shown: (folder, kind) of every result in it.
    problems: what is missing or to be careful about.
    """

    out: Path
    bytes: int
    shown: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {
            "out": str(self.out), "bytes": self.bytes,
            "shown": [{"folder": folder, "kind": kind} for folder, kind in self.shown],
            "problems": [vars(one) for one in self.problems],
        }  # fmt: skip


def build_report(
    results: Sequence[str | Path] | None = None,
    out: str | Path = "report.html",
    *,
    title: str | None = None,
    overwrite: bool = False,
    text_budget: int = BUDGET,
) -> Report:
    """Write a page that shows everything in some results, in one file.

    Args:
        results: folders of a result, or folders that hold several; None for all in `runs`.
        out: the file. An earlier report there is replaced.
        title: of the page; None for one that names the model.
        overwrite: replace a file that is no report of ours, too.
        text_budget: how many letters unsteered and steered answers may take, about, over all evaluations.

    The same results give the same bytes. Raises InvalidInputError where no result can be shown, ArtifactError where
    `out` is taken or cannot be written.
    """
    path = Path(out)
    _require_place(path, overwrite)
    gathered = gather(results)
    page, problems = render(gathered, title, text_budget)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, page)
    return Report(path, len(page), tuple((one.name, one.kind) for one in gathered.results), tuple(problems))


def render(gathered: Gathered, title: str | None = None, text_budget: int = BUDGET) -> tuple[bytes, list[Problem]]:
    """The page's bytes, and what is said to be missing in it."""
    problems = [*gathered.problems, *mixed(gathered)]
    evaluations = gathered.of("evaluation")
    known: dict[Path, Any] = {one.path: one.content.tables() for one in evaluations}
    known |= {one.path: survey_structure(one.content, framework_of(one)) for one in gathered.of("survey")}
    budget = text_budget // max(1, len(evaluations))
    sections = _sections(gathered, known, budget)
    models = list(
        dict.fromkeys(str(model_of(one).get("name")) for one in gathered.results if model_of(one).get("name"))
    )
    organism = any(is_organism(model_of(one)) for one in gathered.results)
    runs, versions = runs_table(gathered.results)
    style, script = _file("style.css"), _file("report.js")
    environment = _environment()
    page = environment.get_template("page.html").render(
        mark=Markup(MARK), policy=_policy(style, script), style=Markup(style), script=Markup(script),
        title=title or f"What nnvalue found in {', '.join(models) or 'a model'}", models=models,
        question=asked(gathered.results), summary=_summary(gathered, known),
        kinds=_counted(gathered.results), problems=problems, absent=absent(gathered), runs=runs, versions=versions,
        sections=sections, about=ABOUT_ORGANISM if organism else "", glossary=words(gathered, organism),
    )  # fmt: skip
    return page.encode(errors="replace"), problems  # half a surrogate pair, out of a JSON file, is no text


def _summary(gathered: Gathered, known: Mapping[Path, Any]) -> list[str]:
    """The sentences of the first result of every kind, in the order of the chapters; others speak for themselves."""
    said = []
    for kind in _CHAPTERS:
        for one in gathered.of(kind)[:1]:
            said += steered_with(one, gathered.of("value-neurons")) if kind == "evaluation" else []
            said += headline(one, known)
    return said


def _sections(gathered: Gathered, known: Mapping[Path, Any], budget: int) -> list[Section]:
    """A section for every kind of result that is there.

    known: what takes its time to tell: tables of evaluations, structures of surveys.
    """
    makers: dict[str, Callable[[Result], list[Block]]] = {
        "value-neurons": lambda one: neuron_blocks(one.content, framework_of(one)),
        "evaluation": lambda one: evaluation_blocks(one.content, known[one.path], budget),
        "graph": lambda one: graph_blocks(one.content, framework_of(one)),
        "survey": lambda one: survey_blocks(one.content, framework_of(one), known[one.path]),
        "profile": lambda one: profile_blocks(one.content, framework_of(one)),
        "value-features": lambda one: feature_blocks(one.content, framework_of(one)),
    }  # fmt: skip
    made = []
    for kind, (name, title, lead) in _CHAPTERS.items():
        results = gathered.of(kind)
        if results:
            parts = tuple(Part(_title(result, gathered), tuple(makers[kind](result))) for result in results)
            made.append(Section(name, title, lead, parts))
    return made


def _title(result: Result, gathered: Gathered) -> str:
    """A part's title: the folder, and of neurons that an evaluation located for itself, whose they are."""
    users = [one.name for one in gathered.of("evaluation") if located_by(result, one)]
    return f"{result.name}: the neurons that {users[0]} steered with" if users else result.name


_CHAPTERS = {
    "value-neurons": (
        "neurons", "Which neurons carry which value",
        "A value neuron is one that behaves differently when the model speaks as somebody who holds the value than "
        "when it speaks as the opposite, on the same texts.",
    ),
    "evaluation": (
        "steering", "What steering moves, and what it costs",
        "Steering changes the model while it answers. A steering that works moves the value that was asked for, leaves "
        "the others and the language alone, and does so where random edits of the same size do not.",
    ),
    "graph": (
        "graph", "What causes what",
        "A causal value graph says which values move when another one is moved, as far as answers tell.",
    ),
    "survey": (
        "structure", "How values hang together",
        "People who hold a value tend to hold its neighbours on the circle and not its opposites. Does the model, "
        "asked as many different roles?",
    ),
    "profile": (
        "profile", "Which values the model holds",
        "The model's own answers to portraits or situations, scored as a questionnaire is.",
    ),
    "value-features": (
        "features", "Features of a sparse autoencoder",
        "Directions that an autoencoder found in the model, ranked by how well they tell a value's poles apart.",
    ),
}  # fmt: skip


def framework_of(result: Result) -> Framework | None:
    """The framework of a result, if it comes with nnvalue."""
    name = framework_name(result)
    return load_framework(name) if name in embedded_frameworks() else None


def _counted(results: Sequence[Result]) -> list[str]:
    counts: dict[str, int] = {}
    for result in results:
        counts[KINDS.get(result.kind, result.kind)] = counts.get(KINDS.get(result.kind, result.kind), 0) + 1
    return [f"{count} × {kind}" if count > 1 else kind for kind, count in counts.items()]


def _environment() -> Any:
    """Templates with everything escaped, and an id for every figure."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        loader=FunctionLoader(lambda name: _file(f"templates/{name}")), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    numbers = iter(range(1, 1_000_000))

    def drawn(figure: Figure) -> dict[str, Any]:
        name = f"f{next(numbers)}"
        return {
            "id": name, "svg": drawing.draw(figure, name), "keys": legends.legend(figure),
            "scale": legends.scale_key(figure) if isinstance(figure, HeatMap) else "",
        }  # fmt: skip

    made.globals |= {"drawn": drawn, "new_id": lambda: f"t{next(numbers)}"}
    return made


@cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing is loaded from anywhere, and nothing runs but our own script: even a fault in escaping loads nothing."""
    marks = {
        name: base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        for name, content in (("style", style), ("script", script))
    }  # fmt: skip
    return (
        f"default-src 'none'; style-src 'sha256-{marks['style']}'; script-src 'sha256-{marks['script']}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _require_place(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder; give the name of a file.")
    if not path.exists() or overwrite:
        return
    with path.open("rb") as file:
        ours = MARK.encode() in file.read(_HEAD)
    if not ours:
        raise ArtifactError(f"{path} exists and is no report of nnvalue; give another name, or --overwrite.")
