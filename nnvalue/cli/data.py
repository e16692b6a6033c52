"""`nnvalue data`: show, check, import."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import click

_TABLES = ("situations", "descriptions", "sentences", "portraits", "roles")
_SHOWN_FAULTS = 20  # of one kind, unless all are asked for


@click.group("data", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show, check and import datasets.

    DATASET is valueinsight (default), moral_foundations, or a folder in the same form.
    """


@command.command("show")
@click.argument("dataset", required=False)
@click.option("--table", type=click.Choice(_TABLES), default="situations", show_default=True)
@click.option("--value", help="Only rows of this value.")
@click.option("--split", help="Only rows of this split.")
@click.option("--number", default=10, show_default=True, type=click.IntRange(1), help="How many rows, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Which rows are drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def show(
    dataset: str | None, table: str, value: str | None, split: str | None, number: int, seed: int, as_json: bool
) -> None:
    """Print some rows of a dataset."""
    from nnvalue.dataset import TABLES, load_valueinsight
    from nnvalue.errors import UnknownNameError
    from nnvalue.values import load_framework

    edition = load_valueinsight(dataset)
    rows = list(getattr(edition, table))
    if value is not None:
        value = load_framework(edition.framework).resolve(value)
    for column, wanted in (("value", value), ("split", split)):
        if wanted is None:
            continue
        if column not in TABLES[table].columns:
            raise click.UsageError(f"The table '{table}' has no column '{column}'; leave --{column} out.")
        found = [row for row in rows if row[column] == wanted]
        if not found:
            raise UnknownNameError(column, wanted, sorted({row[column] for row in rows if row[column]}))
        rows = found
    drawn = random.Random(seed).sample(rows, min(number, len(rows)))
    if as_json:
        facts = {"name": edition.name, "framework": edition.framework, "table": table, "of": len(rows)}
        click.echo(json.dumps({**facts, "rows": drawn}, ensure_ascii=False))
        return
    click.echo(f"{edition.name}, {table}: {len(drawn)} of {len(rows):,} rows (seed {seed})\n")
    for row in drawn:
        click.echo(_row_text(row, table))


@command.command("check")
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
    drawn = _drawn_situations(dataset, number, seed) if sample else []
    if as_json:
        faults = [{"kind": fault.kind, "fault": fault.sentence} for fault in report.faults]
        data = {"name": report.name, "counts": dict(report.counts), "faults": faults}
        click.echo(json.dumps({**data, **({"sample": drawn} if sample else {})}, ensure_ascii=False))
    else:
        for row in drawn:
            click.echo(_row_text(row, "situations"))
        _print_report(report, every)
    if report.faults:
        raise click.exceptions.Exit(1)


