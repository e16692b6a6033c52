"""The traces behind generation: greedy decoding, decoding with edits and seeded noise, and single passes for logits."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, ResultError
from nnvalue.models.batching import pad_left, plan_batches
from nnvalue.models.chat import encode_prompt
from nnvalue.models.runtime import Bundle, Load
from nnvalue.models.subject import Subject
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Edits, Steering, batch_edits, require_single_pass
from nnvalue.traces import apply_edits, choose_tokens


def generate_batches(
    model: Any, batches: Sequence[tuple[Tensor, Tensor]], settings: dict[str, Any], backend: Any = None
) -> list[Tensor]:
    """New tokens of every batch, in one session.

    Args:
        batches: token ids and attention mask of each, int64 `[batch, token]`, padded on the left.
        settings: of transformers' `generate`.
        backend: nnsight's; None for this process.

    Returns:
        A batch each, int64 `[batch, new token]`; after a stop token there is padding.
    """
    with model.session(backend=backend):
        made = []
        for ids, mask in batches:
            with torch.no_grad(), model.generate(ids, attention_mask=mask, **settings) as tracer:
                tokens = nnsight.save(tracer.result[:, ids.shape[1] :].cpu())
            made.append(tokens)
        generated = nnsight.save(made)
    return generated


def generate_steered(
    model: Any,
    batches: Sequence[tuple[Tensor, Tensor]],
    acts: Sequence[tuple[Edits, Sequence[int]]],
    drawn: tuple[float, int | None, float | None] | None,
    settings: dict[str, Any],
    backend: Any = None,
) -> list[Tensor]:
    """As `generate_batches`, with edits at every step, and tokens drawn by seeded noise.

    Args:
        acts: of each batch its compiled edits, and a seed for each row.
        drawn: temperature, top_k and top_p of `choose_tokens`; None takes the likeliest token.
    """
    with warnings.catch_warnings(), model.session(backend=backend):
        warnings.filterwarnings("ignore", message=".* was never reached", category=UserWarning)
        made = []
        for (ids, mask), (edits, seeds) in zip(batches, acts, strict=True):
            with torch.no_grad(), model.generate(**settings) as tracer:
                with tracer.invoke(ids, attention_mask=mask):
                    for step in tracer.iter[: settings["max_new_tokens"]]:
                        apply_edits(model, edits, mask, step)
                        if drawn is not None:
                            choose_tokens(model.output.logits, seeds, step, *drawn)
                with tracer.invoke():
                    tokens = nnsight.save(tracer.result[:, ids.shape[1] :].cpu())
            made.append(tokens)
        generated = nnsight.save(made)
    return generated


def next_token_logits(
    subject: Subject,
    prompts: Sequence[Prompt],
    *,
    steering: Steering | Sequence[Steering | None] | None = None,
    batch_tokens: int = 8192,
) -> Tensor:
    """The logits after each prompt, from one pass and no generation; float32 `[prompt, vocabulary]`.

    The scope of an edit is applied at the position that is read, the prompt's last.

    Raises InvalidInputError for a steering whose scope is `decode`; the rest as for `generate_responses`.
    """
    arms = arms_of(subject, prompts, steering)
    put = [prompt if arm is None else arm.speak(prompt) for prompt, arm in zip(prompts, arms, strict=True)]
    encoded = [encode_prompt(subject.tokenizer, prompt) for prompt in put]
    compiled = {id(arm): require_single_pass(arm.edits(subject.anatomy)) for arm in arms if arm is not None}
    edits = [[] if arm is None else compiled[id(arm)] for arm in arms]
    plan = plan_batches([len(ids) for ids in encoded], batch_tokens)
    order = subject.anatomy.forward_order()

    def read(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [pad_left([encoded[place] for place in plan[number]], subject.pad_id) for number in bundle]
        acts = [batch_edits([edits[place] for place in plan[number]], order) for number in bundle]
        return logits_of_batches(subject.model, batches, acts, backend)

    found = torch.empty(len(prompts), subject.config.get_text_config().vocab_size)
    loads = [Load(len(batch) * max(len(encoded[place]) for place in batch)) for batch in plan]
    for bundle, parts in subject.runtime.run(subject.runtime.bundles(loads), read):
        for number, part in zip(bundle, parts, strict=True):
            if tuple(part.shape) != (len(plan[number]), found.shape[1]):
                raise ResultError(f"{subject.runtime.name} delivered something else than the logits asked for.")
            found[plan[number]] = part
    return found


def logits_of_batches(
    model: Any, batches: Sequence[tuple[Tensor, Tensor]], acts: Sequence[Edits], backend: Any = None
) -> list[Tensor]:
    """Logits at the last position of every row, in one session; float32 `[row, vocabulary]` a batch."""
    with model.session(backend=backend):
        made = []
        for (ids, mask), edits in zip(batches, acts, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False, logits_to_keep=1):
                apply_edits(model, edits, mask)
                logits = nnsight.save(model.output.logits[:, -1].float().cpu())
            made.append(logits)
        found = nnsight.save(made)
    return found


def row_seed(seed: int, prompt_id: str) -> int:
    """The seed of a prompt's own noise: the first 63 bits of sha256 over "seed/prompt id"."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt_id}".encode()).digest()[:8]) >> 1


def arms_of(
    subject: Subject, prompts: Sequence[Prompt], steering: Steering | Sequence[Steering | None] | None
) -> list[Steering | None]:
    """The steering of each prompt, checked against the model."""
    arms = [steering] * len(prompts) if steering is None or isinstance(steering, Steering) else list(steering)
    if len(arms) != len(prompts):
        raise InvalidInputError(f"{len(arms)} steerings given for {len(prompts)} prompts; give one for each, or one.")
    distinct = {id(arm): arm for arm in arms if arm is not None}
    identity = subject.identity() if distinct else {}
    for arm in distinct.values():
        arm.require_model(identity)
    return arms
