"""Compiled edits: what is done to neurons and to the residual stream at every step of a generation.

Compiled edits are plain: a list of `(site, edits)` in forward order, one entry a site, and each edit a dict of small
tensors. `apply_edits` carries them out in your own block; whatever steers (`nnvalue.steering`) compiles to them, and
they are quickly written by hand:

>>> push = {"neurons": torch.tensor([3, 7]), "add": torch.tensor([[0.5, -0.5]])}
>>> with torch.no_grad(), model.generate(max_new_tokens=2, min_new_tokens=2, do_sample=False) as tracer:
...     with tracer.invoke(ids, attention_mask=mask):
...         for step in tracer.iter[:2]:
...             apply_edits(model, [(sites[0], [push])], mask, step)
...     with tracer.invoke():
...         out = tracer.result.save()
>>> out.shape[1] - ids.shape[1]
2

The keys of an edit; amounts are float `[row, k]` for rows of their own, or `[1, k]` for all alike:

- `neurons`: int64 `[k]`, without repetition. Absent where all of the site's width is edited (a direction).
- `rows`: int64 `[row]`, the rows of the batch that are edited; all of them where absent.
- `scope`: which positions are edited, see `positions_in_scope`; `answer` where absent.
- `scale`: a ← a · scale.
- `add`: a ← a + add; with `keep`, a probability, and `seed` each neuron's addition is left out with probability
  1 − keep, by a new coin at each step, which is the same for all rows.
- `set`, `set_share`: a ← a + share · (set − a).
- `cap`, `cap_share`: a ← a + share · (min(a, cap) − a); `floor`, `floor_share` likewise with max.
- `low`, `high`, `clear_share`: a ← (1 − share) · a where low ≤ a ≤ high.
- `probe`, `bias`, `logit`, `reach`: float `[1, k]` and three `[row, 1]`: a ← a + reach · max(0, logit − probe·a − bias)
  · probe / |probe|², the smallest shift after which the probe's log-odds are at `logit`, by the share `reach` of it.

- `encoder`, `decoder`: float `[1, k, width]`, `encoder_bias`, `threshold`: float `[k]`, of k features of a sparse
  autoencoder, and amounts `feature_scale`, `feature_set` with `feature_share`, `feature_floor`: with f = relu(a·encoder
  + encoder_bias), 0 where that is not above the threshold, a ← a + (f′ − f)·decoder, where f′ is f · feature_scale,
  then f + feature_share · (feature_set − f), then max(f, feature_floor). What the features leave out of a stays.

They are done in this order. A scale of 1, an addition of 0 and a share of 0 leave an activation as it is, bit for bit
(but for the sign of a zero).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor


def place_edits(model: Any, edits: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Compiled edits made ready for many steps: their modules found, copies of tensors kept where they are needed.

    Call it inside a trace, before the first step; `apply_edits` takes what it gives in the place of the edits, and a
    step costs less. What is changed in the edits afterwards does not count.

    >>> push = {"neurons": torch.tensor([3, 7]), "add": torch.tensor([[0.5, -0.5]])}
    >>> with torch.no_grad(), model.generate(max_new_tokens=2, min_new_tokens=2, do_sample=False) as tracer:
    ...     with tracer.invoke(ids, attention_mask=mask):
    ...         placed = place_edits(model, [(sites[0], [push])])
    ...         for step in tracer.iter[:2]:
    ...             apply_edits(model, placed, mask, step)
    ...     with tracer.invoke():
    ...         out = tracer.result.save()
    >>> out.shape[1] - ids.shape[1]
    2
    """
    placed = []
    for site, here in edits:
        module, _, end = site.rpartition(".")
        whole = all(isinstance(edit.get("scope", "answer"), str) for edit in here)
        found = {"module": model.get(module), "end": end, "named_scopes": whole}
        placed.append({**found, "edits": [{"edit": edit, "dtype": None, "device": None} for edit in here]})
    return placed


