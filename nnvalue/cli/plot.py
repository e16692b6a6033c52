"""`nnvalue plot`."""

from __future__ import annotations

from pathlib import Path

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import print_json, say


@click.command(
    "plot",
    epilog=examples(
        "nnvalue plot runs/power",
        "nnvalue plot runs/power --figure neurons --format pdf -o neurons.pdf",
    ),
)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--figure", metavar="NAME", help="Which one; without it, those that the result has are listed.")
@click.option("--format", "kind", type=click.Choice(("pdf", "svg", "png")), help="[default: as FILE ends, else pdf]")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="[default: NAME.FORMAT, here]")
@click.option("--columns", type=click.IntRange(1, 2), default=1, show_default=True, help="Of the paper, that it spans.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
def command(
    result: Path, figure: str | None, kind: str | None, out: Path | None, columns: int, as_json: bool
) -> None:  # fmt: skip
    """Draw a figure of a RESULT for a paper, from the data that nnvalue report shows.

    Without --figure it lists those that the result has.

    Needs matplotlib: pip install 'nnvalue[plots]'. Fonts are embedded as such, so that text in a PDF stays text.
    """
    from nnvalue.report import draw_figure, figures_of
    from nnvalue.report.plots import chosen

    figures = figures_of(result)
    if figure is None:
        if as_json:
            print_json({"figures": {name: one.title for name, one in figures.items()}})
            return
        for name, one in figures.items():
            say(f"{name}: {one.title}")
        say("Draw one: nnvalue plot RESULT --figure NAME; of several arms, the beginning of a name is the first.")
        return
    picked = chosen(figures, figure)
    if out is None:
        out = Path(f"{figure.replace(' ', '-').replace('/', '-')}.{kind or 'pdf'}")
    elif kind is not None and out.suffix.lower() != f".{kind}":
        raise click.UsageError(f"{out.name} does not end in .{kind}; give one of --format and the ending, or the same.")
    path = draw_figure(picked, out, columns=columns)
    if as_json:
        print_json({"figure": picked.title, "out": str(path)})
        return
    say(f"Written to {path}.")
