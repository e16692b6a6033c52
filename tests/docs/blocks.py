"""The fenced blocks of a Markdown page: language, text, line, and the page's reason where one is not run."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)

_FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<why>[^\n]+?) -->\n+(?P=indent))?```(?P<language>[^\n`]*)\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)
_COMMENT = re.compile(r"\s+#\s.*$|^#.*$")


@dataclass(frozen=True)
class Block:
    """One fenced block; `why` is the reason that the page gives for not running it, or nothing."""

    page: Path
    line: int
    language: str
    text: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Its command lines as words, without comments; of a `console` block the lines that begin with `$`."""
        text = self.text.replace("\\\n", " ")
        lines = text.splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        made = []
        for line in lines:
            line = _COMMENT.sub("", line).strip()
            made += [shlex.split(part) for part in line.split(" && ")] if line else []
        return made

    def answers(self) -> list[tuple[list[str], str]]:
        """Of a `console` block: every command and what follows it, with any run of blanks as one blank."""
        pieces = re.split(r"^\$ ", self.text, flags=re.M)[1:]
        return [
            (shlex.split(command), " ".join(printed.split()))
            for command, _, printed in (p.partition("\n") for p in pieces)
        ]


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text[: match.start("language")].count("\n") + 1
        found.append(Block(page, line, match["language"].strip(), textwrap.dedent(match["text"]), match["why"] or ""))
    return found
