"""Steered generation against bare transformers `generate`: what an edit in every layer costs a new token.

    python -m benchmarks.steer [--quick] [--save] [--shape 512x8] [--shape 2048x16] [--shape narrow32] [--batch 1]

The edit: +2.0 on 64 random neurons in every layer, at the input of the down projection (`down_in`), at the positions
that predict a new token (scope `answer`: the prompt's last one and all after it). Greedy, all new tokens are made.
Arms, in turn, in one process, on models of the same weights that nothing else has instrumented:
- bare: plain `generate`, the base of every ratio; and once more as a control, whose ratio tells the noise.
- nnvalue: `generate_responses` with a `NeuronSteering`, from the texts of prompts to the texts of answers; and its
  trace alone (`generate_steered`), on the ids that bare has.
- nnvalue, baked: the weights that `bake` wrote, in plain transformers. Only scales can be baked on a Llama, so it
  multiplies by 1.5 instead, at all positions.
- plain hooks: a forward pre-hook on every down projection that adds in place.
- nnsight: its plain idiom, a loop over steps and layers; and a `generate` under nnsight in which nothing is edited.
- TransformerLens, pyvene (extra `bench`) and steering-vectors (`pip install --no-deps`, as it asks for an older
  transformers): the same edit in their hooks; left out with a word if absent, and on 2048x16, where a run takes long.
  steering-vectors adds to what modules put out, so it edits at the activation function's output (`gate`) and is
  compared with plain hooks there.
- nnterp 1.3.0 cannot be imported with this nnsight. It edits neurons by nnsight's idiom, which is an arm; its own
  `steer` moves the residual stream only.
Tokens are compared with those of plain hooks before anything is timed.

Before and after every run of an arm there is one of bare, and a ratio is taken to the mean of these two. A single ratio
is noisy where others use the machine: the figures are the median of many and a 95 % bootstrap interval of the median.
On narrow32, a model of 32 layers that compute next to nothing, the difference is the fixed cost of an edited layer.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from benchmarks.measure import NARROW, SHAPES, finish, random_llama, twin, word_tokenizer
from nnvalue.models import Subject, generate_responses, open_model
from nnvalue.models.decoding import generate_steered
from nnvalue.prompts import Prompt
from nnvalue.steering import NeuronSteering, bake

AMOUNT, FACTOR, EDITED = 2.0, 1.5, 64
BARE, HOOKS, GATE_HOOKS = "bare transformers generate", "plain hooks", "plain hooks (gate)"
NNVALUE, TRACE, BAKED = "nnvalue", "nnvalue, its trace alone", "nnvalue, baked (scale)"
CONTROL, NNSIGHT, IDLE = "bare once more (control)", "nnsight's plain idiom", "nnsight, no edit"
TRANSFORMER_LENS, PYVENE, STEERING_VECTORS, NNTERP = "TransformerLens", "pyvene", "steering-vectors (gate)", "nnterp"
# Per shape and batch: prompt tokens, new tokens, repetitions, and the ratio to hold.
PLANS = {
    "512x8": {1: (64, 48, 61, 1.05), 8: (64, 48, 21, 1.03)},
    "2048x16": {1: (32, 16, 9, 1.03), 8: (8, 6, 9, 1.03)},
    "narrow32": {1: (16, 48, 41, None), 8: (16, 48, 21, None)},
}
BAKED_TARGET = 1.02
Arm = Callable[[], Tensor]


class Work:
    """What every arm is given: prompts of one length, and the neurons of every layer."""

    def __init__(self, shape: str, batch: int, prompt: int, new: int) -> None:
        size = (SHAPES | NARROW)[shape]
        random = torch.Generator().manual_seed(0)
        self.layers, self.width, self.vocabulary = (
            size[name] for name in ("num_hidden_layers", "intermediate_size", "vocab_size")
        )
        self.neurons = [torch.randperm(self.width, generator=random)[:EDITED].sort().values for _ in range(self.layers)]
        self.ids = torch.randint(2, self.vocabulary, (batch, prompt), generator=random)
        self.mask = torch.ones_like(self.ids)
        self.added = torch.full((batch, 1, EDITED), AMOUNT)
        self.new = new
        self.settings = {"max_new_tokens": new, "do_sample": False, "pad_token_id": 0}

    def steering(self, op: str, amount: float, scope: str = "answer") -> NeuronSteering:
        """The edit as nnvalue has it."""
        rows = [(op, layer, int(n), amount) for layer, neurons in enumerate(self.neurons) for n in neurons]
        return NeuronSteering.from_edits(rows, site="down_in", scope=scope)

    def generate(self, model: nn.Module) -> Tensor:
        """New tokens `[batch, new]` of plain `generate`."""
        with torch.no_grad():
            return model.generate(self.ids, attention_mask=self.mask, **self.settings)[:, self.ids.shape[1] :]


def nnvalue_arms(subject: Subject, work: Work) -> dict[str, Arm]:
    """As users call it, and without what comes before and after the model."""
    steering = work.steering("add", AMOUNT)
    texts = [" ".join(f"w{token}" for token in row) for row in work.ids.tolist()]
    prompts = [Prompt(f"p{number}", None, text) for number, text in enumerate(texts)]

    def whole() -> Tensor:
        made = generate_responses(subject, prompts, steering=steering, max_new_tokens=work.new)
        return torch.tensor([list(response.token_ids) for response in made])

    def trace() -> Tensor:
        batch = (work.ids, work.mask, steering.edits(subject.anatomy), [0] * len(work.ids))
        return generate_steered(subject.model, [batch], None, work.settings)[0]

    return {NNVALUE: whole, TRACE: trace}


def baked(subject: Subject, work: Work) -> nn.Module:
    """The model that bake wrote, as anyone would open it."""
    with tempfile.TemporaryDirectory() as folder:
        made = bake(subject, work.steering("scale", FACTOR, "all"), f"{folder}/baked")
        model = AutoModelForCausalLM.from_pretrained(made).eval()
        for value in model.parameters():  # a copy lies in memory as other arms' weights do, not in a mapped file
            value.data = value.data.clone()
    model.generation_config.eos_token_id = None
    return model


def with_hooks(model: nn.Module, work: Work, gate: bool = False, factor: float | None = None) -> Arm:
    """Plain hooks; with a factor they multiply, at all positions, as a baked model does."""

    def edit(activation: Tensor, neurons: Tensor) -> None:
        if factor is None:
            activation[:, -1:].index_add_(2, neurons, work.added)
        else:
            activation[..., neurons] *= factor

    def before(_module: object, inputs: tuple[Tensor], neurons: Tensor) -> None:
        edit(inputs[0], neurons)

    def after(_module: object, _inputs: object, output: Tensor, neurons: Tensor) -> None:
        edit(output, neurons)

    def run() -> Tensor:
        handles = [
            layer.mlp.act_fn.register_forward_hook(partial(after, neurons=neurons))
            if gate
            else layer.mlp.down_proj.register_forward_pre_hook(partial(before, neurons=neurons))
            for layer, neurons in zip(model.model.layers, work.neurons, strict=True)
        ]
        made = work.generate(model)
        for handle in handles:
            handle.remove()
        return made

    return run


def nnsight_idiom(model: Any, work: Work) -> Arm:
    """A loop over steps and layers, as nnsight's documentation has it."""

    def run() -> Tensor:
        with torch.no_grad(), model.generate(work.ids, attention_mask=work.mask, **work.settings) as tracer:
            for _step in tracer.iter[: work.new]:
                for number, neurons in enumerate(work.neurons):
                    model.model.layers[number].mlp.down_proj.input[:, -1:, neurons] += AMOUNT
            out = tracer.result.save()
        return out[:, work.ids.shape[1] :]

    return run


