"""What every neuron of an organism does on its own to a value: the gold ranking that locating methods are held against.

    python -m benchmarks.gold [--model FOLDER] [--out FOLDER] [--situations 24] [--value power] [--quick]

The readout is the log-odds of a positive against a negative answer: both begin alike ("I would") and go on with a verb
phrase of either pole, and the decoder is forced along both. It is taken under a description of either pole, on the
`test` split, which no locating method sees. Each neuron is changed alone, at the input of the down projection, from the
last prompt token on:

- *ablation*: it stands at its mean over both poles; the effect is what the difference of the log-odds between the
  poles' prompts loses by half, so a neuron that carries the positive pole has one above zero.
- *indirect*: it stands where it stands under the other pole's prompt at the same position (the natural indirect
  effect); the effect is what the log-odds gain from the positive pole's activation, mean of both directions.
- *push*: its output is raised by the same length for every neuron, a tenth of the mean residual stream's; the effect is
  what the log-odds gain, mean over both prompts.

Plain transformers, nothing of nnvalue's traces: the truth must not share their faults. Written is
the mean over situations and its standard error, `[value, layer, neuron]` each, in nats. A run that was stopped goes on
with the next value.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.measure import finish
from nnvalue.artifacts import read_tensors, write_tensors
from nnvalue.dataset import Contrast, ValueInsight, build_contrasts, load_valueinsight
from nnvalue.errors import ArtifactError
from nnvalue.models import Subject, encode_prompt, open_model
from nnvalue.organism import grammar
from nnvalue.organism.lexicon import first_person, lexicon
from nnvalue.values import POLES

GOLDS = ("ablation", "indirect", "push")
PUSH = 0.1  # of the mean length of the residual stream
NEURONS_A_BATCH = 32


@dataclass(frozen=True)
class Fork:
    """A prompt under either pole, and two answers that begin alike.

    prompts: token ids under the positive and the negative description, without the last token.
    rows: int64 `[2, token]`, the last prompt token and the positive and the negative answer, padded with 0 at the end.
    labels: int64 `[2, token]`, the token that each position should predict from where the answers part; −100 elsewhere.
    """

    prompts: tuple[Sequence[int], Sequence[int]]
    rows: Tensor
    labels: Tensor


def forks(
    edition: ValueInsight, value: str, situations: int, tokenizer: PreTrainedTokenizerBase, seed: int
) -> list[Fork]:
    """One fork a contrast of the `test` split; a function of the arguments alone."""
    contrasts = build_contrasts(edition, value, split="test", situations=situations, seed=seed)
    return [_fork(contrast, tokenizer, random.Random(f"{seed}/{contrast.situation_id}")) for contrast in contrasts]


def _fork(contrast: Contrast, tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> Fork:
    answer = grammar.answer(rng, contrast.value, "positive")
    start, end = grammar.first_verb(answer, contrast.value, "positive")
    verbs = answer[start:end], first_person(rng.choice(lexicon().values[contrast.value].verbs("negative")))
    answers = [tokenizer(answer[:start] + verb, add_special_tokens=False)["input_ids"] for verb in verbs]
    shared = next(at for at, (one, other) in enumerate(zip(*answers, strict=False)) if one != other)
    prompts = [encode_prompt(tokenizer, getattr(contrast, pole)) for pole in POLES]
    longest = max(map(len, answers))
    rows, labels = torch.zeros(2, longest, dtype=torch.int64), torch.full((2, longest), -100)
    for row, label, ids in zip(rows, labels, answers, strict=True):
        row[: len(ids)] = torch.tensor([prompts[0][-1], *ids[:-1]])
        label[shared : len(ids)] = torch.tensor(ids[shared:])
    return Fork((prompts[0][:-1], prompts[1][:-1]), rows, labels)


class Readout:
    """The log-odds of a fork's answers under one prompt, with one neuron at a time changed.

    A neuron writes to the residual stream by its column of the down projection, so a change of it is added there and
    only the layers above are run. Many changes stand side by side in one row, each seeing the prompt and itself alone.
    """

    def __init__(self, model: PreTrainedModel, fork: Fork, prompt: Sequence[int]) -> None:
        self._model, self._fork, self._length = model, fork, len(prompt)
        states: list[Tensor] = []
        acts: list[Tensor] = []
        handles = [layer.register_forward_hook(lambda _m, _i, out: states.append(out)) for layer in model.model.layers]
        handles += [
            layer.mlp.down_proj.register_forward_pre_hook(lambda _m, given: acts.append(given[0]))
            for layer in model.model.layers
        ]
        ids = torch.tensor([prompt]).expand(2, -1)
        with torch.no_grad():
            self._cache = model(ids[:1], use_cache=True, logits_to_keep=1).past_key_values
            states.clear(), acts.clear()
            model(torch.cat((ids, fork.rows), dim=1), use_cache=False, logits_to_keep=1)
        for handle in handles:
            handle.remove()
        self._states = [state[:, len(prompt) :] for state in states]
        self.activations = torch.stack([act[:, len(prompt) :] for act in acts])
        """What every neuron does on both answers, `[layer, 2, token, neuron]`."""

    def log_odds(self, layer: int, chosen: Tensor, shift: Tensor) -> Tensor:
        """With neurons `[k]` of a layer raised by `shift` `[k, 2, token]`, each alone; float64 `[k]`."""
        down = self._model.model.layers[layer].mlp.down_proj.weight
        shape = (len(chosen), *self._fork.rows.shape)
        with torch.no_grad():
            moved = self._states[layer] + shift.expand(shape).unsqueeze(-1) * down.T[chosen].view(len(chosen), 1, 1, -1)
            return self._odds(self._above(layer, moved.flatten(0, 2).unsqueeze(0), shape), shape)

    def pushed(self, shifts: Tensor) -> float:
        """With all neurons raised at once by `shifts`, `[layer, neuron]`."""
        handles = [
            layer.mlp.down_proj.register_forward_pre_hook(lambda _m, given, shift=shift: (given[0] + shift,))
            for layer, shift in zip(self._model.model.layers, shifts, strict=True)
        ]
        shape = (1, *self._fork.rows.shape)
        try:
            with torch.no_grad():
                hidden = self._model.model.embed_tokens(self._fork.rows).flatten(0, 1).unsqueeze(0)
                return float(self._odds(self._above(-1, hidden, shape), shape))
        finally:
            for handle in handles:
                handle.remove()

    def _odds(self, hidden: Tensor, shape: tuple[int, ...]) -> Tensor:
        """From the residual stream after the last layer, float64 `[k]`."""
        labels = self._fork.labels.expand(shape)
        logits = self._model.lm_head(self._model.model.norm(hidden.view(*shape, -1)[labels >= 0]))
        likelihood = torch.zeros(shape, dtype=torch.float64)
        wanted = labels[labels >= 0].unsqueeze(-1)
        likelihood[labels >= 0] = torch.log_softmax(logits.double(), -1).gather(-1, wanted).squeeze(-1)
        positive, negative = likelihood.sum(-1).unbind(1)
        return positive - negative

    def _above(self, layer: int, hidden: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The residual stream after the last layer, `[1, changes · answers · tokens, hidden]`."""
        body, tokens = self._model.model, shape[-1]
        segments = hidden.shape[1] // tokens
        own = torch.full((tokens, tokens), -torch.inf).triu(1)
        mask = torch.block_diag(*[own.exp()] * segments).log()
        mask = torch.cat((torch.zeros(len(mask), self._length), mask), dim=1).view(1, 1, len(mask), -1)
        positions = (self._length + torch.arange(tokens)).repeat(segments).unsqueeze(0)
        angles = body.rotary_emb(hidden, positions)
        for above in body.layers[layer + 1 :]:
            hidden = above(
                hidden, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True,
                position_embeddings=angles,
            )  # fmt: skip
        for kept in self._cache.layers[layer + 1 :]:
            kept.crop(-len(mask[0, 0]))
        return hidden