def apply_edits(
    model: Any,
    edits: Sequence[tuple[str, Sequence[dict[str, Any]]]] | Sequence[dict[str, Any]],
    mask: Tensor,
    step: int = 0,
) -> None:
    """Carry out compiled edits in the pass under way. Call it inside a trace, once a step.

    Only sites of which something is edited at this step are read, so an edit costs nothing elsewhere.

    >>> silence = {"neurons": torch.tensor([3]), "scale": torch.tensor([[0.0]]), "scope": "all"}
    >>> with torch.no_grad(), model.trace(ids, attention_mask=mask) as tracer:
    ...     apply_edits(model, [(sites[0], [silence])], mask)
    ...     activation = nnsight.save(read_activation(model, sites[0]))
    ...     tracer.stop()
    >>> activation[..., 3].any().item()
    False

    Args:
        model: the nnsight model that is being traced.
        edits: sites in forward order, each with its edits; or what `place_edits` made of them.
        mask: int64 `[batch, token]`, the attention mask of the prompts, which are padded on the left.
        step: 0 is the pass over the prompt (or the only one), k the pass that is fed the k-th new token.
    """
    found: dict[int, Any] = {}  # by scope: the edits of a steering share one, and spans take time to find
    placed: Any = edits if edits and isinstance(edits[0], dict) else place_edits(model, cast("Any", edits))
    for site in placed:
        here = site["edits"]
        # At a decode step every named scope takes in the one position that there is.
        todo = here if step and site["named_scopes"] else _due(here, mask, step, found)
        if not todo:
            continue
        activation = getattr(site["module"], site["end"])
        activation = activation[0] if isinstance(activation, tuple) else activation
        if activation.dim() == 2:  # OPT's is flat
            activation = activation.unflatten(0, (len(mask), -1))
        for one in todo:
            if one["dtype"] is not activation.dtype or one["device"] != activation.device:
                _place(one, activation)
            where = found.get(id(one["scope"]), _ALL)
            if one["plain"] and not isinstance(where, Tensor):
                _add(activation if activation.shape[1] == 1 else activation[:, where], one)
            else:
                _apply(activation, one, where, step)


def positions_in_scope(scope: Any, mask: Tensor, step: int) -> slice | Tensor | None:
    """Which positions of the pass under way a scope takes in: a slice, a mask bool `[batch, token]`, or None of them.

    >>> mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    >>> positions_in_scope("answer", mask, 0), positions_in_scope("decode", mask, 0)
    (slice(-1, None, None), None)
    >>> positions_in_scope([[0, 1]], mask, 0).tolist()  # the first token of every prompt
    [[False, True, False], [True, False, False]]

    Args:
        scope: `answer`, every position that predicts an answer's token: the last of the prompt and all after it;
            `decode`, those after the prompt only (as published by NPTI and ValueLocate); `all`; or spans: pairs
            [start, end) of token positions, counted from a prompt's first token and on into the answer, the end None
            where it is open; the same for all rows, or one list of pairs for each.
    """
    if isinstance(scope, str):
        if scope == "all" or (step and scope in ("answer", "decode")):
            return slice(None)
        return slice(-1, None) if scope == "answer" else None
    lengths = mask.sum(1, keepdim=True).to("cpu")
    width = mask.shape[1]
    position = lengths + step - 1 if step else torch.arange(width) - (width - lengths)
    each = any(not spans or not isinstance(spans[0], int) for spans in scope)
    inside = torch.zeros(position.shape, dtype=torch.bool)
    for rows, spans in enumerate(scope) if each else [(slice(None), scope)]:
        for start, end in spans:
            inside[rows] |= (position[rows] >= start) & (position[rows] < (end if end is not None else 2**62))
    return inside if inside.any() else None


_ALL = slice(None)


def _due(here: Sequence[dict[str, Any]], mask: Tensor, step: int, found: dict[int, Any]) -> list[dict[str, Any]]:
    """The edits that have positions in this pass; their positions are noted in `found`."""
    todo = []
    for one in here:
        scope = one["scope"] = one["edit"].get("scope", "answer")
        if id(scope) not in found:
            found[id(scope)] = positions_in_scope(scope, mask, step)
        if found[id(scope)] is not None:
            todo.append(one)
    return todo


def _place(one: dict[str, Any], activation: Tensor) -> None:
    """Copies of an edit's tensors where the activation is, made once.

    Amounts are float32, unless they are added and nothing else: that needs no more than the activation's dtype.
    """
    edit = one["edit"]
    one["dtype"], one["device"] = activation.dtype, activation.device
    one["only_adds"] = {"neurons", "add"} <= set(edit) <= _ADDING
    one["plain"] = one["only_adds"] and "rows" not in edit
    one["scope"] = edit.get("scope", "answer")
    dtype = activation.dtype if one["only_adds"] else torch.float32
    for name, given in edit.items():
        if isinstance(given, Tensor):
            placed = given.to(activation.device, dtype).unsqueeze(1) if given.dim() == 2 else given
            one[name] = placed.to(activation.device)
        else:
            one[name] = given
    if "probe" in edit:
        one["step"] = one["probe"] / one["probe"].square().sum()


