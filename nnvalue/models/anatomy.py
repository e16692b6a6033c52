"""Where the neurons of a model are: resolved once, from its config and module tree, to strings and numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from nnvalue.errors import ModelError, UnknownNameError

SITES = ("gate", "down_in")
"""Where a neuron is read: `gate` = output of the activation function, `down_in` = input of the down projection."""


@dataclass(frozen=True)
class ModulePaths:
    """Names in a module tree: the list of layers, and within a layer the activation function and down projection."""

    layers: str
    activation: str
    down: str


_GATED = ModulePaths("model.layers", "mlp.act_fn", "mlp.down_proj")
_FAMILIES = {
    "gemma2": _GATED,
    "gemma3_text": _GATED,
    "gpt2": ModulePaths("transformer.h", "mlp.act", "mlp.c_proj"),
    "gpt_neox": ModulePaths("gpt_neox.layers", "mlp.act", "mlp.dense_4h_to_h"),
    "llama": _GATED,
    "mistral": _GATED,
    "olmo2": _GATED,
    "opt": ModulePaths("model.decoder.layers", "activation_fn", "fc2"),
    "phi3": ModulePaths("model.layers", "mlp.activation_fn", "mlp.down_proj"),
    "qwen2": _GATED,
    "qwen3": _GATED,
}


@dataclass(frozen=True)
class Anatomy:
    """Shape and sites of a model's MLP neurons; plain values only, so that it travels.

    layers, width: number of layers, and of neurons in each (the MLP's intermediate width).
    activation: class name of the activation function that the model really uses.
    gate, down_in: one site a layer; for MLPs without a gate both carry the same activation.
    down_out: what the MLP's down projection puts out, one a layer.
    block: the layer's output, that is the residual stream after it, one a layer.
    hidden: width of the residual stream; None where the config does not say.
    """

    family: str
    layers: int
    width: int
    activation: str
    gate: tuple[str, ...]
    down_in: tuple[str, ...]
    down_out: tuple[str, ...]
    block: tuple[str, ...]
    hidden: int | None = None

    def sites(self, name: str) -> tuple[str, ...]:
        """The sites of one kind, in forward order. Raises UnknownNameError."""
        if name not in SITES:
            raise UnknownNameError("site", name, SITES)
        return getattr(self, name)

    def forward_order(self) -> list[str]:
        """All sites, in the order in which a pass comes to them."""
        layers = zip(self.gate, self.down_in, self.down_out, self.block, strict=True)
        return [site for layer in layers for site in layer]

    def facts(self) -> dict[str, Any]:
        """What an artefact records of it."""
        return {
            name: value for name, value in asdict(self).items() if name in ("family", "layers", "width", "activation")
        }


def known_families() -> tuple[str, ...]:
    """The `model_type`s whose anatomy is known."""
    return tuple(_FAMILIES)


def resolve_anatomy(module: nn.Module, config: Any, paths: ModulePaths | None = None) -> Anatomy:
    """Find the MLP neurons of a causal language model; works on meta tensors, reads no weights.

    Args:
        paths: for a family that is not known, where its modules are.

    Raises ModelError for a mixture of experts, an unknown family, or a module tree that lacks the named modules.
    """
    family = getattr(config, "model_type", type(module).__name__)
    if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise ModelError(
            f"'{family}' is a mixture of experts; its neurons have no fixed place, and it is not supported."
        )
    paths = paths or _FAMILIES.get(family)
    if paths is None:
        raise ModelError(
            f"The architecture '{family}' is not known; known are {', '.join(_FAMILIES)}. Modules found: "
            f"{', '.join(_module_outline(module))}. Name them yourself: open_model(..., paths=ModulePaths("
            f"layers='model.layers', activation='mlp.act_fn', down='mlp.down_proj'))."
        )
    layers = _child(module, paths.layers, family)
    count = len(layers)
    acts = [_child(layer, paths.activation, family) for layer in layers]
    widths = {_input_width(_child(layer, paths.down, family)) for layer in layers}
    if len(widths) != 1 or not count:
        raise ModelError(f"'{family}' has MLPs of different widths ({sorted(widths)}); one width is expected.")
    prefixes = [f"{paths.layers}.{number}" for number in range(count)]
    return Anatomy(
        family=family,
        layers=count,
        width=widths.pop(),
        activation=type(acts[0]).__name__,
        gate=tuple(f"{prefix}.{paths.activation}.output" for prefix in prefixes),
        down_in=tuple(f"{prefix}.{paths.down}.input" for prefix in prefixes),
        down_out=tuple(f"{prefix}.{paths.down}.output" for prefix in prefixes),
        block=tuple(f"{prefix}.output" for prefix in prefixes),
        hidden=getattr(config.get_text_config(), "hidden_size", None) if hasattr(config, "get_text_config") else None,
    )


def _child(module: nn.Module, path: str, family: str) -> Any:
    try:
        return module.get_submodule(path)
    except AttributeError:
        raise ModelError(
            f"'{family}' has no module '{path}'. Modules found: {', '.join(_module_outline(module))}."
        ) from None


def _input_width(down: nn.Module) -> int:
    """Input width of a Linear, or of GPT-2's Conv1D, whose weight lies the other way round."""
    layer: Any = down
    return int(layer.in_features if hasattr(layer, "in_features") else layer.weight.shape[0])


def _module_outline(module: nn.Module, limit: int = 12) -> list[str]:
    """Names of the modules down to the first layer's children, without repeating layers."""
    names = [
        name
        for name, _ in module.named_modules()
        if name and not any(part.isdigit() and part != "0" for part in name.split("."))
    ]
    return names[:limit] + (["…"] if len(names) > limit else [])
