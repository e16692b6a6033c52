"""What an SAE says it reads, in the words of other libraries, and where that is in a model that is open."""

from __future__ import annotations

import re

from nnvalue.errors import InvalidInputError, ModelError
from nnvalue.models import Subject

_LENS = re.compile(r"blocks\.(\d+)\.(\w[\w.]*)")
_PATH = re.compile(r"(?:[\w.]+\.)?(?:layers|h)\.(\d+)((?:\.\w+)*)")
_FILE = re.compile(r"layer_?(\d+)(?:\.sae\.pt)?")
_RESIDUAL = ("", ".output", "hook_resid_post")
_AFTER_NORM = "post_feedforward_layernorm"


def read_hook(name: str) -> tuple[int, str] | None:
    """Layer and place of a hook's name; None if it names no layer.

    Known are TransformerLens' names (`blocks.12.hook_resid_post`), paths of modules (`model.layers.3`, `layers.3.mlp`,
    `h.3`) and names of files (`layer3.sae.pt`). Whatever means a layer's output has the place "".

    >>> read_hook("blocks.12.hook_resid_pre"), read_hook("layers.3.mlp")
    ((11, ''), (3, '.mlp'))
    """
    for pattern in (_LENS, _PATH, _FILE):
        if found := pattern.fullmatch(name):
            layer, place = int(found[1]), found[2] if pattern.groups > 1 else ""
            if place == "hook_resid_pre":  # what goes into a layer is what comes out of the one before
                return layer - 1, ""
            return layer, "" if place in _RESIDUAL else place
    return None


def find_site(subject: Subject, hook: str) -> str:
    """The site of a model, as its anatomy names it, that a hook's name means.

    Raises InvalidInputError for a name that says nothing, ModelError for a place that the model has not.
    """
    anatomy = subject.anatomy
    if hook in anatomy.forward_order():
        return hook
    if (known := read_hook(hook)) is None:
        raise InvalidInputError(
            f"'{hook}' names no layer; say what the SAE reads, such as {anatomy.block[0]} or blocks.0.hook_resid_post."
        )
    layer, place = known
    if not 0 <= layer < anatomy.layers:
        what = "the embedding" if layer < 0 else f"layer {layer}"
        raise ModelError(f"The SAE reads {what} ('{hook}'), and {subject.name} has layers 0 to {anatomy.layers - 1}.")
    start = anatomy.block[layer].removesuffix(".output")
    if place == "hook_mlp_out" and hasattr(subject.model._module.get_submodule(start), _AFTER_NORM):
        # TransformerLens means what is added to the residual stream, which a norm has gone over in these families.
        raise ModelError(f"'{hook}' is read after a norm in {subject.name}, where nnvalue reads nothing; take another.")
    named = {"": anatomy.block, "hook_mlp_out": anatomy.down_out, ".mlp": anatomy.down_out,
             ".mlp.output": anatomy.down_out, "mlp.hook_post": anatomy.down_in}  # fmt: skip
    site = named[place][layer] if place in named else start + place
    for known_site in (site, f"{site}.output"):
        if known_site in anatomy.forward_order():
            return known_site
    raise ModelError(
        f"The SAE reads '{hook}', and nnvalue reads {subject.name} at {anatomy.block[layer]}, "
        f"{anatomy.down_out[layer]}, {anatomy.down_in[layer]} and {anatomy.gate[layer]} only; take an SAE of these."
    )


def hook_name(site: str) -> str:
    """TransformerLens' name of a layer's output, the name under which most libraries know it; else the site itself.

    >>> hook_name("model.layers.3.output")
    'blocks.3.hook_resid_post'
    """
    known = read_hook(site)
    return f"blocks.{known[0]}.hook_resid_post" if known and known[1] == "" else site
