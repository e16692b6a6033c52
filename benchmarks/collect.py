"""The statistics pass against a bare transformers forward pass over the same batches, and its peak memory.

    python -m benchmarks.collect [--quick] [--save] [--shape 512x8] [--shape 2048x16]

Arms, in turn, in one process, on the same left-padded batches of prompt + response:
- bare: `model(ids, attention_mask)` with logits, no counting: the base of every ratio.
- nnvalue: `gather_contrasts`: fired, sum and sum of squares per pole and fold, paired differences, all layers, stopped
  after the last MLP.
- nnvalue, every token: the same with all tokens counted, so that nothing is saved on the prompt.
- nnvalue, with the journal: as `locate` runs it, running sums kept on disk after every batch.
- nnvalue q95, one pass: one counting pass of `exact_quantiles` over 1 % of all neurons.
- nnvalue statistics + exact q95: all that one reading of `locate` needs, the three counting passes of float32 included.
- hooks: plain forward hooks with the same reductions, on the whole model and on its body without the head.
- TransformerLens, pyvene: the same reductions in their hooks (extra `bench`; skipped with a word if absent).
  TransformerLens has no hook at the activation's output of a gated MLP, so it reads the down projection's input.
The firing counts are compared with those of the hooks before anything is timed (of TransformerLens with ours at the
same site; it has an attention path of its own, and what differs is printed).
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from benchmarks.measure import (
    SHAPES,
    finish,
    paired,
    print_figures,
    random_llama,
    random_responses,
    twin,
    word_tokenizer,
)
from nnvalue.artifacts import Journal
from nnvalue.dataset import from_rows, load_valueinsight
from nnvalue.locator import Reading, exact_quantiles, gather_contrasts, locate
from nnvalue.locator.collect import ContrastBatches, gather_digit_counts
from nnvalue.models import Response, Subject, open_model
from nnvalue.organism import grammar
from nnvalue.traces import per_neuron_sums

CONTRASTS_A_FOLD = 4  # as 64 situations in 16 folds, what `locate` does
BATCH_TOKENS = 4096


class Work:
    """The same batches for every arm; the first half of the responses stand for the positive pole."""

    def __init__(self, responses: list[Response], subject: Subject) -> None:
        half = len(responses) // 2
        self.layers, self.width = subject.anatomy.layers, subject.anatomy.width
        self.poles = responses[:half], responses[half:]
        self.folds = [number // CONTRASTS_A_FOLD for number in range(half)]
        self.n_folds = self.folds[-1] + 1
        places = [[p for p in range(half) if self.folds[p] == fold] for fold in range(self.n_folds)]
        made = ContrastBatches(subject, *self.poles, places, [Reading("gate")], BATCH_TOKENS)
        self.batches = [([*rows, *rows], *made.batch(number)) for number, rows in enumerate(made.plan)]

    def fired(self, subject: Subject, site: str = "gate", **settings: Any) -> Tensor:
        """Firings that nnvalue counts, `[fold, layer, neuron]`, both poles together."""
        made = gather_contrasts(subject, *self.poles, self.folds, site, batch_tokens=BATCH_TOKENS, **settings)
        return made.positive.fired + made.negative.fired

    def inputs(self, ids: Tensor, attention: Tensor) -> dict[str, Tensor]:
        """What the model is given: positions follow the mask, as nnsight and `generate` have it."""
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        return {"input_ids": ids, "attention_mask": attention, "position_ids": positions}

    def members(self, rows: list[int]) -> Tensor:
        """One-hot `[fold, batch]`."""
        return torch.nn.functional.one_hot(torch.tensor([self.folds[row] for row in rows]), self.n_folds).T.float()


def bare(model: nn.Module, work: Work) -> Callable[[], None]:
    """The forward pass as transformers runs it."""

    def run() -> None:
        with torch.no_grad():
            for _rows, ids, attention, _counted in work.batches:
                model(**work.inputs(ids, attention), use_cache=False)

    return run


def hooked(model: nn.Module, work: Work, run_model: nn.Module) -> Callable[[], Tensor]:
    """Plain hooks with the same reductions; returns fired `[fold, layer, neuron]`."""

    def run() -> Tensor:
        sums = torch.zeros(3, work.n_folds, work.layers, work.width)
        for rows, ids, attention, counted in work.batches:
            members = work.members(rows)

            def reduce(
                _module: object, _inputs: object, out: Tensor, number: int, c: Tensor = counted, g: Tensor = members
            ) -> None:
                sums[:, :, number].add_(g @ per_neuron_sums(out, c))

            handles = [
                layer.mlp.act_fn.register_forward_hook(partial(reduce, number=number))
                for number, layer in enumerate(model.model.layers)
            ]
            with torch.no_grad():
                run_model(**work.inputs(ids, attention), use_cache=False)
            for handle in handles:
                handle.remove()
        return sums[0]

    return run


def transformer_lens(model: nn.Module, tokenizer: object, work: Work) -> Callable[[], Tensor] | None:
    """TransformerLens' bridge around the same model; None if it is not installed."""
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, hf_model=model, tokenizer=tokenizer, device="cpu")

    def run() -> Tensor:
        sums = torch.zeros(3, work.n_folds, work.layers, work.width)
        for rows, ids, attention, counted in work.batches:
            members = work.members(rows)

            def reduce(activation: Tensor, hook: object, c: Tensor = counted, g: Tensor = members) -> None:
                sums[:, :, int(hook.name.split(".")[1])].add_(g @ per_neuron_sums(activation, c))

            hooks = [(f"blocks.{number}.mlp.out.hook_in", reduce) for number in range(work.layers)]
            with torch.no_grad():
                bridge.run_with_hooks(ids, attention_mask=attention, fwd_hooks=hooks)
        return sums[0]

    return run


