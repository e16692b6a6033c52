"""The traces behind generation: greedy decoding, decoding with edits and seeded noise, and single passes for logits."""

from __future__ import annotations

import hashlib
import warnings
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import digest
from nnvalue.errors import InvalidInputError, ResultError
from nnvalue.models.batching import pad_left, plan_batches
from nnvalue.models.chat import encode_prompt, token_spans
from nnvalue.models.jobs import Bundle
from nnvalue.models.runtime import Load
from nnvalue.models.subject import Subject
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Edits, Sampling, Steering, batch_edits, edit_bytes, require_single_pass
from nnvalue.traces import apply_edits, choose_tokens, place_edits

Batch = tuple[Tensor, Tensor, Edits, list[int]]
"""What is put to the model at once: token ids and attention mask, int64 `[row, token]`, padded on the left; compiled
edits; and the seed of each row's noise. Plain, because it travels."""


class Asked:
    """Prompts as a model gets them: encoded after the steering has spoken, each with its compiled edits and its noise.

    put: the prompts after the steering has spoken.
    encoded: token ids of every one.
    edits: compiled, of every prompt.
    drawn: temperature, top_k and top_p; None takes the likeliest token.
    """

    def __init__(
        self,
        subject: Subject,
        prompts: Sequence[Prompt],
        steering: Steering | Sequence[Steering | None] | None,
        sampling: Sampling | None = None,
    ) -> None:
        self._arms, self._sampling = _arms(subject, prompts, steering), sampling
        arms = self._arms
        self.put = [prompt if arm is None else arm.speak(prompt) for prompt, arm in zip(prompts, arms, strict=True)]
        self.encoded = [compact(encode_prompt(subject.tokenizer, prompt)) for prompt in self.put]
        self.drawn = None if sampling is None else (sampling.temperature, sampling.top_k, sampling.top_p)
        compiled = {id(arm): arm.edits(subject.anatomy) for arm in arms if arm is not None}
        self.edits: list[Edits] = [
            [] if arm is None else _placed(compiled[id(arm)], subject, prompt)
            for arm, prompt in zip(arms, self.put, strict=True)
        ]
        self._seeds = [0 if sampling is None else row_seed(sampling.seed, prompt.id) for prompt in prompts]
        self._order, self._pad_id = subject.anatomy.forward_order(), subject.pad_id

    def mark(self, plan: Sequence[Sequence[int]]) -> str:
        """Tells what was asked under one steering, sampling and plan of batches from the same under another."""
        told = {id(arm): arm.describe() for arm in self._arms if arm is not None}
        by_row = [None if arm is None else told[id(arm)] for arm in self._arms]
        drawn = None if self._sampling is None else vars(self._sampling)
        return "-" + digest([by_row, drawn, [list(map(int, rows)) for rows in plan]])[:12]

    def batch(self, rows: Sequence[int]) -> Batch:
        """Some of the prompts as a batch."""
        ids, mask = pad_left([self.encoded[row] for row in rows], self._pad_id)
        edits = batch_edits([self.edits[row] for row in rows], self._order)
        return ids, mask, edits, [self._seeds[row] for row in rows]

    def owners(self) -> list[Any]:
        """Which prompts may share what is computed of their beginnings, by equal marks; None for one that may not.

        Those of one system turn are looked at. What acts at a prompt's last position alone leaves its beginning as it
        is; what acts everywhere is shared by prompts of the same steering; spans, which count from a prompt's first
        token, are not shared.
        """
        scopes = [{str(edit.get("scope", "answer")) for _, here in edits for edit in here} for edits in self.edits]
        acting = [None if scope <= {"answer"} else id(arm) for scope, arm in zip(scopes, self._arms, strict=True)]
        return [
            (prompt.system, arm) if scope <= {"answer", "all"} else None
            for prompt, arm, scope in zip(self.put, acting, scopes, strict=True)
        ]

    def edits_of(self, rows: Sequence[int], to_the_end: bool = True) -> Edits:
        """The edits of some prompts as those of a batch; of beginnings of them, which lack the last position."""
        chosen = [self.edits[row] for row in rows]
        if not to_the_end:
            chosen = [
                [(site, kept) for site, here in edits if (kept := [one for one in here if one.get("scope") == "all"])]
                for edits in chosen
            ]
        return batch_edits(chosen, self._order)

    def load(self, rows: Sequence[int], steps: int = 0) -> Load:
        """What that batch costs."""
        size = len(rows) * max(len(self.encoded[row]) for row in rows)
        edits = sum(edit_bytes(self.edits[row]) for row in rows)
        return Load(size, steps, bytes=2 * torch.int64.itemsize * size + edits)


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
    batches: Sequence[Batch],
    drawn: tuple[float, int | None, float | None] | None,
    settings: dict[str, Any],
    backend: Any = None,
) -> list[Tensor]:
    """As `generate_batches`, with edits at every step, and tokens drawn by seeded noise.

    Args:
        drawn: temperature, top_k and top_p of `choose_tokens`; None takes the likeliest token.
    """
    read = [site for _ids, _mask, edits, _seeds in batches for site, _ in edits]
    read += [] if drawn is None else [".output"]  # the model's own
    with only_reporting(model, read, backend), _no_word_of_unreached_steps(), model.session(backend=backend):
        made = []
        for ids, mask, edits, seeds in batches:
            with torch.no_grad(), model.generate(**settings) as tracer:
                with tracer.invoke(ids, attention_mask=mask):
                    placed = place_edits(model, edits)
                    for step in tracer.iter[: settings["max_new_tokens"]]:
                        apply_edits(model, placed, mask, step)
                        if drawn is not None:
                            choose_tokens(model.output.logits, seeds, step, *drawn)
                with tracer.invoke():
                    tokens = nnsight.save(tracer.result[:, ids.shape[1] :].cpu())
            made.append(tokens)
        generated = nnsight.save(made)
    return generated


