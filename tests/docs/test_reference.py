"""The reference says what the package says: commands, public names, figures, and what an extra needs."""

import re
import tomllib
from importlib import import_module

import pytest

import nnvalue
from docs.commands import PAGE, contexts, page
from docs.figures import FIGURES, FOLDER
from tests.docs.blocks import DOCS, ROOT


def test_the_command_reference_is_what_help_says():
    """A changed option, text or verb with the old page."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m docs.commands"


def test_the_reference_has_every_verb_and_is_narrow():
    paths = [context.command_path for context in contexts()]
    assert {"nnvalue locate", "nnvalue sae train", "nnvalue data import"} <= set(paths)
    assert len(paths) == len(set(paths))
    helps = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(helps) == len(paths)
    # click breaks no word, and an example line in a docstring stays one line
    assert sum(len(line) > 90 for text in helps for line in text.splitlines()) < 5


def test_every_public_name_stands_in_the_reference():
    listed = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    for name in nnvalue.__all__:
        assert f"| `{name}` |" in listed


def test_every_room_has_a_page_that_lists_its_names():
    for room in sorted(path.parent.name for path in (ROOT / "nnvalue").glob("*/__init__.py")):
        if room == "cli":
            continue
        text = (DOCS / "reference" / f"{room}.md").read_text(encoding="utf-8")
        assert f".. automodule:: nnvalue.{room}\n   :members:" in text
        assert all(getattr(import_module(f"nnvalue.{room}"), name).__doc__ is not None or not name.islower()
                   for name in import_module(f"nnvalue.{room}").__all__)  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_what_its_data_say(name):
    """Measured results that changed, with the old picture of them."""
    assert (FOLDER / f"{name}.svg").read_bytes() == FIGURES[name](), "run python -m docs.figures"
    assert len((FOLDER / f"{name}.svg").read_bytes()) < 20_000


def test_figures_that_measured_results_do_not_hold_are_not_drawn(monkeypatch):
    """Another movement in the results gives another picture: nothing in it is written by hand."""
    from docs import figures

    before = figures.controls()
    measured = figures._measured

    def doubled(organism):
        cells = measured(organism)
        cells["conservation"]["positive"]["arms"]["random"]["8"]["movement"] = 0.5
        return cells

    monkeypatch.setattr(figures, "_measured", doubled)
    assert figures.controls() != before


def test_what_the_tests_need_for_the_pages_are_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {*extras["docs"], *extras["notebook"]} <= set(extras["dev"])
