"""Baking: a steering written into a copy of the weights, for programs that know nothing of nnvalue.

The down projection puts out W a + b for the activations a of a layer's neurons. An edit that is affine, a ← s·a + t, is
therefore one of its weights: W·diag(s), and b + W t where there is a bias; and a vector that is added to what it puts
out is one of its bias.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import nnsight
import torch
from torch import Tensor, nn

from nnvalue.artifacts import is_empty_folder, library_versions, read_json, recover_folder, write_json
from nnvalue.errors import ArtifactError, InvalidInputError, ModelError
from nnvalue.models import Subject
from nnvalue.steering_protocol import Edits, Steering, speaks
from nnvalue.traces import read_activation

MARKER = "nnvalue_steering.json"
"""The file in a baked model's folder that says what was baked."""
KIND = "baked steering"
_NEAR = 0.05  # bfloat16 rounds by less than a tenth of this; a norm in between is off by far more


def bake(subject: Subject, steering: Steering, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model that is steered by itself: an ordinary transformers checkpoint with the edits in its weights.

    Factors (`scale`, and `set` to 0) bake into every architecture. Additions, other targets and directions need a bias
    in the down projection; an addition at the gate moreover an MLP without a gate branch, and a direction in the
    residual stream layers that put nothing after the down projection. The subject's own model is left as it is.

    Args:
        subject: a model whose weights are in memory; the checkpoint gets the dtype that it was opened in.
        steering: of scope `all`, since weights act at every position; at dose 0 the model is copied.
        out: the checkpoint's folder, written as a whole or not at all; `nnvalue_steering.json` in it says what it is.
        overwrite: replace a model that was baked before; anything else there is never replaced.

    Raises InvalidInputError for a steering that weights cannot do; ModelError for a model that cannot hold it, or
    another than it was made for; ArtifactError where `out` is taken or cannot be written.
    """
    out = Path(out)
    steering.require_model(subject.identity())
    if speaks(steering):
        raise InvalidInputError(
            "Words cannot be baked into weights; leave the prompt out of this steering, or say it as a system turn."
        )
    module = _whole_model(subject)
    _require_place(out, overwrite)
    changed = _changed_weights(subject, steering.edits(subject.anatomy))
    facts = {
        "kind": KIND, "schema_version": 1, "steering": steering.describe(), "model": subject.identity(),
        "changed": sorted(changed), "versions": library_versions(),
    }  # fmt: skip
    _write(module, subject.tokenizer, changed, facts, out)
    return out


def _whole_model(subject: Subject) -> Any:
    """The transformers model. Raises ModelError where its weights are not here as they are in a checkpoint."""
    module = subject.model._module
    if any(value.is_meta for value in module.parameters()):
        raise ModelError(
            f"The weights of '{subject.name}' are not in memory here (they are on a server, or offloaded); open the "
            "model locally and whole to bake into it."
        )
    if getattr(module, "hf_quantizer", None) is not None or getattr(module, "_hf_peft_config_loaded", False):
        raise ModelError(
            f"'{subject.name}' is quantized or carries adapters; open the plain model, or merge them, to bake into it."
        )
    return module


def _changed_weights(subject: Subject, edits: Edits) -> dict[str, Tensor]:
    """The parameters that are not as they were, by name, in the dtype and on the device that they have."""
    anatomy = subject.anatomy
    order = anatomy.forward_order()
    at: dict[int, tuple[list[Any], ...]] = {}
    for site, here in sorted(edits, key=lambda item: order.index(item[0])):
        layer, place = divmod(order.index(site), 4)
        at.setdefault(layer, ([], [], [], []))[place].extend(here)
    asked = [layer for layer, (gate, _, _, block) in at.items() if gate or block]
    traits = _measure(subject, asked) if asked else _Traits()
    changed: dict[str, Tensor] = {}
    for layer, (gate, down_in, down_out, block) in at.items():
        where, down = f"layer {layer}", _DownProjection.of(subject, layer)
        factor, shift = _affine([*gate, *down_in], anatomy.width, where)
        stretched, added = _affine([*down_out, *block], len(down.weight), where)
        changed |= down.changed(factor, shift, added)
        if gate and not traits.scales_through:
            raise ModelError(f"In {where} more than a product follows the gate; edit at 'down_in' instead.")
        if not traits.ungated and _affine(gate, anatomy.width, where)[1].any():
            raise ModelError(
                f"What is added or set at the gate of {where} is multiplied by the other branch of its MLP, which no "
                "weight can do; add at 'down_in', or scale."
            )
        if block and not traits.adds_through:
            raise ModelError(
                f"In {where} something follows the down projection, so that its bias cannot do what a direction in the "
                "residual stream does; take one at 'mlp_out'."
            )
        if (stretched != 1).any():
            raise InvalidInputError(f"Directions bake as additions only, and one of {where} is scaled or set.")
    return changed


_NOT_LINEAR = {
    "cap": "A cap", "floor": "A floor", "clear": "A cleared range ('clear')",
    "keep": "An addition left out by chance ('keep')", "probe": "A direction followed to a goal",
}  # fmt: skip
_LINEAR = ("scale", "add", "set", "set_share")


def _affine(edits: Sequence[Mapping[str, Any]], width: int, where: str) -> tuple[Tensor, Tensor]:
    """Edits, one after the other, as one a ← factor · a + shift; two float32 `[width]`.

    Raises InvalidInputError for one that is not affine, or does not act on every position of every row.
    """
    factor, shift = torch.ones(width), torch.zeros(width)
    for edit in edits:
        if (scope := edit.get("scope", "answer")) != "all":
            raise InvalidInputError(
                f"A baked edit acts at every position, and one of {where} has the scope {scope!r}; give it scope 'all'."
            )
        bent = [op for op in ("cap", "floor", "clear") if f"{op}_share" in edit and edit[f"{op}_share"].any()]
        if bent := bent + [op for op in ("keep", "probe") if op in edit]:
            raise InvalidInputError(
                f"{_NOT_LINEAR[bent[0]]} (in {where}) is no linear edit and cannot be baked; scale, set and add can."
            )
        if "rows" in edit or any(len(edit[name]) != 1 for name in _LINEAR if name in edit):
            raise InvalidInputError(f"An edit of {where} tells rows of a batch apart, which weights cannot.")
        neurons = edit.get("neurons", slice(None))
        s, t = factor[neurons], shift[neurons]
        if "scale" in edit:
            s, t = s * edit["scale"][0], t * edit["scale"][0]
        if "add" in edit:
            t = t + edit["add"][0]
        if "set" in edit:
            share = edit["set_share"][0]
            s, t = s * (1 - share), t * (1 - share) + share * edit["set"][0]
        factor[neurons], shift[neurons] = s, t
    return factor, shift


class _DownProjection(NamedTuple):
    """The down projection of a layer: its name, weight `[hidden, width]` and bias `[hidden]`, or None.

    turned: whether the weight lies the other way round in the model, as in GPT-2's Conv1D.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    turned: bool

    @classmethod
    def of(cls, subject: Subject, layer: int) -> _DownProjection:
        """Raises ModelError for one that is of an unknown kind, or serves elsewhere too."""
        from transformers.pytorch_utils import Conv1D

        module = subject.model._module
        name = subject.anatomy.down_out[layer].rpartition(".")[0]
        down = module.get_submodule(name)
        known = dict(module.named_parameters(remove_duplicate=False))
        weight, bias = (known.pop(f"{name}.{part}", None) for part in ("weight", "bias"))
        if not isinstance(down, nn.Linear | Conv1D) or weight is None or not weight.is_floating_point():
            raise ModelError(f"'{name}' is a {type(down).__name__}; baking knows plain Linear and Conv1D projections.")
        if other := next((other for other, value in known.items() if value is weight or value is bias), None):
            raise ModelError(f"'{name}' shares its weights with '{other}', which would change too; it is left alone.")
        turned = isinstance(down, Conv1D)
        return cls(name, weight.detach().T if turned else weight.detach(), bias, turned)

    def changed(self, factor: Tensor, shift: Tensor, added: Tensor) -> dict[str, Tensor]:
        """Its parameters for the activations factor · a + shift, `[width]`, and `added` to the output, `[hidden]`."""
        made, (factor, shift, added) = {}, (each.to(self.weight.device) for each in (factor, shift, added))
        if (factor != 1).any():
            weight = (self.weight.float() * factor).to(self.weight.dtype)
            made[f"{self.name}.weight"] = weight.T.contiguous() if self.turned else weight
        if shift.any() or added.any():
            if self.bias is None:
                raise ModelError(
                    f"'{self.name}' has no bias, which what is added or set to another value than 0 would go into; in "
                    "such a model only factors ('scale', 'set' to 0) can be baked."
                )
            bias = self.bias.detach().float() + self.weight.float() @ shift + added
            made[f"{self.name}.bias"] = bias.to(self.bias.dtype)
        return made


class _Traits(NamedTuple):
    """What layers do around their down projection; all of it where nothing was asked.

    scales_through: a factor at the gate is the same factor at the down projection's input.
    ungated: the activation function's output is the down projection's input.
    adds_through: what is added to the down projection's output is added to the layer's output.
    """

    scales_through: bool = True
    ungated: bool = True
    adds_through: bool = True


def _measure(subject: Subject, layers: Sequence[int]) -> _Traits:
    """What holds in all of these layers, by trial: no module tree says what a forward pass does between modules.

    Of two passes over a few tokens the second is disturbed at the gate and at the down projection's output of each
    layer, and put right again where that was read.
    """
    model, anatomy = subject.model, subject.anatomy
    sites = [(anatomy.gate[n], anatomy.down_in[n], anatomy.down_out[n], anatomy.block[n]) for n in layers]
    ids = (torch.arange(8) % subject.config.get_text_config().vocab_size).unsqueeze(0)
    mask = torch.ones_like(ids)
    with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False):
        calm = nnsight.save([])
        for gate, down_in, _, block in sites:
            calm.append([read_activation(model, site).clone() for site in (gate, down_in, block)])
    factors = [1 + torch.arange(anatomy.width, device=gate.device) % 2 for gate, _, _ in calm]
    pushes = [
        block.float().square().mean().sqrt() * (-1) ** torch.arange(block.shape[-1], device=block.device)
        for _, _, block in calm
    ]
    with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False):
        disturbed = nnsight.save([])
        for number, (gate, down_in, down_out, block) in enumerate(sites):
            read_activation(model, gate).mul_(factors[number])
            entering = read_activation(model, down_in)
            disturbed.append([entering.clone()])
            entering.copy_(calm[number][1])
            read_activation(model, down_out).add_(pushes[number])
            leaving = read_activation(model, block)
            disturbed[-1].append(leaving.clone())
            leaving.copy_(calm[number][2])
    seen = list(zip(calm, disturbed, factors, pushes, strict=True))
    return _Traits(
        scales_through=all(_near(now[0] - was[1], was[1] * (factor - 1)) for was, now, factor, _ in seen),
        ungated=all(torch.equal(was[0], was[1]) for was, *_ in seen),
        adds_through=all(_near(now[1] - was[2], push.expand_as(was[2])) for was, now, _, push in seen),
    )