_ADDING = {"neurons", "add", "rows", "scope"}


def _apply(activation: Tensor, edit: dict[str, Any], where: slice | Tensor, step: int) -> None:
    """One edit on the live activation `[batch, token, width]`, in place."""
    rows = edit.get("rows")
    part = activation if rows is None else activation.index_select(0, rows)
    if isinstance(where, Tensor):
        inside = where.to(part.device).unsqueeze(-1)
        inside = inside if rows is None else inside[rows]
        _edit_part(part, edit, step, inside)
    else:
        # A decode step has one position, and a slice of any takes that one; slicing costs as much as the addition.
        _edit_part(part if part.shape[1] == 1 else part[:, where], edit, step, None)
    if rows is not None:
        activation.index_copy_(0, rows, part)


def _add(part: Tensor, edit: dict[str, Any]) -> None:
    """Add to neurons of `part` `[row, token, width]`, a view; the amounts are kept as wide as they were needed."""
    added = edit["add"]
    if added.shape[:2] != part.shape[:2]:
        added = added[:, :1].expand(part.shape[0], part.shape[1], added.shape[2])
        edit["add"] = added
    part.index_add_(2, edit["neurons"], added)


def _edit_part(part: Tensor, edit: dict[str, Any], step: int, inside: Tensor | None) -> None:
    """Edit the positions of `part` `[row, token, width]`, a view, or of them those that are `inside`."""
    neurons = edit.get("neurons")
    if inside is None and edit["only_adds"]:
        _add(part, edit)
        return
    old = part if neurons is None else part[..., neurons]
    new = _changed(old.float(), edit, step).to(old.dtype)
    if inside is not None:
        new = torch.where(inside, new, old)
    if neurons is None:
        part.copy_(new)
    else:
        part.index_copy_(2, neurons, new)


def _changed(a: Tensor, edit: Mapping[str, Any], step: int) -> Tensor:
    """What becomes of activations, float32 `[row, token, k]`."""
    if "scale" in edit:
        a = a * edit["scale"]
    if "add" in edit:
        a = a + (edit["add"] if "keep" not in edit else edit["add"] * _coins(edit, step))
    if "set" in edit:
        a = torch.lerp(a, edit["set"].expand_as(a), edit["set_share"].expand_as(a))
    if "cap" in edit:
        a = torch.lerp(a, torch.minimum(a, edit["cap"]), edit["cap_share"].expand_as(a))
    if "floor" in edit:
        a = torch.lerp(a, torch.maximum(a, edit["floor"]), edit["floor_share"].expand_as(a))
    if "clear_share" in edit:
        share = edit["clear_share"] * ((a >= edit["low"]) & (a <= edit["high"]))
        a = torch.lerp(a, torch.zeros_like(a), share)
    if "probe" in edit:
        missing = edit["logit"] - edit["bias"] - (a * edit["probe"]).sum(-1, keepdim=True)
        a = a + edit["reach"] * missing.clamp(min=0) * edit["step"]
    if "encoder" in edit:
        a = a + _feature_change(a, edit) @ edit["decoder"][0]
    return a


def _feature_change(a: Tensor, edit: Mapping[str, Any]) -> Tensor:
    """How far each feature of a sparse autoencoder is moved, float32 `[row, token, k]`."""
    before = a @ edit["encoder"][0].T + edit["encoder_bias"]
    f = torch.relu(before) * (before > edit["threshold"])
    new = f
    if "feature_scale" in edit:
        new = new * edit["feature_scale"]
    if "feature_set" in edit:
        new = torch.lerp(new, edit["feature_set"].expand_as(new), edit["feature_share"].expand_as(new))
    if "feature_floor" in edit:
        new = torch.maximum(new, edit["feature_floor"].expand_as(new))
    return new - f


def _coins(edit: Mapping[str, Any], step: int) -> Tensor:
    """1 with probability `keep` for each neuron, else 0: the same for every row, another at every step."""
    coins = torch.Generator().manual_seed((edit["seed"] * 1_000_003 + step) % 2**63)
    drawn = torch.rand(edit["add"].shape[-1], generator=coins) < edit["keep"]
    return drawn.to(edit["add"].device, edit["add"].dtype)
