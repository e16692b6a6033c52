"""`nnvalue data build`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nnvalue.cli.subjects import model_options, server_options, take_subject
from nnvalue.cli.terminal import progress_bars

_SHOWN_REASONS = 8
_ENDPOINT_OPTIONS = (
    click.option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint, up to /v1; --llm says which model."),
    click.option("--llm", metavar="NAME", help="What the endpoint calls the model."),
    click.option("--key-env", metavar="NAME", help="Environment variable with the API key.  [default: OPENAI_API_KEY]"),
    click.option("--concurrency", type=int, help="Endpoint: requests under way at one time.  [default: 8]"),
    click.option("--answer-timeout", type=float, help="Endpoint: seconds to wait for one answer.  [default: 120]"),
    click.option("--attempts", type=int, help="Endpoint: tries for one request.  [default: 6]"),
    click.option("--price-in", type=float, help="Endpoint: dollars for a million tokens of prompts, to show the cost."),
    click.option("--price-out", type=float, help="Endpoint: dollars for a million tokens of answers."),
)
_OF_ENDPOINTS = ("llm", "key_env", "concurrency", "answer_timeout", "attempts", "price_in", "price_out")


def endpoint_options(command: Any) -> Any:
    """Add the options that name an endpoint and say how it is asked; `take_backend` takes them back out."""
    for option in reversed(_ENDPOINT_OPTIONS):
        command = option(command)
    return command


def take_backend(options: dict[str, Any], batch_tokens: int) -> tuple[Any, Any]:
    """Who answers, and what it costs, out of a verb's options: an endpoint, or a model through nnsight.

    Raises click's UsageError for combinations that make no sense.
    """
    from nnvalue.llm import Endpoint, EndpointOptions, LocalModel, Prices

    url = options.pop("endpoint")
    given = {name: options.pop(name) for name in _OF_ENDPOINTS}
    said = [name for name, value in given.items() if value is not None]
    if url is None:
        if said:
            raise click.UsageError(f"--{said[0].replace('_', '-')} is about an endpoint; give --endpoint URL too.")
        name, opening = take_subject(options)
        if name is None:
            raise click.UsageError("Who shall answer? Give --endpoint URL and --llm NAME, or --model FOLDER.")
        from nnvalue.cli.terminal import quiet_libraries
        from nnvalue.models import open_model

        quiet_libraries()
        return LocalModel(open_model(name, **opening), batch_tokens), None
    if options["name"] is not None or options["remote"] or options["host"]:
        raise click.UsageError("--endpoint and --model are two who could answer; give one of them.")
    renamed = {"answer_timeout": "timeout"}
    limits = {renamed.get(key, key): given[key] for key in ("concurrency", "answer_timeout", "attempts") if key in said}
    allow_http = bool(options["allow_http"])
    options["allow_http"] = None
    take_subject(options)  # the rest is about servers, and refused
    prices = None
    if given["price_in"] is not None or given["price_out"] is not None:
        prices = Prices(given["price_in"] or 0.0, given["price_out"] or 0.0)
    key = {} if given["key_env"] is None else {"key_variable": given["key_env"]}
    endpoint = Endpoint(url, given["llm"] or "", **key, options=EndpointOptions(**limits, allow_http=allow_http))
    return endpoint, prices


@click.command("build")
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
        click.echo(json.dumps({**data, "usage": vars(built.usage)}, ensure_ascii=False))
        return
    _print_built(built, report, out, sorted(getattr(backend, "left_out", ())))


def _print_built(built: Any, report: Any, out: Path, left_out: list[str]) -> None:
    usage = built.usage
    kept = {kind: report.counts[kind] for kind in ("situations", "descriptions", "sentence pairs", "portraits")}
    click.echo(", ".join(f"{count:,} {kind}" for kind, count in kept.items() if count) + f". Written to {out}.")
    if usage.asked:
        click.echo(
            f"Asked {usage.asked:,}: {usage.answered:,} answered ({usage.from_log:,} of them known from before), "
            f"{usage.refused:,} refused, {usage.failed:,} failed; {usage.in_words()}."
        )
    else:
        click.echo("It was there already, with these settings; nothing was asked.")
    if left_out:
        click.echo(f"The endpoint does not take {', '.join(left_out)}; it was asked in another way.")
    if built.rejected:
        click.echo(f"Not taken: {sum(built.rejected.values()):,} (all in {out / 'rejected.jsonl'})")
        for reason, count in list(built.rejected.items())[:_SHOWN_REASONS]:
            click.echo(f"  {count:>6,}  {reason}")
    click.echo(f"{len(report.faults)} faults; nnvalue data check {out} lists them." if report.faults else "No faults.")
    click.echo(f"Use it: nnvalue locate --dataset {out}")