def nnsight_idle(model: Any, work: Work) -> Arm:
    """Nnsight's own cost: nothing is read but the result."""

    def run() -> Tensor:
        with torch.no_grad(), model.generate(work.ids, attention_mask=work.mask, **work.settings) as tracer:
            out = tracer.result.save()
        return out[:, work.ids.shape[1] :]

    return run


def transformer_lens(model: nn.Module, tokenizer: Any, work: Work) -> Arm:
    """TransformerLens' bridge and its own `generate`."""
    from transformer_lens.model_bridge import TransformerBridge

    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, hf_model=model, tokenizer=tokenizer, device="cpu")

    def edit(activation: Tensor, hook: object, neurons: Tensor) -> Tensor:
        activation[:, -1:].index_add_(2, neurons, work.added)
        return activation

    hooks = [
        (f"blocks.{number}.mlp.out.hook_in", partial(edit, neurons=neurons))
        for number, neurons in enumerate(work.neurons)
    ]

    def run() -> Tensor:
        with torch.no_grad(), bridge.hooks(fwd_hooks=hooks):
            made = bridge.generate(
                work.ids, max_new_tokens=work.new, do_sample=False, stop_at_eos=False, return_type="tokens",
                verbose=False,
            )  # fmt: skip
        return made[:, work.ids.shape[1] :]

    return run


