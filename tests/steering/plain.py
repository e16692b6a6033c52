"""Plain transformers with hooks written by hand: what a steering ought to do, said a second time."""

from __future__ import annotations

import hashlib
import itertools
from functools import cache
from typing import NamedTuple

import torch
from transformers import LogitsProcessor

from nnvalue.models import Subject, encode_prompt, open_model
from nnvalue.prompts import Prompt
from tests import tiny

NEVER = 9999  # a stop token that no tiny model has, so that answers have the length asked for
INTO_MLP = ("gate_proj", "up_proj", "gate_up_proj", "c_fc", "dense_h_to_4h", "fc1")


class Act(NamedTuple):
    """What is done to one row: `edits` are (op, layer, neuron, amount), or (clear, layer, neuron, low, high)."""

    edits: list[tuple]
    dose: float = 1.0
    scope: object = "answer"


NOTHING = Act([])


def model(family: str):
    """A tiny model whose MLPs say something: without that, few edits would change a token."""
    made = tiny.model(family)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if value.dim() > 1 and any(part in name for part in INTO_MLP):
                value.mul_(4.0)
        made.get_input_embeddings().weight.mul_(0.25)
    made.generation_config.eos_token_id = NEVER
    return made


@cache
def subject(family: str) -> Subject:
    return open_model(model(family), tokenizer=tiny.tokenizer())


def prompts(count: int) -> list[Prompt]:
    """Of different lengths."""
    return [Prompt(f"p{n}", None, " ".join(tiny.WORDS[(7 * n) % 50 :][: 1 + n % 5])) for n in range(count)]


def batch(subject: Subject, asked: list[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [encode_prompt(subject.tokenizer, prompt) for prompt in asked]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


def generate(made, ids, mask, steps: int, *processors, logits: bool = False):
    """Greedy tokens of plain transformers; with `logits` those of every step, `[step, row, vocabulary]`."""
    with torch.no_grad():
        out = made.generate(
            ids, attention_mask=mask, max_new_tokens=steps, do_sample=False, logits_processor=list(processors),
            output_logits=True, return_dict_in_generate=True, pad_token_id=0,
        )  # fmt: skip
    return torch.stack(out.logits) if logits else out.sequences[:, ids.shape[1] :].tolist()


def hooked(made, subject: Subject, mask, site: str, acts: list[Act]):
    """The model with hooks that do each row's act at its site. A new model each time: hooks stay."""
    lengths = mask.sum(1).tolist()

    def changed(x, position, kinds):
        for row, (act, length) in enumerate(zip(acts, lengths, strict=True)):
            inside = [in_scope(act.scope, token, length) for token in position[row].tolist()] if kinds[row] else []
            if any(inside):
                part = x[row, inside]
                for (op, *amounts), neurons in kinds[row].items():
                    part[:, neurons] = done(op, part[:, neurons], act.dose, *amounts)
                x[row, inside] = part
        return x

    for layer, path in enumerate(subject.anatomy.sites(site)):
        kinds = [alike(act.edits, layer) for act in acts]
        hook(made, path, mask, lambda x, position, kinds=kinds: changed(x, position, kinds))
    return made


def hook(made, path: str, mask, change) -> None:
    """Let `change(x, position)` alter what passes at a path, x `[row, token, width]`, in each of the coming passes.

    A position `[row, token]` is counted from the row's first token of the prompt; padding has negative ones.
    """
    steps, lengths = itertools.count(), mask.sum(1, keepdim=True)

    def changed(activation):
        whole, activation = activation, activation[0] if isinstance(activation, tuple) else activation
        x = activation.clone().reshape(len(mask), -1, activation.shape[-1])  # OPT's is flat, [row * token, neuron]
        step = next(steps)
        first = lengths + step - 1 if step else lengths - mask.shape[1]
        x = change(x, first + torch.arange(x.shape[1])).reshape(activation.shape)
        return (x, *whole[1:]) if isinstance(whole, tuple) else x

    module = made.get_submodule(path.rpartition(".")[0])
    if path.endswith(".output"):
        module.register_forward_hook(lambda _m, _i, out: changed(out))
    else:
        module.register_forward_pre_hook(lambda _m, args: (changed(args[0]), *args[1:]))


def alike(edits, layer: int) -> dict[tuple, list[int]]:
    """Of one layer's edits the neurons to which the same is done."""
    kinds: dict[tuple, list[int]] = {}
    for op, where, neuron, *amounts in edits:
        if where == layer:
            kinds.setdefault((op, *amounts), []).append(neuron)
    return kinds


def in_scope(scope, position: int, length: int) -> bool:
    """Whether a token, counted from the prompt's first, is in a scope; a negative one is padding."""
    if isinstance(scope, str):
        return position >= {"answer": length - 1, "decode": length, "all": 0}[scope]
    return any(start <= position < (end if end is not None else position + 1) for start, end in scope)


def done(op: str, a, dose: float, amount: float, high: float | None = None):
    """The formulas of the ops."""
    share = min(dose, 1.0)
    if op == "add":
        return a + dose * amount
    if op == "scale":
        return a * (1 + dose * (amount - 1))
    if op == "set":
        return (1 - dose) * a + dose * amount
    if op == "cap":
        return torch.where(a > amount, (1 - share) * a + share * amount, a)
    if op == "floor":
        return torch.where(a < amount, (1 - share) * a + share * amount, a)
    return torch.where((amount <= a) & (a <= high), (1 - dose) * a, a)  # clear


class Noise(LogitsProcessor):
    """Adds Gumbel noise × temperature of each row's own: greedy decoding then draws from softmax(logits / temperature).

    The recipe: sha256 over "seed/id", its first 63 bits, plus a multiple of 2^64 / golden ratio for each step, seeds a
    torch generator; minus the logarithm of exponential noise is Gumbel noise.
    """

    def __init__(self, ids: list[str], temperature: float, seed: int, width: int) -> None:
        self.seeds = [int(hashlib.sha256(f"{seed}/{one}".encode()).hexdigest()[:16], 16) // 2 for one in ids]
        self.temperature, self.width = temperature, width

    def __call__(self, input_ids, scores):
        step = input_ids.shape[1] - self.width
        noise = []
        for seed in self.seeds:
            generator = torch.Generator().manual_seed((seed + step * 0x9E3779B97F4A7C15) % 2**63)
            noise.append(-torch.log(torch.empty(scores.shape[1]).exponential_(1.0, generator=generator)))
        return scores + self.temperature * torch.stack(noise)
