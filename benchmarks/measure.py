"""What the benchmarks share: paired timing in one process, and the closing JSON line."""

from __future__ import annotations

import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nnvalue.artifacts import plain
from nnvalue.models import Response

SHAPES = {
    "512x8": {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 2048, "vocab_size": 8192},
    "2048x16": {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 5632, "vocab_size": 32000},
}
# Computes next to nothing: what a run of it takes is the fixed cost of layers.
NARROW = {"narrow32": {"hidden_size": 32, "num_hidden_layers": 32, "intermediate_size": 128, "vocab_size": 512}}


def random_llama(shape: str) -> LlamaForCausalLM:
    """A Llama of random float32 weights."""
    torch.manual_seed(0)
    size = (SHAPES | NARROW)[shape]
    heads = max(1, size["hidden_size"] // 64)
    config = LlamaConfig(**size, num_attention_heads=heads, num_key_value_heads=heads, pad_token_id=0)
    return LlamaForCausalLM(config).eval()


def twin(model: nn.Module) -> nn.Module:
    """The same model with modules of its own and the same weights: what instruments one leaves the other bare."""
    shared = {id(value): value for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def word_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of made-up words for a model of that vocabulary."""
    words = {"<pad>": 0, "<eos>": 1, **{f"w{number}": number for number in range(2, size)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>")


def random_responses(count: int, vocabulary: int, prompt: int, response: int, seed: int = 0) -> list[Response]:
    """Responses of random tokens; lengths vary by a quarter about `prompt` and `response`."""
    random = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> tuple[int, ...]:
        drawn = int(torch.randint(3 * length // 4, 5 * length // 4 + 1, (1,), generator=random))
        return tuple(torch.randint(2, vocabulary, (drawn,), generator=random).tolist())

    return [Response(f"r{number}", tokens(prompt), tokens(response), "", False) for number in range(count)]


def paired(arms: dict[str, Callable[[], Any]], base: str, repetitions: int) -> dict[str, dict[str, Any]]:
    """Process CPU seconds of every arm, run in turn; ratios are taken within a repetition.

    One torch thread, so that the figure is work and not waiting; a first round is not counted.
    """
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for repetition in range(repetitions + 1):
        for name, arm in arms.items():
            start = time.process_time()
            arm()
            if repetition:
                seconds[name].append(time.process_time() - start)
    figures = {}
    for name, values in seconds.items():
        ratios = [value / reference for value, reference in zip(values, seconds[base], strict=True)]
        figures[name] = {
            "cpu_s": round(statistics.median(values), 3),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_min": round(min(ratios), 3),
            "ratio_max": round(max(ratios), 3),
            "n": repetitions,
        }
    return figures


def print_figures(title: str, figures: dict[str, dict[str, Any]]) -> None:
    """A table on stdout."""
    print(f"\n{title}\n{'':44} {'CPU s':>9} {'ratio':>7}  [min–max]")
    for name, row in figures.items():
        print(f"{name:44} {row['cpu_s']:9.3f} {row['ratio']:7.3f}  [{row['ratio_min']:.3f}–{row['ratio_max']:.3f}]")


def finish(name: str, result: dict[str, Any], save: bool) -> None:
    """Print the figures as one JSON line; with `save`, also keep them in `benchmarks/results/`."""
    packages = (
        "nnvalue",
        "nnsight",
        "torch",
        "transformers",
        "transformer-lens",
        "pyvene",
        "steering-vectors",
        "causal-learn",
    )
    versions = {package: _version(package) for package in packages}
    report = plain({"benchmark": name, **result, "hardware": _hardware(), "versions": versions})
    if save:
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))


def _hardware() -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu, "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(), "gpu": gpu}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
