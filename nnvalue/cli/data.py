"""`nnvalue data`: show, check, import; `build` is in a file of its own."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from nnvalue.cli.build import command as build
from nnvalue.cli.examples import examples
from nnvalue.cli.exits import FAILED
from nnvalue.cli.terminal import print_json, say

_TABLES = ("situations", "descriptions", "sentences", "portraits", "roles", "items")
_SHOWN_FAULTS = 20  # of one kind, unless all are asked for


@click.group(
    "data",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "nnvalue data show --value power",
        "nnvalue data check",
        "nnvalue data import ValueBench --layout valuebench --out items",
    ),
)
def command() -> None:
    """Show, check, import and build datasets.

    DATASET is valueinsight (default), moral_foundations, or a folder in the same form.
    """


command.add_command(build)


@command.command(
    "show",
    epilog=examples(
        "nnvalue data show --value power --number 3",
        "nnvalue data show moral_foundations --table descriptions --json",
    ),
)
@click.argument("dataset", required=False)
@click.option(
    "--table", type=click.Choice(_TABLES), help="Default: situations, or items of a dataset that has no situations."
)
@click.option("--value", help="Only rows of this value, or of the values of this group.")
@click.option("--split", help="Only rows of this split.")
@click.option("--number", default=10, show_default=True, type=click.IntRange(1), help="How many rows, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Which rows are drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def show(
    dataset: str | None, table: str | None, value: str | None, split: str | None, number: int, seed: int, as_json: bool
) -> None:
    """Print some rows of a dataset."""
    from nnvalue.dataset import TABLES, load_valueinsight
    from nnvalue.errors import UnknownNameError
    from nnvalue.values import load_framework

    edition = load_valueinsight(dataset)
    table = table or ("situations" if len(edition.situations) else "items")
    rows = list(getattr(edition, table))
    values = None
    if value is not None:
        framework = load_framework(edition.framework)
        values = framework.members(value)
        if table == "items":  # these may go with a group as a whole
            values = tuple(dict.fromkeys((*values, framework.resolve(value))))
    for column, wanted in (("value", values), ("split", (split,) if split else None)):
        if wanted is None:
            continue
        if column not in TABLES[table].columns:
            raise click.UsageError(f"The table '{table}' has no column '{column}'; leave --{column} out.")
        found = [row for row in rows if row[column] in wanted]
        if not found:
            raise UnknownNameError(column, ", ".join(wanted), sorted({row[column] for row in rows if row[column]}))
        rows = found
    drawn = random.Random(seed).sample(rows, min(number, len(rows)))
    if as_json:
        facts = {"name": edition.name, "framework": edition.framework, "table": table, "of": len(rows)}
        print_json({**facts, "rows": drawn})
        return
    say(f"{edition.name}, {table}: {len(drawn)} of {len(rows):,} rows (seed {seed})\n")
    for row in drawn:
        say(_row_text(row, table))


@command.command(
    "check",
    epilog=examples(
        "nnvalue data check",
        "nnvalue data check FOLDER --sample --number 20",
    ),
)
@click.argument("dataset", required=False)
@click.option("--sample", is_flag=True, help="Also print random situations for a reader.")
@click.option("--number", default=200, show_default=True, type=click.IntRange(1), help="How many with --sample.")
@click.option("--seed", default=0, show_default=True, help="Which ones.")
@click.option("--all", "every", is_flag=True, help="Print every fault, not the first of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def check(dataset: str | None, sample: bool, number: int, seed: int, every: bool, as_json: bool) -> None:
    """Look for faults in a dataset; exit status 1 if there are any.

    Looked for are duplicates, leaks between splits, unbalanced values, empty texts, wrong labels, poles that differ
    in length or negations, wording that gives an answer away, cores that are alike, and a wrong content hash.
    """
    from nnvalue.dataset import check_edition

    report = check_edition(dataset)
    found = report.situations
    drawn = random.Random(seed).sample(list(found), min(number, len(found))) if sample else []
    if as_json:
        faults = [{"kind": fault.kind, "fault": fault.sentence} for fault in report.faults]
        data = {"name": report.name, "counts": dict(report.counts), "faults": faults}
        print_json({**data, **({"sample": drawn} if sample else {})})
    else:
        for row in drawn:
            say(_row_text(row, "situations"))
        _print_report(report, every)
    if report.faults:
        raise click.exceptions.Exit(FAILED)


@command.command(
    "import",
    epilog=examples(
        "nnvalue data import situations=q.csv descriptions=d.csv --column text=question --out mine",
        "nnvalue data import ValueBench --layout valuebench --out items",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="TABLE=FILE... | PATH")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@click.option("--layout", metavar="NAME", help="PATH is laid out as personalitybench, valuebench or valueportrait.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What the file calls a column.")
@click.option("--fill", "fills", multiple=True, metavar="COLUMN=TEXT", help="What stands in a column of every row.")
@click.option("--framework", help="Whose values the labels are. Default: schwartz; with --layout, the data's own.")
@click.option("--name", help="What the dataset is called. Default: the folder's name.")
@click.option("--leave-out", is_flag=True, help="Write the rows that fit, though others do not.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def import_(
    files: tuple[str, ...],
    out: Path,
    layout: str | None,
    columns: tuple[str, ...],
    fills: tuple[str, ...],
    framework: str | None,
    name: str | None,
    leave_out: bool,
    as_json: bool,
) -> None:
    """Make a dataset of CSV, JSON-lines or parquet files with named columns, or of published data as it lies there.

    TABLE is situations and descriptions (both are needed), sentences, portraits or roles; or items; for example

        nnvalue data import situations=q.csv descriptions=d.csv --column text=question --out my_data

        nnvalue data import ValueBench --layout valuebench --out items

    --column and --fill count for every file whose table has the column; where a file lacks it, write
    TABLE.COLUMN=… to name one table. Rows that do not fit are listed with their lines.
    """
    from nnvalue.dataset import import_edition, import_layout

    chosen: dict[str, Any] = {"name": name, "leave_out": leave_out}
    if layout is None:
        named = _assignments(files, "TABLE=FILE")
        mapped: dict[str, Any] = {"columns": _by_table(columns, named), "fill": _by_table(fills, named)}
        made = import_edition(named, out, **mapped, framework=framework or "schwartz", **chosen)
    else:
        if len(files) != 1:
            raise click.UsageError(f"{len(files)} paths given; with --layout one is expected, a file or a folder.")
        if columns or fills:
            raise click.UsageError("--column and --fill are for TABLE=FILE; a layout has its columns. Leave them out.")
        made = import_layout(files[0], layout, out, framework=framework, **chosen)
    _tell_import(made, out, as_json)


def _tell_import(made: Any, out: Path, as_json: bool) -> None:
    """What was written, what does not fit, and what there was no column for."""
    misfits = [misfit for some in made.misfits.values() for misfit in some]
    unfit = f"{len(misfits)} rows do not fit, and nothing was written; mend them, or say --leave-out."
    counts = {kind: len(getattr(made.edition, kind)) for kind in made.misfits} if made.edition else {}
    if as_json:
        listed = [{"file": one.file, "line": one.number, "fault": one.fault} for one in misfits]
        told = {"out": str(out) if made.edition else None, "rows": counts, "misfits": listed, "aside": made.aside}
        failed = {"error": {"kind": "DatasetError", "message": unfit, "exit_status": FAILED}}
        print_json(told | ({} if made.edition else failed))
    else:
        for one in misfits:
            say(f"{one.file}, line {one.number}: {one.fault}", err=True)
    if made.edition is None:
        say(f"Error: {unfit}", err=True)
        raise click.exceptions.Exit(FAILED)
    if as_json:
        return
    kept = ", ".join(f"{count:,} {'rows of items' if kind == 'items' else kind}" for kind, count in counts.items())
    say(f"{kept}{f', {len(misfits):,} rows left out' if misfits else ''}. Written to {out}.")
    if made.aside:
        say(f"Not kept, for want of a column: {', '.join(f'{n:,} {what}' for what, n in made.aside.items())}.")
    use = f"; use it: nnvalue locate --dataset {out}" if counts.get("situations") else ""
    say(f"Look at it: nnvalue data show {out}, nnvalue data check {out}{use}")


def _print_report(report: Any, every: bool) -> None:
    say(report.name)
    # Beside items, an edition may lack most of what others have.
    counts = {what: count for what, count in report.counts.items() if count or "items" not in report.counts}
    width = max(map(len, counts))
    for what, count in counts.items():
        say(f"  {what:<{width}}  {count:>7,}")
    kinds: dict[str, list[str]] = {}
    for fault in report.faults:
        kinds.setdefault(fault.kind, []).append(fault.sentence)
    for kind, sentences in kinds.items():
        say(f"{kind}: {len(sentences)}")
        shown = sentences if every else sentences[:_SHOWN_FAULTS]
        for sentence in shown:
            say(f"  {sentence}")
        if len(shown) < len(sentences):
            say(f"  … and {len(sentences) - len(shown)} more; --all prints them")
    say(f"{len(report.faults)} faults" if report.faults else "No faults.")


_SIGNS = {"query": "  > ", "positive": "  + ", "negative": "  − ", "text": "  ", "question": "  ? "}


def _row_text(row: Mapping[str, Any], table: str) -> str:
    shown = {"sentences": ("positive", "negative"), "items": ("query", "text", "question")}.get(table, ("text",))
    texts = [name for name in shown if row[name] is not None]
    marks = [row[name] for name in row if name not in shown and row[name] is not None and table != "roles"]
    marks = [row["id"], row["split"]] if table == "roles" else marks
    marks = [f"{mark:+g}" if isinstance(mark, float) else str(mark) for mark in marks]
    lines = (_SIGNS[name] + re.sub(r"\n(?=[^\n])", "\n    ", row[name]) for name in texts)
    return "\n".join([" · ".join(marks), *lines, ""])


def _assignments(given: Iterable[str], form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition("=")
        if not name or not value:
            raise click.UsageError(f"{text!r} given, {form} expected.")
        if name in found:
            raise click.UsageError(f"'{name}' is given twice; give it once.")
        found[name] = value
    return found


def _by_table(given: tuple[str, ...], tables: Iterable[str]) -> dict[str, dict[str, str]]:
    """What was said for each table: `column=…` where the table has the column, and `table.column=…`."""
    from nnvalue.dataset import TABLES
    from nnvalue.errors import UnknownNameError

    found: dict[str, dict[str, str]] = {kind: {} for kind in tables}
    for name, text in _assignments(given, "COLUMN=TEXT").items():
        table, _, column = name.rpartition(".")
        meant = [table] if table else [kind for kind in found if kind in TABLES and column in TABLES[kind].columns]
        if not meant or not set(meant) <= set(found) or column not in TABLES[meant[0]].columns:
            known = sorted({column for kind in found if kind in TABLES for column in TABLES[kind].columns})
            raise UnknownNameError("column", name, known)
        for kind in meant:
            found[kind][column] = text
    return found
