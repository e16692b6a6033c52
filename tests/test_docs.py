"""The code of docs/steering.md runs as it stands, block after block."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "steering.md"
BEFORE = """
import functools, nnvalue, torch
nnvalue.locate = functools.partial(nnvalue.locate, situations=2, null=False, max_new_tokens=24)
torch.set_num_threads(1)
ids = torch.randint(6, 64, (2, 7))
mask = torch.ones_like(ids)
"""


def test_the_code_on_the_page_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    made = "model = subject.model\n"
    script = tmp_path / "page.py"
    script.write_text(BEFORE + blocks[0] + made + "\n".join(blocks[1:]) + "\nprint(tokens.shape)\n")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    answers = run.stdout.splitlines()
    assert len(answers) == 4
    assert len(set(answers[:3])) > 1  # three doses of one question