def pyvene(model: nn.Module, work: Work) -> Arm:
    """Pyvene's function interventions, without unit locations: with them it edits either the prompt or what follows."""
    import pyvene as pv

    def edit(neurons: Tensor) -> Callable[[Tensor, object], Tensor]:
        def call(activation: Tensor, _source: object) -> Tensor:
            activation[:, -1:].index_add_(2, neurons, work.added)
            return activation

        return call

    places = [
        {"component": f"model.layers[{number}].mlp.down_proj.input", "intervention": edit(neurons)}
        for number, neurons in enumerate(work.neurons)
    ]
    wrapped = pv.IntervenableModel(pv.IntervenableConfig(places), model=model)

    def run() -> Tensor:
        base = {"input_ids": work.ids, "attention_mask": work.mask}
        with torch.no_grad():
            _, made = wrapped.generate(base, unit_locations=None, intervene_on_prompt=True, **work.settings)
        return made[:, work.ids.shape[1] :]

    return run


def steering_vectors(model: nn.Module, work: Work) -> Arm:
    """A steering vector over the width of the MLP, zero but at the neurons."""
    from steering_vectors import SteeringVector

    vectors = {
        number: torch.zeros(work.width).index_fill(0, neurons, AMOUNT) for number, neurons in enumerate(work.neurons)
    }
    vector = SteeringVector(vectors, "decoder_block")

    def run() -> Tensor:
        config = {"decoder_block": "model.layers.{num}.mlp.act_fn"}
        with vector.apply(model, layer_config=config, token_indices=[-1], min_token_index=None):
            return work.generate(model)

    return run


def nnterp() -> Arm:
    """Nothing to time; says whether it can be imported at all."""
    import nnterp

    raise ImportError(f"nnterp {nnterp.__version__} edits neurons by nnsight's idiom")


def arms_of(shape: str, work: Work) -> dict[str, Arm]:
    """Every arm that can run here."""
    model = random_llama(shape)
    model.generation_config.eos_token_id = None  # all new tokens are made
    with torch.no_grad():  # small embeddings drown in the edit: every token were the same, and a comparison hollow
        model.model.embed_tokens.weight.mul_(100)
    tokenizer = word_tokenizer(work.vocabulary)
    tokenizer.eos_token = None
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"  # so that a prompt's tokens are those of its text
    subject = open_model(twin(model), tokenizer=tokenizer)
    hook_model = twin(model)
    arms = {
        BARE: partial(work.generate, twin(model)),
        CONTROL: partial(work.generate, twin(model)),
        HOOKS: with_hooks(hook_model, work),
        GATE_HOOKS: with_hooks(hook_model, work, gate=True),
        **nnvalue_arms(subject, work),
        NNSIGHT: nnsight_idiom(subject.model, work),
        IDLE: nnsight_idle(subject.model, work),
        BAKED: partial(work.generate, baked(subject, work)),
    }
    off = int((with_hooks(hook_model, work, factor=FACTOR)() != arms[BAKED]()).sum())
    print(f"{BAKED}: {off} of {work.ids.shape[0] * work.new} tokens differ from those of hooks that scale (rounding)")
    peers: dict[str, Callable[[], Arm]] = {
        TRANSFORMER_LENS: lambda: transformer_lens(twin(model), tokenizer, work),
        PYVENE: lambda: pyvene(twin(model), work),
        STEERING_VECTORS: lambda: steering_vectors(twin(model), work),
        NNTERP: nnterp,
    }
    for name, make in peers.items() if shape != "2048x16" else ():  # there a repetition of all would take minutes
        try:
            arms[name] = make()
        except ImportError as error:
            print(f"{name}: left out ({error})")
    return arms


def check(arms: dict[str, Arm], work: Work) -> dict[str, int]:
    """How many tokens differ from those of plain hooks at the same site; refuses what must not."""
    expected = {name: arms[name]() for name in (BARE, HOOKS, GATE_HOOKS)}
    assert not torch.equal(expected[BARE], expected[HOOKS]), "the edit changes no token, so the check would say nothing"
    off = {}
    references = {BARE: BARE, CONTROL: BARE, IDLE: BARE, GATE_HOOKS: GATE_HOOKS, STEERING_VECTORS: GATE_HOOKS}
    for name, arm in arms.items():
        if name == BAKED:
            continue
        made = arm()
        assert made.shape == (len(work.ids), work.new), f"{name} made {tuple(made.shape)} tokens"
        off[name] = int((made != expected[references.get(name, HOOKS)]).sum())
        # TransformerLens has an attention path of its own.
        assert not off[name] or name == TRANSFORMER_LENS, f"{name}: {off[name]} tokens are others than plain hooks'"
    differ = {name: number for name, number in off.items() if number}
    print(f"tokens that differ from those of plain hooks: {differ or 'none'}")
    return off


