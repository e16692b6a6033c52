"""The README's framework is one, and its main line runs as it stands; tests/docs runs all its blocks, tiny."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnvalue
from nnvalue.values import load_framework

README = Path(nnvalue.__file__).parents[1] / "README.md"
if not README.exists():
    pytest.skip("the README is not beside an installed package", allow_module_level=True)


def test_the_yaml_block_is_a_framework(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    assert not load_framework(tmp_path / "mine.yaml").has_circle


def test_the_main_line_shows_all_ten_values(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # another test runs beside it
    line = [sys.executable, "-m", "nnvalue", "locate"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for value in load_framework().values:
        assert done.stdout.count(value) >= 2  # in both tables
    assert list(tmp_path.glob("runs/organism-schwartz-*/neurons.safetensors"))