def pyvene(model: nn.Module, work: Work) -> Callable[[], Tensor] | None:
    """Pyvene's function interventions; None if it is not installed."""
    try:
        import pyvene as pv
    except ImportError:
        return None
    state: dict[str, object] = {}

    def reduce(number: int) -> Callable[[Tensor, object], Tensor]:
        def call(activation: Tensor, _source: object) -> Tensor:
            state["sums"][:, :, number].add_(state["members"] @ per_neuron_sums(activation, state["counted"]))
            return activation

        return call

    places = [
        {"layer": number, "component": "mlp_activation", "intervention": reduce(number)}
        for number in range(work.layers)
    ]
    wrapped = pv.IntervenableModel(pv.IntervenableConfig(places), model=model)

    def run() -> Tensor:
        state["sums"] = torch.zeros(3, work.n_folds, work.layers, work.width)
        for rows, ids, attention, counted in work.batches:
            state.update(members=work.members(rows), counted=counted)
            with torch.no_grad():
                wrapped(base=work.inputs(ids, attention), unit_locations=None)
        return state["sums"][0]

    return run


def as_locate_runs_it(subject: Subject, work: Work, q95_of: Tensor | None = None) -> Callable[[], Tensor]:
    """Statistics with the journal that `locate` keeps; with `q95_of`, also the exact percentiles of these neurons."""

    def run() -> Tensor:
        with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "work", {}) as journal:
            fired = work.fired(subject, journal=journal)
            if q95_of is not None:
                responses = [*work.poles[0], *work.poles[1]]
                exact_quantiles(subject, responses, "gate", q95_of, batch_tokens=BATCH_TOKENS, journal=journal)
        return fired

    return run


