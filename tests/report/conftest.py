"""One page of everything, made once."""

from __future__ import annotations

import pytest

from nnvalue.report import build_report
from tests.report import shelf


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return shelf.fill(tmp_path_factory.mktemp("report") / "runs")


@pytest.fixture(scope="session")
def page(runs):
    """The page's file, of a folder that holds a result of every kind."""
    return build_report([runs], runs.parent / "page" / "report.html").out
