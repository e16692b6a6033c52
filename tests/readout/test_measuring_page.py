"""The code on scales of docs/measuring.md runs as it stands, block after block."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "measuring.md"


def test_the_code_on_the_page_runs(tmp_path):
    scales = PAGE.read_text().partition("\n## Judged text")[0]
    blocks = re.findall(r"```python\n(.*?)```", scales, re.DOTALL)
    assert len(blocks) == 3
    script = tmp_path / "page.py"
    script.write_text("import torch\ntorch.set_num_threads(1)\n" + "\n".join(blocks) + "\nprint(points.nearest)\n")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    printed = run.stdout.splitlines()
    assert printed[0] == "True"
    assert len(printed) == 5  # three samples of people, and the circle
    assert (tmp_path / "runs" / "two-people" / "profile.json").is_file()