@command.command("import")
@click.argument("files", nargs=-1, required=True, metavar="TABLE=FILE...")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What the file calls a column.")
@click.option("--fill", "fills", multiple=True, metavar="COLUMN=TEXT", help="What stands in a column of every row.")
@click.option("--framework", default="schwartz", show_default=True, help="Whose values the labels are.")
@click.option("--name", help="What the dataset is called. Default: the folder's name.")
@click.option("--leave-out", is_flag=True, help="Write the rows that fit, though others do not.")
def import_(
    files: tuple[str, ...],
    out: Path,
    columns: tuple[str, ...],
    fills: tuple[str, ...],
    framework: str,
    name: str | None,
    leave_out: bool,
) -> None:
    """Make a dataset of CSV, JSON-lines or parquet files with named columns.

    TABLE is situations, descriptions (both are needed), sentences, portraits or roles; for example

        nnvalue data import situations=q.csv descriptions=d.csv --column text=question --out my_data

    --column and --fill count for every file whose table has the column; where a file lacks it, write
    TABLE.COLUMN=… to name one table. Rows that do not fit are listed with their lines.
    """
    from nnvalue.dataset import from_rows, import_table, write_edition
    from nnvalue.dataset.schema import REQUIRED
    from nnvalue.values import load_framework

    named = _assignments(files, "TABLE=FILE")
    if missing := [kind for kind in REQUIRED if kind not in named]:
        raise click.UsageError(f"{missing[0]} are needed too; give {missing[0]}=FILE.")
    load_framework(framework)
    read = {
        kind: import_table(path, kind, columns=_for_table(columns, kind), fill=_for_table(fills, kind))
        for kind, path in named.items()
    }
    misfits = [(kind, misfit) for kind, table in read.items() for misfit in table.misfits]
    for kind, misfit in misfits:
        click.echo(f"{named[kind]}, line {misfit.number}: {misfit.fault}", err=True)
    if misfits and not leave_out:
        raise click.ClickException(
            f"{len(misfits)} rows do not fit, and nothing was written; mend them, or say --leave-out."
        )
    rows = {kind: table.rows for kind, table in read.items()}
    edition = from_rows(name or out.resolve().name, **rows, framework=framework)
    write_edition(edition, out)
    kept = ", ".join(f"{len(table):,} {kind}" for kind, table in rows.items())
    click.echo(f"{kept}{f', {len(misfits):,} rows left out' if misfits else ''}. Written to {out}.")
    click.echo(f"Look at it: nnvalue data check {out}; use it: nnvalue locate --dataset {out}")


def _drawn_situations(dataset: str | None, number: int, seed: int) -> list[dict[str, Any]]:
    from nnvalue.dataset.edition import edition_folder, read_edition_table

    rows = [row for _, row in read_edition_table(edition_folder(dataset), "situations")]
    return random.Random(seed).sample(rows, min(number, len(rows)))


def _print_report(report: Any, every: bool) -> None:
    click.echo(report.name)
    width = max(map(len, report.counts))
    for what, count in report.counts.items():
        click.echo(f"  {what:<{width}}  {count:>7,}")
    kinds: dict[str, list[str]] = {}
    for fault in report.faults:
        kinds.setdefault(fault.kind, []).append(fault.sentence)
    for kind, sentences in kinds.items():
        click.echo(f"{kind}: {len(sentences)}")
        shown = sentences if every else sentences[:_SHOWN_FAULTS]
        for sentence in shown:
            click.echo(f"  {sentence}")
        if len(shown) < len(sentences):
            click.echo(f"  … and {len(sentences) - len(shown)} more; --all prints them")
    click.echo(f"{len(report.faults)} faults" if report.faults else "No faults.")


def _row_text(row: dict[str, Any], table: str) -> str:
    texts = ("positive", "negative") if table == "sentences" else ("text",)
    marks = [str(row[name]) for name in row if name not in texts and row[name] is not None and table != "roles"]
    marks = [row["id"], row["split"]] if table == "roles" else marks
    signs = {"positive": "  + ", "negative": "  − ", "text": "  "}
    return "\n".join([" · ".join(map(str, marks)), *(f"{signs[name]}{row[name]}" for name in texts), ""])


def _assignments(given: tuple[str, ...], form: str) -> dict[str, str]:
    for text in given:
        if not all(text.partition("=")[::2]):
            raise click.UsageError(f"{text!r} given, {form} expected.")
    return dict(text.split("=", 1) for text in given)


def _for_table(given: tuple[str, ...], kind: str) -> dict[str, str]:
    """What was said for one table: `column=…` where the table has the column, and `table.column=…`."""
    from nnvalue.dataset import TABLES
    from nnvalue.errors import UnknownNameError

    known = {column for form in TABLES.values() for column in form.columns}
    found: dict[str, str] = {}
    for name, text in _assignments(given, "COLUMN=TEXT").items():
        table, _, column = name.rpartition(".")
        if table not in ("", *TABLES) or column not in known:
            raise UnknownNameError("column", name, sorted(known))
        if column in TABLES[kind].columns and table in ("", kind):
            found[column] = text
    return found
