"""The code of docs/causal.md runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "causal.md"


def test_the_code_on_the_page_runs(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "page.py").write_text("import torch\ntorch.set_num_threads(1)\n" + block)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, tmp_path / "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "power → security" in run.stdout  # true of the organism
    assert "'power': 1.0" in run.stdout
    assert "Choice(name='prompt power +'" in run.stdout
