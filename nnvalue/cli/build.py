"""`nnvalue data build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nnvalue.cli.endpoints import endpoint_options, take_backend
from nnvalue.cli.examples import examples
from nnvalue.cli.subjects import model_options, server_options
from nnvalue.cli.terminal import print_json, progress_bars, say

_SHOWN_REASONS = 8


@click.command(
    "build",
    epilog=examples(
        "nnvalue data build --framework mine.yaml --endpoint URL --llm NAME --out mine",
        "nnvalue data build --framework schwartz --model FOLDER --situations 20 --out mine",
    ),
)
@click.option("--framework", required=True, help="An embedded framework or a YAML file: whose values.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@endpoint_options
@model_options
@server_options
@click.option("--descriptions", default=20, show_default=True, help="Pairs of descriptions a value.")
@click.option("--situations", default=40, show_default=True, help="Situations a value.")
@click.option("--sentences", default=0, show_default=True, help="Pairs of sentences a value.")
@click.option("--portraits", default=0, show_default=True, help="Pairs of portraits a value.")
@click.option("--domain", "domains", multiple=True, help="A domain of life; repeatable.  [default: ten of them]")
@click.option("--dilemmas", default=0.3, show_default=True, help="Share of situations set against another value.")
@click.option("--language", default="English", show_default=True, help="Of the texts.")
@click.option("--per-request", default=10, show_default=True, help="Texts, or pairs, asked for at once.")
@click.option("--rounds", type=int, help="Requests for one value and topic, at most.  [default: by how much is wanted]")
@click.option("--temperature", default=1.0, show_default=True, help="Of the writer; 0 for its likeliest words.")
@click.option("--max-tokens", default=2048, show_default=True, help="Length limit of one answer.")
@click.option("--batch-tokens", default=8192, show_default=True, help="Tokens of one batch, of a model here.")
@click.option("--seed", default=0, show_default=True, help="Of what is drawn: second values, and texts for testing.")
@click.option("--name", "edition", help="What the edition is called. Default: the folder's name.")
@click.option("--overwrite", is_flag=True, help="Replace an edition of other settings at --out.")
@click.option("--despite-failures", is_flag=True, help="Go on without the requests that stay unanswered.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(
    framework: str,
    out: Path,
    batch_tokens: int,
    edition: str | None,
    overwrite: bool,
    despite_failures: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Let a language model write a new edition, for any framework.

    It writes through an OpenAI-compatible endpoint (--endpoint, --llm; the key comes from the environment), or as a
    model opened here or on an NDIF server (--model). Texts that break a rule are put aside with the reason. A build
    that was stopped goes on when it is started again, and asks nothing twice.
    """
    from nnvalue.builder import BuildConfig, build_edition
    from nnvalue.dataset import check_edition

    settings = {name: options.pop(name) for name in BuildConfig.__dataclass_fields__}
    if not settings["domains"]:
        del settings["domains"]
    config = BuildConfig(**settings)
    with progress_bars("asking the model") as progress:
        backend, prices = take_backend(options, batch_tokens)
        built = build_edition(
            backend, framework, out, config, name=edition, overwrite=overwrite, despite_failures=despite_failures,
            prices=prices, progress=progress,
        )  # fmt: skip
    report = check_edition(out)
    if as_json:
        faults = [{"kind": fault.kind, "fault": fault.sentence} for fault in report.faults]
        data = {"out": str(out), "counts": dict(report.counts), "faults": faults, "rejected": dict(built.rejected)}
        print_json({**data, "usage": vars(built.usage)})
        return
    _print_built(built, report, out, sorted(getattr(backend, "left_out", ())))


def _print_built(built: Any, report: Any, out: Path, left_out: list[str]) -> None:
    usage = built.usage
    kept = {kind: report.counts[kind] for kind in ("situations", "descriptions", "sentence pairs", "portraits")}
    say(", ".join(f"{count:,} {kind}" for kind, count in kept.items() if count) + f". Written to {out}.")
    if usage.asked:
        say(
            f"Asked {usage.asked:,} ({usage.from_log:,} known from before): {usage.answered:,} answered, "
            f"{usage.refused:,} refused, {usage.failed:,} failed; {usage.in_words()}."
        )
    else:
        say("It was there already, with these settings; nothing was asked.")
    if left_out:
        say(f"The endpoint does not take {', '.join(left_out)}; it was asked in another way.")
    if built.rejected:
        say(f"Not taken: {sum(built.rejected.values()):,} (all in {out / 'rejected.jsonl'})")
        for reason, count in list(built.rejected.items())[:_SHOWN_REASONS]:
            say(f"  {count:>6,}  {reason}")
    say(f"{len(report.faults)} faults; nnvalue data check {out} lists them." if report.faults else "No faults.")
    say(f"Use it: nnvalue locate --dataset {out}")
