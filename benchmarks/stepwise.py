"""One teacher-forced pass against the same statistics collected while decoding, on given responses.

    python -m benchmarks.stepwise [--quick] [--save]

The published code (NPTI, and ValueLocate after it) counts in the decoder: a forward pass for every new token. Here the
responses are given, so all sides do nothing but count: the stepwise sides feed the stored tokens one by one with a
key-value cache, in the same batches, with plain hooks. One of them takes our reductions; the other counts firings and,
for its 95th percentiles, a histogram of 301 bins by bucketize and scatter, as the published code does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import torch
from torch import Tensor, nn

from benchmarks.measure import SHAPES, finish, paired, print_figures, random_llama, twin, word_tokenizer
from nnvalue.locator import Moments, exact_quantiles, gather_contrasts
from nnvalue.models import Response, Subject, open_model
from nnvalue.traces import per_neuron_sums

SHAPE = "512x8"


def equal_responses(count: int, prompt: int, response: int) -> list[Response]:
    """Responses of one length, so that the stepwise side needs no masks of its own."""
    random = torch.Generator().manual_seed(0)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, SHAPES[SHAPE]["vocab_size"], (length,), generator=random).tolist())

    return [Response(f"r{number}", tokens(prompt), tokens(response), "", False) for number in range(count)]


def stepwise(
    model: nn.Module, responses: list[Response], batch: int, histogram: bool = False
) -> Callable[[], tuple[Tensor, Tensor]]:
    """Counting in the decoder; returns fired and sum, float64 `[layer, neuron]` (sums only without a histogram)."""
    edges = torch.arange(0, 3.005, 0.01)
    layers = model.model.layers
    prompt, steps = len(responses[0].prompt_ids), len(responses[0].fed_ids)
    one = torch.ones(batch, 1)

    def run() -> tuple[Tensor, Tensor]:
        sums = torch.zeros(3, len(layers), SHAPES[SHAPE]["intermediate_size"], dtype=torch.float64)

        bins = torch.zeros(len(layers), SHAPES[SHAPE]["intermediate_size"], len(edges) + 1, dtype=torch.int32)

        def count(_module: object, _inputs: object, out: Tensor, number: int) -> None:
            if not histogram:
                sums[:, number].add_(per_neuron_sums(out, one).sum(1))
                return
            flat = out[:, 0]  # [batch, neuron]
            sums[0, number].add_((flat > 0).sum(0))
            places = torch.bucketize(flat, edges).T  # [neuron, batch]
            bins[number].scatter_add_(1, places, torch.ones_like(places, dtype=torch.int32))

        for start in range(0, len(responses), batch):
            part = responses[start : start + batch]
            ids = torch.tensor([[*r.prompt_ids, *r.fed_ids] for r in part])
            with torch.no_grad():
                past = model(ids[:, :prompt], use_cache=True).past_key_values
                handles = [
                    layer.mlp.act_fn.register_forward_hook(partial(count, number=number))
                    for number, layer in enumerate(layers)
                ]
                for step in range(steps):
                    place = prompt + step
                    past = model(ids[:, place : place + 1], past_key_values=past, use_cache=True).past_key_values
                for handle in handles:
                    handle.remove()
        return sums[0], sums[1]

    return run


def statistics(subject: Subject, responses: list[Response], batch_tokens: int) -> Moments:
    """Both halves of the responses as the poles of one fold; their sums together."""
    half = len(responses) // 2
    made = gather_contrasts(subject, responses[:half], responses[half:], [0] * half, "gate", batch_tokens=batch_tokens)
    return Moments.pooled([made.positive, made.negative])


@click.command()
@click.option("--quick", is_flag=True, help="Small work, few repetitions: does it run?")
@click.option("--save", is_flag=True, help="Keep the figures in benchmarks/results/.")
def main(quick: bool, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    model = random_llama(SHAPE)
    batch = 8
    responses = equal_responses(8 if quick else 16, prompt=64, response=33 if quick else 129)
    subject = open_model(twin(model), tokenizer=word_tokenizer(SHAPES[SHAPE]["vocab_size"]))
    tokens = batch * (len(responses[0].prompt_ids) + len(responses[0].fed_ids))
    width = SHAPES[SHAPE]["intermediate_size"]
    drawn = torch.randperm(8 * width, generator=torch.Generator().manual_seed(0))[: 8 * width // 100]
    chosen = torch.stack((drawn // width, drawn % width), dim=1)
    arms = {
        "teacher-forced, nnvalue": lambda: statistics(subject, responses, tokens),
        "while decoding, the same reductions": stepwise(twin(model), responses, batch),
        "while decoding, counts and histogram": stepwise(twin(model), responses, batch, histogram=True),
        "teacher-forced, with exact q95 of 1 %": lambda: (
            statistics(subject, responses, tokens),
            exact_quantiles(subject, responses, "gate", chosen, batch_tokens=tokens),
        ),
    }
    ours, (fired, total) = arms["teacher-forced, nnvalue"](), arms["while decoding, the same reductions"]()
    differ = int((ours.fired.sum(0) - fired.long()).abs().sum())
    mean_gap = float(((ours.total.sum(0) - total) / ours.tokens.sum()).abs().max())
    firings = int(ours.fired.sum())
    figures = paired(arms, "teacher-forced, nnvalue", 2 if quick else 3)
    print_figures(f"Llama {SHAPE}, {len(responses)} responses of {len(responses[0].fed_ids)} counted tokens", figures)
    print(f"firings that differ: {differ} of {firings}; largest gap of a mean: {mean_gap:.1e}")
    agreement = {"firings": firings, "firings_that_differ": differ, "largest_mean_gap": mean_gap}
    ratios = {name: row["ratio"] for name, row in figures.items()}
    print(f"speed-up over decoding, same reductions: {ratios['while decoding, the same reductions']:.2f} ×")
    finish("stepwise", {"figures": figures, "agreement": agreement, "quick": quick}, save)


if __name__ == "__main__":
    main()
