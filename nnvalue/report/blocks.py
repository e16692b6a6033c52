"""What a page is made of: sections of parts, parts of blocks. Plain data; the templates say how it looks."""

from __future__ import annotations

from dataclasses import dataclass

from nnvalue.report.figures import Figure, Table


@dataclass(frozen=True)
class Words:
    """Sentences."""

    sentences: tuple[str, ...]
    template: str = "words"


@dataclass(frozen=True)
class Notice:
    """What is missing or to be careful about, and what to do."""

    sentences: tuple[str, ...]
    template: str = "notice"


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence on how to read it; its table is open where it says more than the figure can."""

    figure: Figure
    lead: str = ""
    open: bool = False
    template: str = "picture"


@dataclass(frozen=True)
class Sheet:
    """A table; `filtered` ones get a field in which one types."""

    title: str
    table: Table
    lead: str = ""
    filtered: bool = False
    closed: bool = False
    template: str = "sheet"


@dataclass(frozen=True)
class Answer:
    """What was said, by whom, and how it was judged; `broken` says how, of one that does not count."""

    who: str
    text: str
    stance: str
    broken: str = ""


@dataclass(frozen=True)
class Exchange:
    """Answers to one situation side by side."""

    situation: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Exchanges:
    """Answers of one arm towards one pole of one value; `all` is how many there are, shown or not."""

    title: str
    arm: str
    value: str
    pole: str
    told: str
    shown: tuple[Exchange, ...]
    all: int


@dataclass(frozen=True)
class Texts:
    """Unsteered beside steered text."""

    groups: tuple[Exchanges, ...]
    lead: str
    note: str = ""
    template: str = "texts"


@dataclass(frozen=True)
class Fold:
    """Blocks that are closed at first."""

    title: str
    blocks: tuple[Block, ...]
    template: str = "fold"


Block = Words | Notice | Picture | Sheet | Texts | Fold


@dataclass(frozen=True)
class Part:
    """What one result shows; an empty title where a section has one part."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Section:
    """A chapter of the page; lead: how to read it."""

    name: str
    title: str
    lead: str
    parts: tuple[Part, ...]