def measure_shape(shape: str, repetitions: int, quick: bool) -> dict:
    """All arms on one model shape."""
    size = SHAPES[shape]
    model = random_llama(shape)
    layers, width = size["num_hidden_layers"], size["intermediate_size"]
    # Half of a batch's tokens or more are prompt, as with real contrasts; the large model gets less of it.
    count, prompt, response = (32, 96, 64) if shape == "512x8" else (8, 32, 24)
    responses = random_responses(count // 4 if quick else count, size["vocab_size"], prompt, response)
    tokenizer = word_tokenizer(size["vocab_size"])
    subject = open_model(twin(model), tokenizer=tokenizer)
    work = Work(responses, subject)
    every = [Response(r.prompt_id, r.prompt_ids[:1], (*r.prompt_ids[1:], *r.token_ids), "", False) for r in responses]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(layers * width, generator=generator)[: layers * width // 100]
    neurons = {layer: (chosen[chosen // width == layer] % width).sort().values for layer in range(layers)}
    pairs = torch.stack((chosen // width, chosen % width), dim=1)
    prefix = {layer: torch.zeros_like(indices) for layer, indices in neurons.items()}
    hook_model = twin(model)
    arms: dict[str, Callable] = {
        "bare transformers forward": bare(twin(model), work),
        "nnvalue statistics": partial(work.fired, subject),
        "nnvalue statistics, every token counted": partial(Work(every, subject).fired, subject),
        "nnvalue q95, one pass": lambda: gather_digit_counts(
            subject, responses, "gate", neurons, prefix, 22, 11, "float32", batch_tokens=BATCH_TOKENS
        ),
        "nnvalue statistics, with the journal": as_locate_runs_it(subject, work),
        "nnvalue statistics + exact q95, all passes": as_locate_runs_it(subject, work, pairs),
        "plain hooks": hooked(hook_model, work, hook_model),
        "plain hooks on the body, no head": hooked(hook_model, work, hook_model.model),
        "TransformerLens (down_in)": transformer_lens(twin(model), tokenizer, work),
        "pyvene": pyvene(twin(model), work),
    }
    for name in [name for name, arm in arms.items() if arm is None]:
        print(f"{name}: not installed, left out (pip install 'nnvalue[bench]')")
        del arms[name]
    check(arms, subject, work)
    figures = paired(arms, "bare transformers forward", repetitions)
    tokens = sum(int(attention.sum()) for _r, _i, attention, _c in work.batches)
    print_figures(f"Llama {shape}, {len(work.batches)} batches, {tokens} tokens, float32, 1 thread", figures)
    return figures


def check(arms: dict[str, Callable], subject: Subject, work: Work) -> None:
    """Refuse to time arms that do not count the same."""
    expected = arms["plain hooks"]().long()
    for name in ("nnvalue statistics", "nnvalue statistics, with the journal", "pyvene"):
        if name in arms:
            off = int((arms[name]().long() - expected).abs().sum())
            print(f"{name}: {off} of {int(expected.sum())} firings differ from plain hooks")
            # None on small models; on large ones a matrix product may round an activation across zero.
            assert off <= 2e-5 * expected.sum(), f"{name} counts otherwise than plain hooks"
    if "TransformerLens (down_in)" in arms:
        ours = work.fired(subject, "down_in")
        off = int((arms["TransformerLens (down_in)"]().long() - ours).abs().sum())
        print(f"TransformerLens: {off} of {int(ours.sum())} firings differ (its own attention path)")


def peak_memory(situations: int) -> int:
    """Peak resident memory in MiB of a process that takes the statistics of so many situations."""
    command = [sys.executable, "-m", "benchmarks.collect", "--memory-of", str(situations)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory_child(situations: int) -> None:
    """What `peak_memory` runs: the whole of `locate` for one value on the organism, with so many situations."""
    torch.set_num_threads(1)
    rng = random.Random(0)
    shipped = load_valueinsight()
    texts: dict[str, None] = {}
    while len(texts) < situations:
        texts[f"{grammar.situation(rng, 'power')} It is about number {len(texts)}."] = None
    rows = [
        {"id": str(n), "core": str(n), "value": "power", "domain": "d", "facet": "f", "split": "locate", "text": text}
        for n, text in enumerate(texts)
    ]
    edition = from_rows("many situations", list(shipped.descriptions), rows)
    with tempfile.TemporaryDirectory() as folder:
        locate(values=("power",), situations=situations, dataset=edition, out=Path(folder) / "run")
    # Not ru_maxrss: a child process starts with its parent's.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024)


@click.command()
@click.option("--quick", is_flag=True, help="Small work, few repetitions: does it run?")
@click.option("--save", is_flag=True, help="Keep the figures in benchmarks/results/.")
@click.option("--shape", "shapes", multiple=True, type=click.Choice(list(SHAPES)), help="Default: all.")
@click.option("--repetitions", type=int, help="Default: 7, with --quick 2.")
@click.option("--memory/--no-memory", default=True, help="Also measure the peak memory of locate.")
@click.option("--speed/--no-speed", default=True, help="Measure the passes.")
@click.option("--memory-of", type=int, hidden=True)
def main(
    quick: bool,
    save: bool,
    shapes: tuple[str, ...],
    repetitions: int | None,
    memory: bool,
    speed: bool,
    memory_of: int | None,
) -> None:
    """Measure and print."""
    if memory_of is not None:
        memory_child(memory_of)
        return
    repetitions = repetitions or (2 if quick else 7)
    chosen = (shapes or (["512x8"] if quick else SHAPES)) if speed else ()
    result = {shape: measure_shape(shape, repetitions, quick) for shape in chosen}
    if memory:
        few, many = (40, 400) if quick else (400, 4000)
        peaks = {few: peak_memory(few), many: peak_memory(many)}
        ratio = peaks[many] / peaks[few]
        print(f"\npeak memory: {few} situations {peaks[few]} MiB, {many}: {peaks[many]} MiB, ratio {ratio:.3f}")
        result["memory"] = {"situations": list(peaks), "peak_mib": list(peaks.values()), "ratio": round(ratio, 3)}
    finish("-".join(["collect", *result]), {"figures": result, "quick": quick}, save)


if __name__ == "__main__":
    main()