@contextmanager
def _no_word_of_unreached_steps() -> Iterator[None]:
    """A loop over steps ends when the model does, which nnsight warns of every time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was never reached", category=UserWarning)
        yield


@contextmanager
def only_reporting(model: Any, sites: Sequence[str], backend: Any = None) -> Iterator[None]:
    """Let only the modules of these sites stop for nnsight at every call.

    Every module does otherwise, read or not: at a decode step of a small model that is most of what a trace costs. Of
    a trace that runs elsewhere (a backend is given) and of a model with edits of the user's own nothing is changed.
    What is changed is put back, whatever happens.
    """
    try:
        from nnsight.intervention.source import Controller
    except ImportError:  # it is no public name; without it all modules stop, and traces are only slower
        yield
        return
    whole = model._module
    kept = {id(whole.get_submodule(site.rpartition(".")[0])) for site in sites}
    silenced = []
    for module in whole.modules() if backend is None and not model._edits else ():
        stop = module.__dict__.get("forward")
        # A forward that is not the class's own, or that a library has put hooks around, is left alone.
        own = type(stop) is Controller and stop.state.body is type(module).forward and "_hf_hook" not in module.__dict__
        if own and id(module) not in kept:
            silenced.append((module, stop))
            del module.__dict__["forward"]
    try:
        yield
    finally:
        for module, stop in silenced:
            module.__dict__["forward"] = stop


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
    asked = Asked(subject, prompts, steering)
    for edits in asked.edits:
        require_single_pass(edits)
    plan = plan_batches([len(ids) for ids in asked.encoded], batch_tokens)

    def read(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [asked.batch(plan[number]) for number in bundle]
        return logits_of_batches(subject.model, batches, backend)

    found = torch.empty(len(prompts), subject.config.get_text_config().vocab_size)
    for bundle, parts in subject.runtime.run(subject.runtime.bundles([asked.load(rows) for rows in plan]), read):
        for number, part in zip(bundle, parts, strict=True):
            if tuple(part.shape) != (len(plan[number]), found.shape[1]):
                raise ResultError(f"{subject.runtime.name} delivered something else than the logits asked for.")
            found[plan[number]] = part
    return found


def logits_of_batches(model: Any, batches: Sequence[Batch], backend: Any = None) -> list[Tensor]:
    """Logits at the last position of every row, in one session; float32 `[row, vocabulary]` a batch."""
    with model.session(backend=backend):
        made = []
        for ids, mask, edits, _seeds in batches:
            with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False, logits_to_keep=1):
                apply_edits(model, edits, mask)
                logits = nnsight.save(model.output.logits[:, -1].float().cpu())
            made.append(logits)
        found = nnsight.save(made)
    return found


def compact(ids: Iterable[int]) -> array[int]:
    """Four bytes a token: thousands of responses are held at once."""
    return array("i", ids)


def row_seed(seed: int, prompt_id: str) -> int:
    """The seed of a prompt's own noise: the first 63 bits of sha256 over "seed/prompt id"; torch uses 32 of them."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt_id}".encode()).digest()[:8]) >> 1


def _placed(edits: Edits, subject: Subject, prompt: Prompt) -> Edits:
    """Edits whose scope is words, at the tokens that they are in this prompt; others as they are."""
    words = {edit["scope"]["text"] for _, here in edits for edit in here if isinstance(edit.get("scope"), dict)}
    if not words:
        return edits
    spans = {text: token_spans(subject.tokenizer, prompt, text) for text in words}
    return [
        (
            site,
            [
                {**one, "scope": spans[one["scope"]["text"]]} if isinstance(one.get("scope"), dict) else one
                for one in here
            ],
        )
        for site, here in edits
    ]


def _arms(
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