def effects(
    model: PreTrainedModel,
    asked: Sequence[Fork],
    neurons: Mapping[int, Tensor] | None = None,
    batch: int = NEURONS_A_BATCH,
) -> dict[str, Tensor]:
    """Effects of every neuron, or of some, on every fork: gold -> float64 `[fork, layer, neuron]`."""
    readouts = [[Readout(model, fork, prompt) for prompt in fork.prompts] for fork in asked]
    counted = [(fork.rows != 0) | (torch.arange(fork.rows.shape[1]) == 0) for fork in asked]
    middle = _mean([[readout.activations for readout in pair] for pair in readouts], counted)
    lengths = _push_lengths(model, asked)
    every = dict.fromkeys(range(len(middle)), torch.arange(middle.shape[1]))
    found = {gold: torch.zeros(len(asked), *middle.shape, dtype=torch.float64) for gold in GOLDS}
    for number, pair in enumerate(readouts):
        for layer, wanted in (neurons or every).items():
            base = [readout.log_odds(layer, wanted[:1], torch.zeros(1, 1, 1)) for readout in pair]
            for chosen in wanted.split(batch):
                here, there = (_of(readout.activations[layer], chosen) for readout in pair)
                mean, length = (of[layer, chosen].view(-1, 1, 1) for of in (middle, lengths))
                shifts = {
                    "ablation": (mean - here, mean - there),
                    "indirect": (there - here, here - there),
                    "push": (length, length),
                }
                for gold, both in shifts.items():
                    gains = [
                        readout.log_odds(layer, chosen, shift) - was
                        for readout, was, shift in zip(pair, base, both, strict=True)
                    ]
                    gain = sum(gains) if gold == "push" else gains[1] - gains[0]
                    found[gold][number, layer, chosen] = gain / 2
    return found


