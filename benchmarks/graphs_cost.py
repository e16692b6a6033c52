"""One survey of the organism in a process of its own, for `benchmarks.graphs --part cost`.

    python -m benchmarks.graphs_cost ROLES SETTINGS PAIRS THREADS FOLDER

PAIRS 0 is every portrait of the dataset. Prints answers, seconds, CPU seconds and peak MiB.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch

from nnvalue import load_valueinsight, open_model
from nnvalue.causal import Setting, prompt_settings, survey
from nnvalue.dataset import role_of
from nnvalue.steering import NeuronSteering


def main(roles: int, settings: int, pairs: int, threads: int, folder: Path) -> None:
    """Ask and time; settings are 20 descriptions, the unsteered one, and edits of neurons for the rest."""
    torch.set_num_threads(threads)
    edition, subject = load_valueinsight(), open_model()
    people = [role_of(row) for row in edition.roles if row["split"] == "train"][:roles]
    edits = [("add", layer, neuron, 1.0) for layer in (3, 4) for neuron in range(26)]
    more = [
        Setting.of(f"neurons {number}", NeuronSteering.from_edits(edits, dose=number + 1.0))
        for number in range(settings - 21)
    ]
    start, cpu = time.perf_counter(), time.process_time()
    done = survey(
        subject, [*prompt_settings(edition), *more], roles=people, dataset=edition,
        split="locate" if pairs else "all", pairs=pairs or None, out=folder,
    )  # fmt: skip
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(done.scores.size, f"{seconds:.2f} {cpu:.2f} {peak:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]), Path(sys.argv[5]))
