"""Which results go into a report: folders opened by their kind, and what cannot be opened told instead of hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnvalue.artifacts import MANIFEST, kind_of, read_folder, read_json
from nnvalue.errors import InvalidInputError, NnvalueError
from nnvalue.steering.baking import KIND as BAKED
from nnvalue.steering.baking import MARKER

RUNS = Path("runs")


@dataclass(frozen=True, eq=False)
class Result:
    """A result that could be opened.

    kind: as its manifest says; name: the folder as it is shown.
    content: the object that its own room makes of it; of kinds that are only listed, their configuration.
    """

    kind: str
    path: Path
    name: str
    content: Any


@dataclass(frozen=True)
class Problem:
    """Something that is not in the report, or not as it should be; a sentence each."""

    where: str
    what: str
    todo: str


@dataclass(frozen=True)
class Gathered:
    """What was found, in the order in which it is shown."""

    results: tuple[Result, ...]
    problems: tuple[Problem, ...]

    def of(self, kind: str) -> list[Result]:
        """The results of a kind."""
        return [one for one in self.results if one.kind == kind]


def gather(sources: Sequence[str | Path] | None = None) -> Gathered:
    """Open results: folders of one, or folders that hold several; None for all in `runs`, newest first.

    What is damaged, of another version or unfinished becomes a problem, and the rest is opened.

    Raises InvalidInputError where there is nothing at all that can be shown.
    """
    given = [Path(one) for one in sources] if sources else [RUNS]
    if not sources and not RUNS.is_dir():
        raise InvalidInputError(
            "There is no folder runs here, and no result was named: run nnvalue locate first, or name a result folder."
        )
    folders, problems = _folders(given)
    results = []
    for folder, name in folders:
        try:
            kind, content = _opened(folder)
            results.append(Result(kind, folder, name, content))
        except NnvalueError as error:
            problems.append(Problem(name, _sentence(error), "Make it again, or leave it out."))
    if not results:
        why = f" {problems[0].where}: {problems[0].what}" if problems else ""
        raise InvalidInputError(
            f"No result that can be shown in {', '.join(map(str, given))}; nnvalue locate, evaluate, measure, survey "
            f"and graph write some.{why}"
        )
    return Gathered(tuple(results), tuple(problems))


def _folders(given: Iterable[Path]) -> tuple[list[tuple[Path, str]], list[Problem]]:
    """Result folders and how they are called; each once."""
    found: dict[Path, str] = {}
    problems: list[Problem] = []
    for source in given:
        if not source.is_dir():
            problems.append(Problem(str(source), "There is no such folder.", "Check the name."))
            continue
        inside = [source] if _is_result(source) else _within(source)
        if not inside:
            problems.append(Problem(str(source), "It is no result of nnvalue and holds none.", "Name a result folder."))
        for folder in inside:
            if folder.name.endswith(".work"):
                problems.append(
                    Problem(
                        str(folder), "This is the work of a run that is not finished.",
                        "Type the same command again: it goes on where it stopped.",
                    )
                )  # fmt: skip
            else:
                found.setdefault(folder.resolve(), str(folder))
    return list(found.items()), problems


def _within(folder: Path) -> list[Path]:
    """Results one level down, newest first; what an evaluation located for itself lies one deeper, and follows it."""
    results = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    own = [child for child in results if _is_result(child)]
    own.sort(key=lambda child: (-_written(child), child.name))
    # A finished result has no use for the work that led to it.
    work = sorted(
        child for child in results if child.name.endswith(".work") and not child.with_suffix("").is_dir()
    )  # fmt: skip
    deeper = [child for child in sorted(results) if child.name.endswith(".neurons") and child not in own]
    located = [inner for child in deeper for inner in sorted(child.iterdir()) if _is_result(inner)]
    return [*own, *located, *work]


def _written(folder: Path) -> int:
    """When a result was written; the last of what says that it is one."""
    return max((folder / name).stat().st_mtime_ns for name in (MANIFEST, MARKER) if (folder / name).is_file())


def _is_result(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MANIFEST).is_file() or (folder / MARKER).is_file())


def _opened(folder: Path) -> tuple[str, Any]:
    if not (folder / MANIFEST).is_file():
        return BAKED, read_json(folder / MARKER)
    kind = kind_of(folder)
    if kind in _LISTED:
        files = read_folder(folder, kind)
        config = next((name for name in ("config.json", "cfg.json") if name in files), None)
        return kind, read_json(folder / config) if config else {}
    if kind is None or kind not in _OPENERS:
        told = "Its manifest cannot be read." if kind is None else f"It is of a kind that is not known: {kind}."
        raise InvalidInputError(told)
    return kind, _OPENERS[kind](folder)


def _neurons(folder: Path) -> Any:
    from nnvalue.findings import ValueNeurons

    return ValueNeurons.load(folder)


def _evaluation(folder: Path) -> Any:
    from nnvalue.evaluation import Evaluation

    return Evaluation.load(folder)


def _profile(folder: Path) -> Any:
    from nnvalue.readout import ValueProfile

    return ValueProfile.load(folder)


def _survey(folder: Path) -> Any:
    from nnvalue.causal import Survey

    return Survey.load(folder)


def _graph(folder: Path) -> Any:
    from nnvalue.causal import ValueGraph

    return ValueGraph.load(folder)


def _features(folder: Path) -> Any:
    from nnvalue.sae import ValueFeatures

    return ValueFeatures.load(folder)


_OPENERS: dict[str | None, Callable[[Path], Any]] = {
    "value-neurons": _neurons, "evaluation": _evaluation, "profile": _profile, "survey": _survey, "graph": _graph,
    "value-features": _features,
}  # fmt: skip
_LISTED = ("value-directions", "steering", "sparse-autoencoder")


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())
