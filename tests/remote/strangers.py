"""A project outside the repository, with its own module on top of `nnvalue.traces`; see `stranger/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nnvalue.organism import folder

PROJECT = Path(__file__).with_name("stranger")


def run_stranger(where: Path, *host: str, key: str | None = None) -> dict:
    """What the project prints when it is run in a folder of its own."""
    project = shutil.copytree(PROJECT, where / "stranger", dirs_exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"NDIF_API_KEY": key} if key else {})}
    made = subprocess.run(
        [sys.executable, "main.py", str(folder()), "nnvalue/organism", *host],
        cwd=project, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    return json.loads(made.stdout.splitlines()[-1])
