"""`nnvalue locate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import open_console, print_json, progress_bars, quiet_libraries


class _Situations(click.ParamType[int | None]):
    """A number, or `all`."""

    name = "NUMBER|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "all":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"'{value}' is neither a whole number nor 'all'.", param, ctx)


@click.command(
    "locate",
    epilog=examples(
        "nnvalue locate --value power",
        "nnvalue locate --model FOLDER_OR_HUB_ID --value power --situations 50 --out runs/mine",
        "nnvalue locate --value tradition --method firing_difference,probe --json",
        "nnvalue locate --host https://ndif.my-lab.org --model ./mine --served-as lab/mine",
    ),
)
@model_options
@click.option("--value", "values", multiple=True, help="A value or group of the framework; repeatable. Default: all.")
@click.option("--framework", help="An embedded framework or a YAML file. Default: that of the dataset.")
@click.option("--dataset", help="valueinsight (default), moral_foundations, or a folder in the same form.")
@click.option("--situations", type=_Situations(), default=32, show_default=True, help="Situations a value, or all.")
@click.option("--method", default="prompt_difference", show_default=True, help="How neurons are scored; a,b compares.")
@click.option("--site", help="Where neurons are read: gate or down_in. Default: the method's own.")
@click.option("--tokens", help="Which tokens count: response, last_prompt or prompt. Default: the method's own.")
@click.option("--texts", help="own (a prompt's own response) or both (poles' responses). Default: the method's own.")
@click.option("--responses", default="model", show_default=True, help="Whose: model, or dataset (for mean_difference).")
@click.option("--crossed", is_flag=True, help="With firing_difference: tell the prompt's part of it from the text's.")
@click.option("--remove-shared", is_flag=True, help="Take off what the scores of all values have in common.")
@click.option("--top-k", type=float, help="Neurons a pole: a share below 1, or a number.  [default: 0.01]")
@click.option("--threshold", type=float, help="With firing_difference: all with |δ| of at least this (0.1, 0.03).")
@click.option("--floor", type=float, help="With --threshold: first neurons kept in any case.  [default: 0.0044]")
@click.option("--null/--no-null", default=True, show_default=True, help="Run A/A, to tell value from wording.")
@click.option("--only-called", is_flag=True, help="Select among neurons that pass test and null only.")
@click.option("--max-new-tokens", default=128, show_default=True, help="Length limit of a response.")
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch.")
@click.option("--seed", default=0, show_default=True, help="Order of situations and descriptions.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder. Default: one in runs/, named by settings.")
@click.option("--overwrite", is_flag=True, help="Replace what other settings left at --out.")
@server_options
@click.option("--top", type=click.IntRange(min=0), default=2, show_default=True, help="Neurons a pole to print.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(
    dataset: str | None,
    top_k: float | None,
    threshold: float | None,
    floor: float | None,
    out: Path | None,
    overwrite: bool,
    top: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Find which neurons of a model carry which value.

    Every situation is answered under a description of either pole of a value; neurons are ranked by how much the
    description moves them on the same texts, or by another method; --method firing_difference is ValueLocate's, and
    a,b,c compares several. A neuron is called where it differs by more than descriptions of the same pole do. A run
    that was stopped goes on when it is started again.
    """
    from nnvalue.cli.show import comparison_as_data, findings_as_data, print_comparison, print_findings
    from nnvalue.dataset import load_valueinsight
    from nnvalue.locator import LocateConfig, compare_methods, locate
    from nnvalue.models import open_model

    name, opening = take_subject(options)
    methods = tuple(dict.fromkeys(filter(None, map(str.strip, options["method"].split(",")))))
    options["method"] = methods[0] if methods else options["method"]
    config = LocateConfig(
        selection=_selection(top_k, threshold, floor), values=options.pop("values") or None, **options
    )
    asked = {key: given for key, given in opening.items() if key != "remote_options"}
    asked |= {"methods": methods} if len(methods) > 1 else {}
    out = out or _default_out(name, config, {**asked, "dataset": dataset})
    edition = load_valueinsight(dataset)
    quiet_libraries()
    with progress_bars() as progress:
        subject = open_model(name, **opening)
        where: dict[str, Any] = {"dataset": edition, "out": out, "overwrite": overwrite, "progress": progress}
        found: Any  # one result, or one for each method
        if len(methods) > 1:
            found = compare_methods(methods, subject, config, **where)
        else:
            found = locate(subject, config, **where)
    if as_json:
        data = comparison_as_data(found, top) if len(methods) > 1 else findings_as_data(found, top)
        print_json({**data, "out": str(out)})
        return
    console = open_console()
    if len(methods) > 1:
        print_comparison(console, found)
    else:
        print_findings(console, found, top)
    again = out / methods[0] if len(methods) > 1 else out
    console.print(
        f"Written to {out}. Look again: nnvalue inspect {again}", soft_wrap=True, markup=False, highlight=False
    )


def _default_out(name: str | None, config: Any, rest: dict[str, Any]) -> Path:
    """A folder of its own for every question that is asked; the same question finds its answer again."""
    from nnvalue.artifacts import digest

    model = Path(name).name if name else "organism"
    asked = "-".join(config.values or (Path(config.framework or rest["dataset"] or "schwartz").stem,))
    mark = digest([name, asdict(config), type(config.selection).__name__, rest])[:6]
    return Path("runs") / f"{model}-{asked}-{mark}"


def _selection(top_k: float | None, threshold: float | None, floor: float | None) -> Any:
    from nnvalue.locator import Threshold, TopK

    if threshold is None:
        if floor is not None:
            raise click.UsageError("--floor belongs to --threshold; give both, or neither.")
        return TopK() if top_k is None else TopK(top_k)
    if top_k is not None:
        raise click.UsageError("--top-k and --threshold are two ways to select; give one of them.")
    return Threshold(threshold) if floor is None else Threshold(threshold, floor)
