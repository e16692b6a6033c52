"""The first screen of the page: what was asked and found in a few sentences, all computed, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.report.effects import mean
from nnvalue.report.evaluation import pooled
from nnvalue.report.figures import Table, counted, interval, listed, plain, short, signed
from nnvalue.report.gathering import Gathered, Problem, Result
from nnvalue.values import POLES, embedded_frameworks, load_framework

KINDS = {
    "value-neurons": "value neurons", "evaluation": "evaluation", "graph": "causal graph", "survey": "survey",
    "profile": "value profile", "value-features": "SAE features", "value-directions": "directions",
    "steering": "steering", "sparse-autoencoder": "sparse autoencoder", "baked steering": "baked model",
}  # fmt: skip
_ABSENT = (
    ("value-neurons", "value neurons", "nnvalue locate"),
    ("evaluation", "the effect of steering, and its cost", "nnvalue evaluate --preset quick"),
    ("graph", "a causal graph of values", "nnvalue survey --out runs/s, then nnvalue graph runs/s --method effects"),
    ("survey", "structure against the circle and people", "nnvalue survey --out runs/s"),
    ("profile", "which values the model holds", "nnvalue measure --out runs/profile"),
)


def model_of(result: Result) -> Mapping[str, Any]:
    """The model's identity as a result has it; empty where it does not tell."""
    content = result.content
    if result.kind in ("value-neurons", "value-features"):
        found = content.config.get("model")
    elif result.kind in ("evaluation", "survey"):
        found = content.facts.get("model")
    elif result.kind == "profile":
        found = content.readout.get("model")
    elif result.kind == "graph":
        found = content.source.get("model")
    else:
        found = content.get("model") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {"name": str(found)} if found else {}


def framework_name(result: Result) -> str | None:
    """Whose values a result is about."""
    content = result.content
    if result.kind in ("value-neurons", "value-features"):
        told = content.config.get("framework")
        return told.get("name") if isinstance(told, dict) else told
    if result.kind == "evaluation":
        return content.framework.name
    if result.kind == "survey":
        return content.facts.get("framework")
    if result.kind == "graph":
        return content.source.get("framework")
    return content.framework if result.kind == "profile" else None


def asked(results: Sequence[Result]) -> str:
    """What the page is about, in a sentence."""
    models = list(dict.fromkeys(str(model_of(one)["name"]) for one in results if model_of(one).get("name")))
    names = list(dict.fromkeys(name for name in map(framework_name, results) if name))
    titles = [load_framework(name).title if name in embedded_frameworks() else name for name in names]
    theory = f" Values are those of {listed(titles)}." if titles else ""
    who = listed(models) or "the model"
    return f"Which values does {who} carry, where in it, and what happens when they are turned up or down?{theory}"


def headline(result: Result, known: Mapping[Path, Any]) -> list[str]:
    """The plain sentences of one result; known: tables of evaluations and structures of surveys."""
    makers = {"value-neurons": _neurons, "graph": _graph, "profile": _profile}
    if result.kind == "evaluation":
        return _evaluation(result.content, known[result.path])
    if result.kind == "survey":
        return _survey(result.content, known[result.path])
    return makers[result.kind](result.content) if result.kind in makers else []


def _neurons(found: Any) -> list[str]:
    counts, total = found.config["counts"], found.layers * found.width
    situations = [counts[value]["situations"] for value in found.values]
    asked = f"{min(situations)}" if min(situations) == max(situations) else f"{min(situations)} to {max(situations)}"
    rs = [counts[value]["split_half_r"] for value in found.values if counts[value]["split_half_r"] is not None]
    sizes = [len(found.places(value, pole)) for value in found.values for pole in POLES]
    each = f"{sizes[0]}" if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"
    said = (
        f"Located: {len(found):,} value neurons, {each} for each pole of "
        f"{listed([short(one) for one in found.values], 4)}, among {total:,}, from {asked} situations a value, each "
        "put to the model as somebody who holds the value and as its opposite"
    )
    if rs:
        said += f"; two halves of the texts rank neurons alike (r = {min(rs):.2f} at least)"
    tests = [counts[value]["significance"] for value in found.values]
    if all(tests):
        called = int(found.columns["called"].sum())
        said += f"; {called:,} of them ({called / max(1, len(found)):.0%}) differ by more than wording alone does"
    return [f"{said}."]


def _evaluation(done: Any, tables: Any) -> list[str]:
    said = []
    for one in pooled(done, tables):
        random = "There is no random control" if not one.random else (
            f"Random edits of the same size: {signed(mean(one.random))}, {_spread(one.random)}"
        )  # fmt: skip
        said.append(
            f"Steered by {one.arm}: the stance of answers, −1 to 1, moves towards the asked pole by "
            f"{interval(one.moved.mean, one.moved.low, one.moved.high)}, {_spread(one.cells)} over {len(one.cells)} "
            f"pairs of a value and a pole; in {one.beyond} of them the interval lies above 0. {random}."
        )
    return said


def _spread(figures: Sequence[float]) -> str:
    return f"from {signed(min(figures))} to {signed(max(figures))}"


def _graph(graph: Any) -> list[str]:
    if graph.resamples < 2:
        return []
    edges = graph.edges()
    often = sum(edge.edge_frequency >= 0.8 for edge in edges)
    said = (
        f"Causal graph by {graph.rule['method']}: {len(edges)} edges, {often} of which come back in .8 of "
        f"{graph.resamples} bootstraps of {graph.roles} roles"
    )
    if graph.by_role.ways:
        said += (
            f"; graphs of two halves of the roles agree in F1 {graph.by_role.skeleton:.2f} (chance "
            f"{graph.by_role.skeleton_chance:.2f})"
        )
    return [f"{said}."]


