"""How Sphinx builds these pages: `python -m sphinx -W --keep-going -b html docs docs/_build`. Needs no network."""

from __future__ import annotations

import re
from typing import Any

import nnvalue

project = "nnvalue"
author = "the authors of nnvalue"
copyright = author
version = release = nnvalue.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "furo"
html_title = f"nnvalue {release}"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7db8dc", "color-brand-content": "#7db8dc"},
}

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
add_module_names = False
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False

_FIELD = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (\S.*)")
_DEFAULT = re.compile(r"<(?:function (\w+)|[^<>]*)>")
_CODE = re.compile(r"((?<!`)`[^`]+`(?!`))")


def _as_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text: `code` and |x| as in Markdown, and a line `name: what it is` for every field.

    Fields become a list, code a literal, and the signs that reStructuredText would read are escaped.
    """
    made, in_list = [], False
    for line in lines:
        field = _FIELD.fullmatch(line) if in_list or not made or not made[-1] else None
        if field:
            in_list = True
            names = ", ".join(f"`{each}`" for each in field[1].split(", "))
            line = f"- {names}: {field[2]}"
        elif in_list and line.startswith(" "):
            line = f"  {line.strip()}"
        elif in_list:
            in_list = False
            made += [""] if line else []
        made.append("".join(_escaped(piece) for piece in _CODE.split(line)))
    lines[:] = made


def _escaped(piece: str) -> str:
    """Code between single backticks as a literal; in all else the signs that reStructuredText would read."""
    if piece.startswith("`") and not piece.startswith("``"):
        return f"`{piece}`\\ "  # the escaped blank lets a letter follow
    return piece.replace("|", r"\|").replace("_…", r"\_…")


def _skipped(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a NamedTuple have a docstring of Python's own, which says nothing."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def _readable(
    app: Any, what: str, name: str, obj: Any, options: Any, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Defaults like `<factory>` are no Python, and Sphinx then shows the whole signature as raw text."""
    return arguments and _DEFAULT.sub(lambda found: found[1] or "...", arguments), returns


def setup(app: Any) -> None:
    """Register what reads docstrings, before napoleon does."""
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)
    app.connect("autodoc-process-signature", _readable)
    app.connect("autodoc-skip-member", _skipped)
