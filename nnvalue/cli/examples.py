"""Examples at the end of a verb's `--help`."""

from __future__ import annotations

_HEAD = "\b\nExamples:"  # click's mark for lines that stay lines


def examples(*lines: str) -> str:
    """An epilog: a line of each example, which can be typed as it stands."""
    return "\n".join((_HEAD, *(f"  {line}" for line in lines)))