def _survey(survey: Any, found: Any) -> list[str]:
    said = (
        f"Surveyed: {len(survey.roles)} roles in {len(survey.settings)} settings gave {survey.scores.size:,} answers, "
        f"{survey.failed:,} of which do not count"
    )
    template = next((one for one in getattr(found, "measures", ()) if one.name == "template"), None)
    if template is not None:
        said += (
            f"; how values go together over the roles follows the circle by r = {plain(template.value)}, where "
            f"shuffled names reach {plain(template.chance)} and samples of people {plain(template.people_low)} to "
            f"{plain(template.people_high)}"
        )
    return [f"{said}."]


def _profile(profile: Any) -> list[str]:
    order = np.argsort(-np.nan_to_num(profile.scores[0]))
    most, least = (profile.values[place] for place in (order[0], order[-1]))
    scores = dict(zip(profile.values, profile.scores[0], strict=True))
    return [
        f"Measured: {profile.voices[0]} holds {short(most)} most ({signed(scores[most])}) and {short(least)} least "
        f"({signed(scores[least])}), by {profile.outcomes['answered']:,} answers."
    ]


def runs_table(results: Sequence[Result]) -> Table:
    """What was run, on what, with which seeds and versions."""
    rows = []
    for result in results:
        identity = model_of(result)
        rows.append((
            result.name, KINDS.get(result.kind, result.kind), f"{identity.get('name', '—')}{_where(identity)}",
            framework_name(result) or "—", _dataset(result), _settings(result), _seed(result), _versions(result),
        ))  # fmt: skip
    head = ("folder", "what", "model", "framework", "dataset", "how", "seed", "versions")
    return Table(head, tuple(rows), len(head))


def _facts(result: Result) -> Mapping[str, Any]:
    content = result.content
    names = {"value-neurons": "config", "value-features": "config", "profile": "readout", "graph": "source"}
    if result.kind in names:
        return getattr(content, names[result.kind])
    if result.kind in ("evaluation", "survey"):
        return content.facts
    return content if isinstance(content, dict) else {}


def _dataset(result: Result) -> str:
    told = _facts(result).get("dataset")
    return str(told.get("name", "—")) if isinstance(told, dict) else "—"


def _where(identity: Mapping[str, Any]) -> str:
    parts = [str(identity["dtype"])] if identity.get("dtype") else []
    host = identity.get("runs_on", {})
    parts += [str(host["host"])] if isinstance(host, dict) and host.get("host") else []
    return "".join(f", {part}" for part in parts)


def _settings(result: Result) -> str:
    content = result.content
    if result.kind == "value-neurons":
        settings = content.config["settings"]
        return f"{settings['method']}, site {settings['site']}, {settings['tokens'].replace('_', ' ')} tokens"
    if result.kind == "evaluation":
        design = content.design
        arms = "; ".join(f"{arm.name} at {', '.join(f'{dose:g}' for dose in arm.doses)}" for arm in design.arms)
        return f"{arms}; {design.situations} situations a cell"
    if result.kind == "graph":
        rule = content.rule
        return f"{rule['method']}, {content.resamples} bootstraps of roles"
    if result.kind == "survey":
        return f"{len(content.roles)} roles × {len(content.settings)} settings × {len(content.items)} items"
    if result.kind == "profile":
        return f"{content.asked:,} questions, {counted(len(content.voices), 'voice')}"
    return f"{len(content):,} features" if result.kind == "value-features" else "—"


def _seed(result: Result) -> str:
    content = result.content
    if result.kind == "evaluation":
        return str(content.design.seed)
    if result.kind == "graph":
        return str(content.seed)
    facts = _facts(result)
    settings = facts.get("settings")
    seed = facts.get("seed", settings.get("seed") if isinstance(settings, dict) else None)
    return "—" if seed is None else str(seed)


def _versions(result: Result) -> str:
    told = _facts(result).get("versions")
    return ", ".join(f"{name} {one}" for name, one in sorted(told.items())) if isinstance(told, dict) else "—"


def mixed(gathered: Gathered) -> list[Problem]:
    """Results that are not of one model, or not of one theory, said aloud."""
    made = []
    models: dict[Any, list[str]] = {}
    frameworks: dict[str, list[str]] = {}
    for result in gathered.results:
        identity = model_of(result)
        if identity.get("name"):
            key = (identity["name"], identity.get("config_sha256"), identity.get("weights_sample_sha256"))
            models.setdefault(key, []).append(result.name)
        if (framework := framework_name(result)) is not None:
            frameworks.setdefault(framework, []).append(result.name)
    for what, found in (("models", models), ("frameworks of values", frameworks)):
        if len(found) > 1:
            told = "; ".join(
                f"{key[0] if isinstance(key, tuple) else key}: {listed(names, 4)}" for key, names in found.items()
            )  # fmt: skip
            made.append(
                Problem(
                    "These results", f"are of {len(found)} different {what} ({told}).",
                    "Figures of one are not comparable with those of another; name the results of one to have it "
                    "alone.",
                )
            )  # fmt: skip
    return made


def absent(gathered: Gathered) -> list[tuple[str, str]]:
    """(what a fuller report would show, the command that makes it)."""
    kinds = {result.kind for result in gathered.results}
    return [(what, command) for kind, what, command in _ABSENT if kind not in kinds]
