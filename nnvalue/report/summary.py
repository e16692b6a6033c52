"""The first screen of the page: what was asked and found in a few sentences, all computed, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnvalue.report.arms import arm_sentences
from nnvalue.report.causal import truth
from nnvalue.report.figures import Table, counted, listed, plain, rate, short, signed
from nnvalue.report.gathering import Gathered, Problem, Result
from nnvalue.report.neurons import places
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
        return arm_sentences(result.content, known[result.path])
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
        f"Located: {each} neurons for each pole of {listed([short(one) for one in found.values], 4)}, from {asked} "
        "situations a value, each put to the model as somebody who holds the value and as its opposite: "
        f"{places(found)}"
    )
    if rs:
        said += f". Two halves of the texts rank neurons alike (r = {min(rs):.2f} at least)"
    tests = [counts[value]["significance"] for value in found.values]
    if all(tests):
        called, every = int(found.columns["called"].sum()), sum(sum(one["called"].values()) for one in tests)
        which = f"All {called:,}" if called == len(found) else f"{called:,} of the {len(found):,}"
        said += (
            f". {which} differ by more than wording alone does, as do {every / (total * len(tests)):.0%} of all "
            "neurons, mean over values"
        )
    else:
        said += ". No A/A null was run for them, so nothing tells them from neurons that answer to wording"
    return [f"{said}."]


def steered_with(evaluation: Result, located: Sequence[Result]) -> list[str]:
    """That an evaluation steered with neurons that it located for itself, if the page shows others in front."""
    own = [one for one in located if located_by(one, evaluation)]
    if not own or located[0] in own:
        return []
    one = own[0].content
    counts = [one.config["counts"][value] for value in one.values]
    null = "no A/A null was run for them" if any(each["significance"] is None for each in counts) else (
        "the A/A null was run for them, too"
    )  # fmt: skip
    return [
        f"Steered with other neurons: the evaluation located its own, of "
        f"{listed([short(value) for value in one.values], 4)}, from {min(each['situations'] for each in counts)} "
        f"situations a value. They are {places(one)}; {null}."
    ]


def located_by(neurons: Result, evaluation: Result) -> bool:
    """Whether neurons lie where an evaluation puts those that it located for itself."""
    return neurons.path.parent == evaluation.path.with_name(f"{evaluation.path.name}.neurons")


def _graph(graph: Any) -> list[str]:
    if graph.resamples < 2:
        return []
    edges = graph.edges()
    often = sum(edge.edge_frequency >= 0.8 for edge in edges)
    noun = "arrow" if all(edge.kind == "→" for edge in edges) else "edge"
    said = (
        f"Causal graph by {graph.rule['method']}: {often} of {counted(len(edges), noun)} come back in at least 80 % of "
        f"{graph.resamples} resamples of {graph.roles} roles"
    )
    if graph.by_role.ways:
        said += (
            f"; graphs of two halves of the roles agree in F1 {graph.by_role.skeleton:.2f} (chance "
            f"{graph.by_role.skeleton_chance:.2f})"
        )
    if (found := truth(graph)) is not None:
        said += (
            f". The causal model that was put in is known, with {counted(found.reference, 'arrow')}: against it the "
            f"edges reach F1 {found.skeleton.value:.2f} (chance {found.skeleton.chance:.2f}) and their directions "
            f"{found.direction.value:.2f} (chance {found.direction.chance:.2f}, p = {rate(found.direction.p)})"
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
    ends, count = [order[0], order[-1]], len(profile.voices)
    most, least = (short(profile.values[place]) for place in ends)
    high, low = (signed(profile.scores[0, place]) for place in ends)
    who = profile.voices[0] if count == 1 else f"voice 1 of {count} ({profile.voices[0]})"
    said = (
        f"Measured: {who} holds {most} most ({high}) and {least} least ({low}), by {int(profile.n[0].sum()):,} answers"
    )
    if count > 1:
        spreads = [
            f"{name} from {signed(np.nanmin(column))} to {signed(np.nanmax(column))}"
            for name, column in zip((most, least), profile.scores[:, ends].T, strict=True)
        ]
        said += f". A voice is who the model was asked to speak as; the {count} differ: {', '.join(spreads)}"
    return [f"{said}."]


def runs_table(results: Sequence[Result]) -> tuple[Table, str]:
    """What was run, on what, with which seeds; and the versions, if all results have the same ones."""
    rows, versions = [], [_versions(result) for result in results]
    known = {one for one in versions if one != "—"}
    same = len(known) == 1
    for result, version in zip(results, versions, strict=True):
        identity = model_of(result)
        rows.append((
            result.name, KINDS.get(result.kind, result.kind), f"{identity.get('name', '—')}{_where(identity)}",
            framework_name(result) or "—", _dataset(result), _settings(result), _seed(result),
            *(() if same else (version,)),
        ))  # fmt: skip
    head = ("folder", "what", "model", "framework", "dataset", "how", "seed", *(() if same else ("versions",)))
    whose = "All results that tell their versions" if "—" in versions else "All"
    return Table(head, tuple(rows), len(head)), f"{whose} were made with {known.pop()}." if same else ""


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