def _near(given: Tensor, expected: Tensor) -> bool:
    return bool((given.float() - expected.float()).norm() <= _NEAR * expected.float().norm())


def _require_place(out: Path, overwrite: bool) -> None:
    """Raises ArtifactError if something else than a baked model is there, or one that shall not be replaced."""
    recover_folder(out)
    if not out.exists() or is_empty_folder(out):
        return
    facts: Any = None
    with suppress(ArtifactError):
        facts = read_json(out / MARKER)
    if not isinstance(facts, dict) or facts.get("kind") != KIND:
        raise ArtifactError(f"{out} exists and is no model that nnvalue baked; give another place, or remove it.")
    if foreign := sorted({entry.name for entry in out.iterdir()} - {*facts.get("files", ()), MARKER}):
        raise ArtifactError(f"{out} holds '{foreign[0]}', which nnvalue did not write; move it away first.")
    if not overwrite:
        raise ArtifactError(f"{out} holds a baked model already; give another place, or overwrite (--overwrite).")


def _write(module: Any, tokenizer: Any, changed: dict[str, Tensor], facts: dict[str, Any], out: Path) -> None:
    """The checkpoint, beside its place at first; what was there goes when it is complete. Raises ArtifactError."""
    from safetensors import SafetensorError

    saved = copy.copy(module)  # the same weights; but saving writes into the config, and the subject's is not ours
    saved.config = copy.deepcopy(module.config)
    staged, retired = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        staged.mkdir(parents=True)
        saved.save_pretrained(staged, state_dict={**module.state_dict(), **changed})
        tokenizer.save_pretrained(staged)
        write_json(staged / MARKER, {**facts, "files": sorted(entry.name for entry in staged.iterdir())})
        for path in staged.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if out.exists():
            out.rename(retired)
        staged.rename(out)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{out} cannot be written: {reason}. What was there before is unchanged.") from None
    finally:
        if retired.exists() and not out.exists():
            retired.rename(out)
        shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)
