"""A console that no text of a file, a model or a server can command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from nnvalue.cli.terminal import harmless


class HarmlessConsole(Console):
    """rich's console; of what is printed, control codes are replaced, and only rich's own reach the terminal."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Sentences and cells pass here before they are measured, so that columns stay in line."""
        return super().render_str(harmless(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is printed passes here, `Text` of any origin too."""
        for part in super().render(renderable, options):
            yield part if part.is_control else Segment(harmless(part.text), part.style)
