"""`nnvalue structure`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.artifacts import plain
from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import open_console, print_json

if TYPE_CHECKING:
    import numpy as np

    from nnvalue.causal import Structure
    from nnvalue.values import Framework

_PATH = click.Path(path_type=Path)


@click.command(
    "structure",
    epilog=examples(
        "nnvalue structure runs/s",
        "nnvalue structure runs/s --people correlations.csv --picture circle.svg",
    ),
)
@click.argument("survey", type=_PATH)
@click.option(
    "--people", type=_PATH, metavar="FILE", help="Your own correlations of people: a CSV with a named column each."
)
@click.option("--framework", help="A name, or a YAML file.  [default: the survey's]")
@click.option("--uncentred", is_flag=True, help="Do not take each role's mean off first.")
@click.option("--permutations", default=2000, show_default=True, type=click.IntRange(min=99), help="Of names.")
@click.option("--seed", default=0, show_default=True, help="Of permutations and starts.")
@click.option("--picture", type=_PATH, metavar="FILE", help="Draw values on the circle: .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(survey: Path, **options: Any) -> None:
    """How values hang together over the unsteered roles of a SURVEY: against the circle and against people.

    Every figure stands beside the same with the values' names shuffled, and beside what people reach.
    """
    from nnvalue.causal import Survey, structure
    from nnvalue.values import load_framework

    done = Survey.load(survey)
    framework = load_framework(options["framework"] or done.facts["framework"])
    people = None
    if options["people"] is not None:
        people = {options["people"].stem: read_matrix(options["people"], done.values, framework)}
    found = structure(
        done.value_scores()[0], done.values, framework, people=people, centred=not options["uncentred"],
        permutations=options["permutations"], seed=options["seed"],
    )  # fmt: skip
    if options["picture"] is not None:
        from nnvalue.report import draw_circle

        draw_circle(found, framework, options["picture"])
    if options["as_json"]:
        print_json(structure_as_data(found))
        return
    print_structure(open_console(), found)


def read_matrix(file: Path, values: tuple[str, ...], framework: Framework) -> np.ndarray:
    """A user's correlations from a CSV: a named column each, and a row each in the same order."""
    import numpy as np

    from nnvalue.causal import read_people
    from nnvalue.dataset.tables import read_rows
    from nnvalue.errors import DatasetError

    if file.suffix != ".csv":
        raise DatasetError(f"{file} must end in .csv, with a named column for each value.")
    rows = [row for _, row in read_rows(file, "correlations")]
    names = [name for name in (rows[0] if rows else {}) if _is_number(rows[0][name])]
    try:
        matrix = np.array([[float(row[name]) for name in names] for row in rows])
    except (TypeError, ValueError):
        raise DatasetError(f"{file} has a cell that is no number; every cell is a correlation.") from None
    return read_people(matrix.reshape(len(rows), len(names)), names, values, framework)


def print_structure(console: Any, found: Structure) -> None:
    """A table of measures, beside chance and people."""
    from rich import box
    from rich.table import Table

    from nnvalue.cli.tables import print_table

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(f"{len(found.values)} values over {found.n} roles", "bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(("measure", "value", "chance", "p", "people")):
        table.add_column(name, justify="right" if number else "left", no_wrap=bool(number))
    for one in (*found.measures, *found.people.values()):
        ends = f"{_figure(one.people_low)} – {_figure(one.people_high)}"
        table.add_row(one.title, _figure(one.value), _figure(one.chance), _figure(one.p, ".2g"),
                      ends if one.people_low == one.people_low else "—")  # fmt: skip
    if found.measures or found.people:
        print_table(console, table)
    if found.why:
        say(f"Against the circle: {found.why}.")
    say("chance, p: with the values' names shuffled; people: what samples of people reach by the same formula")


def structure_as_data(found: Structure) -> dict[str, Any]:
    """The same as JSON data, with the correlations and the places of values."""
    return plain(
        {
            "values": list(found.values), "n": found.n, "why": found.why, "correlations": found.correlations.tolist(),
            "measures": [asdict(one) for one in found.measures],
            "people": [asdict(one) for one in found.people.values()],
            "points": None if found.points is None else found.points.tolist(),
            "angles": None if found.angles is None else found.angles.tolist(),
        }
    )  # fmt: skip


def _figure(figure: float, form: str = ".2f") -> str:
    return "—" if figure != figure else f"{figure:{form}}".replace("-", "−")  # NaN is not itself


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
