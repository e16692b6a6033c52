"""How results look in a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnvalue.findings_card import describe_selection

if TYPE_CHECKING:
    from nnvalue.findings import ValueNeurons

_BARS = " ▁▂▃▄▅▆▇█"
_OWN_COLUMN = "firing_difference"  # its score is δ, which has a column anyway


def print_findings(console: Console, found: ValueNeurons, top: int) -> None:
    """The tables of a result: its strongest neurons, and where in the network they sit."""
    method = found.config["settings"]["method"]
    how = "" if method == _OWN_COLUMN else f"score: {method}; "
    console.print(f"Strongest value neurons ({how}δ: firing rate under + minus under −)", style="bold")
    console.print(_top_table(found, top))
    console.print("Where they sit, first layer to last (r: split-half reliability of the score)", style="bold")
    console.print(_layer_table(found, max(8, min(32, (console.width - 46) // 2))))
    settings = found.config["settings"]
    total = found.layers * found.width
    console.print(
        f"{found.config['model']['name']}: {len(found):,} value neurons of {len(found.values)} values, out of "
        f"{found.layers} layers × {found.width:,} = {total:,} neurons; site {settings['site']}, "
        f"{settings['tokens'].replace('_', ' ')} tokens; "
        f"{describe_selection(settings['selection'])}.",
        markup=False,
        highlight=False,
    )


def findings_as_data(found: ValueNeurons, top: int) -> dict[str, Any]:
    """The figures of the tables, for `--json`."""
    return {
        "model": found.config["model"],
        "settings": found.config["settings"],
        "layers": found.layers,
        "width": found.width,
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


def _top_table(found: ValueNeurons, top: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    scored = ["score"] if found.config["settings"]["method"] != _OWN_COLUMN else []
    for name in ("value", "pole", "layer", "neuron", *scored, "δ", "p(+)", "p(−)", "d", "q95"):
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
                    *(f"{getattr(row, name):+.3f}" for name in scored),
                    f"{row.delta:+.3f}",
                    f"{row.firing_positive:.3f}",
                    f"{row.firing_negative:.3f}",
                    f"{row.effect_size:+.2f}",
                    f"{row.q95:.3f}",
                    end_section=sign == "−" and place == len(rows) - 1,
                )
    return table


def _layer_table(found: ValueNeurons, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("value", no_wrap=True, min_width=14)
    table.add_column("+", style="green", no_wrap=True)
    table.add_column("−", style="red", no_wrap=True)
    for name in ("n +", "n −", "max |score|", "r"):
        table.add_column(name, justify="right", no_wrap=True)
    for value in found.values:
        layers = [found.by_layer(value, pole) for pole in ("positive", "negative")]
        r = found.config["counts"][value]["split_half_r"]
        table.add_row(
            value,
            *(strip(counts.tolist(), width) for counts in layers),
            *(str(int(counts.sum())) for counts in layers),
            f"{abs(found.top(value, n=1)[0].score):.3f}" if len(found.indices(value)) else "—",
            "—" if r is None else f"{r:.2f}",
        )
    return table
