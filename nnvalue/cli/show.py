"""How results look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnvalue.cli.tables import new_table, print_table
from nnvalue.findings_card import (
    between_values_in_words,
    crossed_in_words,
    describe_selection,
    significance_in_words,
)

if TYPE_CHECKING:
    from nnvalue.findings import ValueNeurons

_BARS = " ▁▂▃▄▅▆▇█"


def print_findings(console: Console, found: ValueNeurons, top: int) -> None:
    """The tables of a result: its strongest neurons, and where in the network they sit."""
    score = "δ: p(+) − p(−)" if _is_delta(found) else f"score: {found.config['settings']['method']}"
    console.print(f"Strongest value neurons ({score}; p: firing rate; ✓: called)", style="bold")
    print_table(console, _top_table(found, top), keys=4)
    console.print("Where they sit, first layer to last (r: split-half reliability of the score)", style="bold")
    print_table(console, _layer_table(found, max(8, min(32, (console.width - 61) // 2))))
    settings = found.config["settings"]
    total = found.layers * found.width
    console.print(
        f"{found.config['model']['name']}: {len(found):,} value neurons of {len(found.values)} values, out of "
        f"{found.layers} layers × {found.width:,} = {total:,} neurons; site {settings['site']}, "
        f"{settings['tokens'].replace('_', ' ')} tokens{' of the same texts' * (settings.get('texts') == 'both')}; "
        f"{describe_selection(settings['selection'])}.",
        markup=False,
        highlight=False,
    )
    words = (significance_in_words(found), crossed_in_words(found), between_values_in_words(found))
    for sentence in (sentence for some in words for sentence in some):
        console.print(sentence, markup=False, highlight=False)


def print_comparison(console: Console, compared: Mapping[str, ValueNeurons]) -> None:
    """Methods side by side, and how much each two agree."""
    from nnvalue.locator import comparison_table

    data, some = comparison_table(compared), next(iter(compared.values()))
    figures = _comparison_table(("r", "called", "selected", "selected and called"))
    agreement = _comparison_table([str(number) for number in range(1, len(compared) + 1)])
    for row, (name, found) in enumerate(data["methods"].items()):
        shares = (_cell(found[key], ".1%") for key in ("called", "selected", "selected_called"))
        figures.add_row(f"{row + 1} {name}", _cell(found["split_half_r"], ".2f"), *shares)
        cells = (
            "" if column == row else _cell(data["correlation" if column > row else "overlap"][row][column], ".2f")
            for column in range(len(compared))
        )
        agreement.add_row(f"{row + 1} {name}", *cells)
    console.print(
        f"{len(compared)} methods on {some.config['model']['name']}, means of {len(some.values)} values (r: split-half "
        "reliability of the score; selected and called: share of the selected)",
        style="bold", markup=False, highlight=False,
    )  # fmt: skip
    print_table(console, figures)
    console.print("Agreement (above the diagonal: correlation of scores, below it: overlap of selected)", style="bold")
    print_table(console, agreement)


def _comparison_table(names: Iterable[str]) -> Table:
    return new_table("method", *names)


def comparison_as_data(compared: Mapping[str, ValueNeurons], top: int) -> dict[str, Any]:
    """The figures of a comparison and of every method in it, for `--json`."""
    from nnvalue.locator import comparison_table

    return {
        "comparison": comparison_table(compared),
        "methods": {name: findings_as_data(found, top) for name, found in compared.items()},
    }


def findings_as_data(found: ValueNeurons, top: int) -> dict[str, Any]:
    """The figures of the tables, for `--json`."""
    return {
        "model": found.config["model"],
        "settings": found.config["settings"],
        "layers": found.layers,
        "width": found.width,
        "between_values": found.config["between_values"],
        "values": {
            value: {
                **found.config["counts"][value],
                "by_layer": {pole: found.by_layer(value, pole).tolist() for pole in ("positive", "negative")},
                "top": {
                    pole: [neuron._asdict() for neuron in found.top(value, pole, top)]
                    for pole in ("positive", "negative")
                },
            }
            for value in found.values
        },
    }


def strip(counts: list[int], width: int = 32) -> str:
    """Counts per layer as a strip of bars, at most `width` wide; in deep models a bar is the mean of its layers."""
    share = -(-len(counts) // width)
    parts = [counts[start : start + share] for start in range(0, len(counts), share)]
    means = [sum(part) / len(part) for part in parts]
    highest = max(means) or 1
    return "".join(_BARS[math.ceil(mean / highest * (len(_BARS) - 1))] for mean in means)


def _is_delta(found: ValueNeurons) -> bool:
    """Whether the score has a name of its own."""
    settings = found.config["settings"]
    return settings["method"] == "firing_difference" and not settings.get("remove_shared")


def _top_table(found: ValueNeurons, top: int) -> Table:
    table = new_table()
    score, form = ("δ", "+.3f") if _is_delta(found) else ("score", "+.3g")
    for name in ("value", "pole", "layer", "neuron", score, "p(+)", "p(−)", "q95", "q"):
        text = name in ("value", "pole")
        table.add_column(
            name, justify="left" if text else "right", no_wrap=True, min_width=14 if name == "value" else None
        )
    for value in found.values:
        for pole, sign, style in (("positive", "+", "green"), ("negative", "−", "red")):
            rows = found.top(value, pole, top)
            for place, row in enumerate(rows):
                table.add_row(
                    value if place == 0 and sign == "+" else "",
                    Text(sign, style),
                    str(row.layer),
                    str(row.neuron),
                    format(row.score, form),
                    f"{row.firing_positive:.3f}",
                    f"{row.firing_negative:.3f}",
                    f"{row.q95:.3f}",
                    (f"{row.q:.0e}" if row.q < 0.001 else f"{row.q:.3f}") + (" ✓" if row.called else "  "),
                    end_section=sign == "−" and place == len(rows) - 1,
                )
    return table


def _layer_table(found: ValueNeurons, width: int) -> Table:
    table = new_table()
    table.add_column("value", no_wrap=True, min_width=14)
    table.add_column("+", style="green", no_wrap=True)
    table.add_column("−", style="red", no_wrap=True)
    for name in ("n +", "n −", "max |score|", "r", "A/A bar", "called"):
        table.add_column(name, justify="right", no_wrap=True)
    for value in found.values:
        layers = [found.by_layer(value, pole) for pole in ("positive", "negative")]
        facts = found.config["counts"][value]
        null = facts["significance"]
        table.add_row(
            value,
            *(strip(counts.tolist(), width) for counts in layers),
            *(str(int(counts.sum())) for counts in layers),
            f"{abs(found.top(value, n=1)[0].score):.3g}" if len(found.indices(value)) else "—",
            _cell(facts["split_half_r"], ".2f"),
            "—" if null is None else f"{null['bar']:.3g}",
            "—" if null is None else str(sum(null["called"].values())),
        )
    return table


def _cell(number: float | None, form: str) -> str:
    return "—" if number is None else format(number, form)
