"""What a server costs: bytes up and down, seconds a bundle, and the overhead over the same work in this process.

    bash tests/ndif/run.sh python -m benchmarks.remote [--quick] [--save]
    python -m benchmarks.remote --host URL

The embedded organism, statistics at the gate of given responses, one bundle a fold, more and more contrasts in it.
`tests/ndif/run.sh` starts a real NDIF server on this machine's loopback: trusted keys run in the model's process, all
others in a sandbox, which is a process of its own for every job. The sums are compared with the local ones first.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import click
import torch

from benchmarks.measure import finish, random_responses
from nnvalue.locator import gather_contrasts
from nnvalue.models import RemoteOptions, Response, Subject, open_model

FOLDS = 2


def work_of(subject: Subject, contrasts_a_bundle: int) -> tuple[list[Response], list[Response], list[int]]:
    """Responses of both poles and their folds, of random tokens: nothing compresses better than a real text would."""
    count, vocabulary = FOLDS * contrasts_a_bundle, len(subject.tokenizer)
    poles = (random_responses(count, vocabulary, prompt=40, response=20, seed=seed) for seed in (0, 1))
    return (*poles, [number % FOLDS for number in range(count)])


def measured(subject: Subject, work: tuple, repetitions: int) -> list[float]:
    """Wall seconds a bundle, of each repetition after a first one."""
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        gather_contrasts(subject, *work, "gate")
        seconds.append((time.perf_counter() - start) / FOLDS)
    return seconds[1:]


def measure(url: str, here: Subject, sizes: list[int], repetitions: int) -> list[dict[str, Any]]:
    """One row a bundle size."""
    rows = []
    for size in sizes:
        work = work_of(here, size)
        remote = open_model(remote=url, remote_options=RemoteOptions(in_flight=1))
        ours, theirs = gather_contrasts(here, *work, "gate"), gather_contrasts(remote, *work, "gate")
        assert torch.equal(ours.positive.fired, theirs.positive.fired), "the server counts otherwise"
        assert torch.allclose(ours.firing.total, theirs.firing.total, atol=1e-6), "the server counts otherwise"
        server = remote.runtime.server
        bundles = server.requests
        up, down = server.sent_bytes // bundles, server.received_bytes // bundles
        there, local = measured(remote, work, repetitions), measured(here, work, repetitions)
        ratios = [a / b for a, b in zip(there, local, strict=True)]
        rows.append(
            {
                "contrasts_a_bundle": size,
                "bundles": FOLDS,
                "requests": bundles,
                "bytes_up": up,
                "bytes_down": down,
                "bytes_allowed": 48 * here.anatomy.layers * here.anatomy.width + 64_000,
                "seconds_a_bundle": round(statistics.median(there), 3),
                "seconds_here": round(statistics.median(local), 3),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_min": round(min(ratios), 2),
                "ratio_max": round(max(ratios), 2),
                "n": repetitions,
            }
        )
    return rows


@click.command()
@click.option("--host", "hosts", multiple=True, help="A server that runs the organism. Default: what run.sh started.")
@click.option("--quick", is_flag=True, help="Small work, few repetitions: does it run?")
@click.option("--save", is_flag=True, help="Keep the figures in benchmarks/results/.")
def main(hosts: tuple[str, ...], quick: bool, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    found = {path: os.environ.get(f"NNVALUE_NDIF_{path.upper()}") for path in ("trusted", "sandboxed")}
    servers = {host: host for host in hosts} or {path: url for path, url in found.items() if url}
    if not servers:
        raise click.UsageError("no server: give --host, or run it by tests/ndif/run.sh")
    here = open_model()
    sizes, repetitions = ([4], 1) if quick else ([4, 64, 256], 3)
    figures = {}
    for name, url in servers.items():
        figures[name] = measure(url, here, sizes, repetitions)
        print(f"\n{name}: {here.name}, float32, one torch thread on either side, statistics at the gate")
        print(f"{'contrasts':>9} {'up kB':>8} {'down kB':>8} {'s a bundle':>11} {'s here':>8} {'ratio':>7}  [min–max]")
        for row in figures[name]:
            print(
                f"{row['contrasts_a_bundle']:9} {row['bytes_up'] / 1e3:8.1f} {row['bytes_down'] / 1e3:8.1f} "
                f"{row['seconds_a_bundle']:11.3f} {row['seconds_here']:8.3f} {row['ratio']:7.2f}  "
                f"[{row['ratio_min']:.2f}–{row['ratio_max']:.2f}]"
            )
    finish("remote", {"figures": figures, "quick": quick}, save)


if __name__ == "__main__":
    main()
