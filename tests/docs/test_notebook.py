"""The notebook runs from its first cell to its last, at a tiny setting: catches code that the package left behind."""

import os

import pytest

from tests.docs.blocks import DOCS

nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")
pytest.importorskip("ipykernel", reason="the extra `notebook` is not installed")

NOTEBOOK = DOCS / "tutorial" / "first_quarter.ipynb"
TINY = "situations, answers, arms_situations = 2, 2, 2"


def test_the_notebook_runs(tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (parameters,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
    names = parameters.source.partition(" = ")[0]
    assert names == TINY.partition(" = ")[0]
    parameters.source = TINY
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(DOCS.parent), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = ["".join(str(output.get("text", output.get("data", ""))) for output in cell.outputs) for cell in cells]
    assert "score" in shown[1] or "tradition" in shown[1]
    assert len(set(shown[3].splitlines())) == 3  # unsteered, steered, and the control
    assert "moved by" in shown[5]
    assert "movement" in shown[6]


def test_no_output_tells_of_the_machine_that_made_it():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 40_000
    assert "widget" not in text  # a progress bar, which is nothing later
    assert "/home/" not in text
    assert "/tmp/" not in text
