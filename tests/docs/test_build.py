"""Sphinx builds the pages without a warning: catches a dead link, a page in no table of contents, a bad docstring."""

import subprocess
import sys

import pytest

from tests.docs.blocks import DOCS, ROOT

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
pytest.importorskip("myst_parser", reason="the extra `docs` is not installed")
pytest.importorskip("furo", reason="the extra `docs` is not installed")


def test_the_pages_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run([*command, DOCS, tmp_path / "html"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "html").with_suffix("") for path in (tmp_path / "html").rglob("*.html")}
    sources = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    assert sources <= pages
    locator = (tmp_path / "html" / "reference" / "locator.html").read_text(encoding="utf-8")
    assert 'id="nnvalue.locator.locate"' in locator
    for asset in ("http://", "https://"):  # nothing is fetched when a page is read
        assert f'<script src="{asset}' not in locator
        assert f'<link rel="stylesheet" type="text/css" href="{asset}' not in locator
