"""What a shell completes beside verbs, options and files: names, without importing what they name.

The lists stand here a second time because the rooms that own them import torch; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import click
from click.shell_completion import CompletionItem

FRAMEWORKS = ("schwartz", "schwartz19", "moral_foundations")
DATASETS = ("valueinsight", "moral_foundations")
METHODS = (
    "prompt_difference", "firing_difference", "mean_difference", "effect_size", "contrastive", "lape", "probe",
    "value_plane", "attribution", "random",
)  # fmt: skip
GRAPH_METHODS = ("jci", "effects", "paper", "pc", "boss", "ges", "fci", "lingam")
SITES = ("gate", "down_in")
TOKENS = ("response", "last_prompt", "prompt")
TEXTS = ("own", "both")
MODES = ("npti", "valuelocate", "effect", "gain", "ablate", "clamp_range")
FEATURE_MODES = ("add", "clamp", "min_clamp", "scale")
FORMS = ("rating", "choice", "agreement", "similarity", "importance")
PRESETS = ("quick", "paper", "full")
LAYOUTS = ("personalitybench", "valuebench", "valueportrait")
ARCHITECTURES = ("standard", "topk", "batchtopk")

_VALUES = ("values", "value", "describe", "measured")  # parameters that take a value or a group
_BY_PARAMETER: Mapping[str, tuple[str, ...]] = {
    "framework": FRAMEWORKS,
    "dataset": DATASETS,
    "site": SITES,
    "tokens": TOKENS,
    "texts": TEXTS,
    "mode": MODES,
    "form": FORMS,
    "preset": PRESETS,
    "layout": LAYOUTS,
    "instrument": ("portraits",),
    "responses": ("model", "dataset"),
    "protocol": ("options", "yes_no"),
    "rows": ("pooled", "unsteered", "within"),
    "kind": ("prompt", "neurons", "direction"),
    "kinds": ("prompt", "neurons", "direction"),
    "against": ("organism",),
    "architecture": ARCHITECTURES,
    "dtype": ("float32", "bfloat16", "float16"),
    "device_map": ("auto", "cuda", "cpu"),
    "host": ("dry-run",),
}
_OF_A_VERB: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("locate", "method"): METHODS,
    ("graph", "method"): GRAPH_METHODS,
    ("steer", "mode"): (*MODES, *FEATURE_MODES),
    ("survey", "mode"): (*MODES, *FEATURE_MODES),
    ("bake", "mode"): ("gain", "ablate", "effect"),
    ("measure", "split"): ("test", "locate", "all"),
    ("survey", "split"): ("test", "locate", "all"),
}


class Names(click.ParamType[str]):
    """Text whose likely values are known; anything else may be typed as well, and files are offered where none fits."""

    name = "text"

    def __init__(self, known: Callable[[], Iterable[str]]) -> None:
        self.known = known

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is."""
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so; the last of several with commas between them."""
        before, comma, last = incomplete.rpartition(",")
        found = [CompletionItem(before + comma + name) for name in self.known() if name.startswith(last)]
        return found or [CompletionItem(incomplete, type="file")]


def teach(command: click.Command, verb: str | None = None) -> None:
    """Let the options of a verb, and of its verbs, complete the names that they take."""
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            teach(one, name)
        return
    verb = verb or command.name or ""
    for parameter in command.params:
        if not isinstance(parameter.type, type(click.STRING)):
            continue
        name = parameter.name or ""
        known = _OF_A_VERB.get((verb, name)) or _BY_PARAMETER.get(name)
        if name in _VALUES:
            parameter.type = Names(_values)
        elif known:
            parameter.type = Names(partial(tuple, known))


def _values() -> Iterable[str]:
    """The default framework's values and groups."""
    from nnvalue.values import load_framework

    framework = load_framework("schwartz")
    return (*framework.values, *framework.groups)