def adjacent(arms: dict[str, Arm], repetitions: int) -> dict[str, np.ndarray]:
    """Process CPU seconds of every run of an arm, and the mean of the runs of bare before and after: `[run, 2]`.

    The arms' order moves on by one with every repetition; a first repetition is not counted.
    """
    names = [name for name in arms if name != BARE]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for repetition in range(repetitions + 1):
        start = repetition % len(names)
        before = timed(arms[BARE])
        for name in names[start:] + names[:start]:
            own, after = timed(arms[name]), timed(arms[BARE])
            if repetition:
                seconds[name].append((own, (before + after) / 2))
            before = after
    return {name: np.array(pairs) for name, pairs in seconds.items()}


def timed(arm: Arm) -> float:
    """Process CPU seconds of one run; garbage of the run before is not its own."""
    gc.collect()
    start = time.process_time()
    arm()
    return time.process_time() - start


def median_and_interval(values: np.ndarray, digits: int) -> dict[str, float]:
    """The median and its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    named = {"median": np.median(values), "low": low, "high": high}
    return {name: round(float(value), digits) for name, value in named.items()}


def figures_of(seconds: dict[str, np.ndarray], work: Work, target: float | None) -> dict[str, dict[str, Any]]:
    """Milliseconds a step, ratio to bare, and microseconds that an edited layer adds to a step."""
    figures: dict[str, dict[str, Any]] = {}
    for name, pairs in seconds.items():
        own, bare = pairs.T
        figures[name] = {
            "cpu_ms_per_step": round(1e3 * float(np.median(own)) / work.new, 3),
            "ratio": median_and_interval(own / bare, 4),
            "us_per_layer_and_step": median_and_interval(1e6 * (own - bare) / (work.layers * work.new), 1),
            "n": len(pairs),
        }
        limit = BAKED_TARGET if name == BAKED else target if name in (NNVALUE, TRACE) else None
        if target is not None and limit is not None:
            figures[name] |= {"target": limit, "met": figures[name]["ratio"]["high"] <= limit}
    return figures


def print_table(title: str, figures: dict[str, dict[str, Any]]) -> None:
    """A table on stdout."""
    print(f"\n{title}\n{'':28} {'ms/step':>8} {'ratio':>7}  {'[95 % interval]':17} {'µs/layer·step':23}   n  target")
    for name, row in sorted(figures.items(), key=lambda item: item[1]["ratio"]["median"]):
        ratio, cost = row["ratio"], row["us_per_layer_and_step"]
        target = f"≤ {row['target']:.2f} {'met' if row['met'] else 'NOT MET'}" if "target" in row else ""
        cells = f"{ratio['median']:7.3f}  [{ratio['low']:.3f} – {ratio['high']:.3f}]   {cost['median']:6.1f}"
        cells += f" [{cost['low']:.1f} – {cost['high']:.1f}]"
        print(f"{name:28} {row['cpu_ms_per_step']:8.2f} {cells:52} {row['n']:3}  {target}")


def measure_shape(shape: str, batches: tuple[int, ...], quick: bool, repetitions: int | None) -> dict[str, Any]:
    """All arms on one model shape, prompt by prompt and in batches."""
    result = {}
    for batch in batches or PLANS[shape]:
        prompt, new, planned, target = PLANS[shape][batch]
        work = Work(shape, batch, prompt, min(new, 8) if quick else new)
        arms = arms_of(shape, work)
        off = check(arms, work)
        load = os.getloadavg()[0]
        figures = figures_of(adjacent(arms, repetitions or (2 if quick else planned)), work, target)
        title = f"Llama {shape}, batch {batch}, {prompt} + {work.new} tokens, float32, 1 thread"
        print_table(f"{title}, load {load:.1f} – {os.getloadavg()[0]:.1f}", figures)
        result[f"batch {batch}"] = {
            "prompt_tokens": prompt, "new_tokens": work.new, "tokens_that_differ": off, "figures": figures,
            "load_average": [load, os.getloadavg()[0]],
        }  # fmt: skip
    return result


@click.command()
@click.option("--quick", is_flag=True, help="Few tokens, few repetitions: does it run?")
@click.option("--save", is_flag=True, help="Keep the figures in benchmarks/results/.")
@click.option(
    "--shape", "shapes", multiple=True, type=click.Choice(list(PLANS)), help="Default: all; with --quick one."
)
@click.option("--batch", "batches", multiple=True, type=click.Choice([1, 8]), help="Prompts at once; default: 1 and 8.")
@click.option("--repetitions", type=int, help="Default: by shape and batch; with --quick 2.")
def main(quick: bool, save: bool, shapes: tuple[str, ...], batches: tuple[int, ...], repetitions: int | None) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    for shape in shapes or (["narrow32"] if quick else PLANS):
        result = measure_shape(shape, batches, quick, repetitions)
        finish(f"steer-{shape}", {"figures": result, "quick": quick}, save)


if __name__ == "__main__":
    main()
