"""`nnvalue report`."""

from __future__ import annotations

from pathlib import Path

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import print_json, say


@click.command(
    "report",
    epilog=examples(
        "nnvalue report",
        "nnvalue report runs/power runs/survey runs/survey.effects -o power.html",
    ),
)
@click.argument("results", nargs=-1, type=click.Path(path_type=Path), metavar="[RESULT]...")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The file."
)
@click.option("--title", help="Of the page.  [default: one that names the model]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is no report of ours, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
def command(results: tuple[Path, ...], out: Path, title: str | None, overwrite: bool, as_json: bool) -> None:
    """Show RESULTs on one page: folders that nnvalue wrote, or folders of them; all in runs by default.

    The page is one file that opens from disk and asks for nothing from a network. What is damaged or missing is told on
    it and on stderr, and the rest is shown.
    """
    from nnvalue.report import build_report

    made = build_report(results or None, out, title=title, overwrite=overwrite)
    for problem in made.problems:
        say(f"{problem.where}: {problem.what} {problem.todo}", err=True)
    if as_json:
        print_json(made.as_json())
        return
    for folder, kind in made.shown:
        say(f"{kind}: {folder}")
    say(f"Written to {made.out}, {made.bytes / 1e6:.2f} MB. Open it in a browser.")