def set_gains(model: PreTrainedModel, asked: Sequence[Fork], score: Tensor, sizes: Sequence[int]) -> list[float]:
    """What the log-odds gain when the k strongest neurons of a score are pushed together, mean over forks and prompts.

    Each goes the way of its score's sign, by the push's length over √k: were what they write at right angles, any set
    would move the residual stream as far as one neuron does.

    Args:
        score: `[layer, neuron]`, above zero where a neuron goes with the positive pole.
        sizes: values of k.
    """
    lengths, order = _push_lengths(model, asked), score.abs().flatten().argsort(descending=True)
    readouts = [Readout(model, fork, prompt) for fork in asked for prompt in fork.prompts]
    base = [readout.pushed(torch.zeros_like(lengths)) for readout in readouts]
    gains = []
    for size in sizes:
        shifts = torch.zeros(score.numel())
        shifts[order[:size]] = (score.sign() * lengths).flatten()[order[:size]].float() / size**0.5
        moved = [readout.pushed(shifts.view_as(lengths)) for readout in readouts]
        gains.append(sum(now - was for now, was in zip(moved, base, strict=True)) / len(base))
    return gains


def _of(activations: Tensor, chosen: Tensor) -> Tensor:
    """`[2, token, neuron]` -> `[chosen, 2, token]`."""
    return activations[..., chosen].permute(2, 0, 1)


def _mean(seen: Sequence[Sequence[Tensor]], counted: Sequence[Tensor]) -> Tensor:
    """Mean activation over both poles, all forks and their tokens, `[layer, neuron]`."""
    total = sum(one[:, mask].sum(1) for pair, mask in zip(seen, counted, strict=True) for one in pair)
    return total / sum(2 * int(mask.sum()) for mask in counted)


def _push_lengths(model: PreTrainedModel, asked: Sequence[Fork]) -> Tensor:
    """How far each neuron's activation is raised, `[layer, neuron]`, so that what it writes has the same length."""
    fork = asked[0]
    with torch.no_grad():
        states = model(
            torch.tensor([[*fork.prompts[0], *fork.rows[0].tolist()]]), output_hidden_states=True
        ).hidden_states
    length = PUSH * torch.stack(states[1:]).norm(dim=-1).mean()
    norms = torch.stack([layer.mlp.down_proj.weight.detach().norm(dim=0) for layer in model.model.layers])
    return length / norms.clamp(min=torch.finfo(norms.dtype).tiny)


def facts_of(subject: Subject, edition: ValueInsight, situations: int, seed: int) -> dict[str, Any]:
    """What a gold is of; one of another organism or other settings must not pass for it."""
    identity = {name: subject.identity()[name] for name in ("config_sha256", "weights_sample_sha256")}
    return {**identity, "dataset": edition.fingerprint, "situations": situations, "seed": seed}


def load_gold(folder: Path, values: Sequence[str], expected: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """Gold -> (mean effect, its standard error), each `[value, layer, neuron]`.

    Raises ArtifactError if a file is missing or damaged, or is of something else than `expected`, some of its facts.
    """
    parts = []
    for value in values:
        tensors, facts = read_tensors(folder / f"{value}.safetensors")
        if {name: facts.get(name) for name in expected} != dict(expected):
            raise ArtifactError(f"{folder / value}.safetensors is the gold of another organism or of other settings.")
        parts.append(tensors)
    return {
        gold: tuple(torch.stack([part[f"{gold}.{what}"] for part in parts]) for what in ("mean", "standard_error"))
        for gold in GOLDS
    }


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Default: the embedded organism.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/gold"), show_default=True)
@click.option("--value", "values", multiple=True, help="Default: all ten.")
@click.option("--situations", default=24, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--quick", is_flag=True, help="One value, two situations.")
def main(model: Path | None, out: Path, values: tuple[str, ...], situations: int, seed: int, quick: bool) -> None:
    """Measure every neuron."""
    subject, edition = open_model(model), load_valueinsight()
    names = values or edition.values()
    names, situations = (names[:1], 2) if quick else (names, situations)
    out.mkdir(parents=True, exist_ok=True)
    facts = facts_of(subject, edition, situations, seed)
    for name in names:
        if (out / f"{name}.safetensors").exists():
            continue
        found = effects(subject.model._module, forks(edition, name, situations, subject.tokenizer, seed))
        tensors = {}
        for gold, every in found.items():
            tensors[f"{gold}.mean"] = every.mean(0).float()
            tensors[f"{gold}.standard_error"] = (every.std(0) / len(every) ** 0.5).float()
        write_tensors(out / f"{name}.safetensors", tensors, facts)
        click.echo(f"{name}: " + ", ".join(f"{gold} |effect| ≤ {t.abs().max():.3f}" for gold, t in found.items()))
    measured = load_gold(out, names, facts)
    finish("gold", {
        gold: {
            "strongest": float(mean.abs().max()),
            "beyond_two_errors": float((mean.abs() > 2 * error).float().mean()),
        }
        for gold, (mean, error) in measured.items()
    } | {"n": situations, "values": len(names), "seed": seed}, save=False)  # fmt: skip


if __name__ == "__main__":
    main()
