"""`nnvalue measure --judge`: answers to situations, read by a judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnvalue.cli.endpoints import endpoint_options, take_endpoint
from nnvalue.cli.terminal import say

if TYPE_CHECKING:
    from nnvalue.dataset import ValueInsight
    from nnvalue.models import Subject
    from nnvalue.progress import Progress
    from nnvalue.readout import Judge, ValueProfile
    from nnvalue.steering import Steering

JUDGES = ("parser", "endpoint", "model")
_OPTIONS = (
    click.option("--judge", type=click.Choice(JUDGES), help="Read free answers: the organism's parser, or an LLM."),
    click.option("--judge-model", metavar="NAME", help="With --judge model: a folder or hub id, opened here."),
    click.option("--judge-samples", type=int, help="Of a judge that tells no probabilities: draws.  [default: 8]"),
    click.option("--rubrics", metavar="FILE", help="YAML: what holds and opposes a value, in place of our own words."),
    click.option("--measured", multiple=True, metavar="VALUE", help="A value or group; repeatable.  [default: all]"),
    click.option("--situations", type=click.IntRange(1), help="With --judge: situations a value.  [default: 16]"),
    click.option("--max-new-tokens", type=int, help="With --judge: length limit of an answer.  [default: 128]"),
    click.option("--temperature", type=float, help="With --judge: draw answers.  [default: the likeliest words]"),
)
_OF_JUDGES = ("judge_model", "judge_samples", "rubrics", "measured", "situations", "max_new_tokens", "temperature")
_OF_SCALES = {"instrument": "portraits", "pairs": None, "form": None, "framework": None}


def judge_options(command: Any) -> Any:
    """Add the options that are about free answers and who judges them."""
    command = endpoint_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_judge(options: dict[str, Any]) -> bool:
    """Whether answers are judged. Raises click's UsageError for options that do not go together.

    `--allow-http` is the endpoint's where no server is asked.
    """
    given = [name for name in (*_OF_JUDGES, "endpoint", "llm") if options[name] not in (None, ())]
    if options["judge"] is None:
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} is about judged answers; give --judge too.")
        return False
    for name, usual in _OF_SCALES.items():
        if options[name] != usual:
            raise click.UsageError(f"--{name} is about scales; leave it out, or --judge.")
    check_who(options)
    return True


def check_who(options: dict[str, Any]) -> None:
    """Raises click's UsageError where the options do not name the judge that `--judge` speaks of."""
    needed = {"endpoint": "endpoint", "model": "judge_model"}.get(options["judge"])
    for name in ("endpoint", "judge_model"):
        if (options[name] is None) is (name == needed):
            wanted = "needs" if name == needed else "has no use for"
            raise click.UsageError(f"--judge {options['judge']} {wanted} --{name.replace('_', '-')}.")
    options["judge_allow_http"] = bool(options["allow_http"])
    if options["judge"] == "endpoint" and not (options["remote"] or options["host"]):
        options["allow_http"] = None


def measure_judged(
    subject: Subject,
    edition: ValueInsight,
    arms: Mapping[str, Steering | None],
    voices: Any,
    out: Path,
    options: dict[str, Any],
    progress: Progress,
) -> dict[str, ValueProfile]:
    """A profile for each arm, judged by one judge."""
    from nnvalue.readout import judged_profile
    from nnvalue.steering_protocol import Sampling
    from nnvalue.values import load_framework

    framework = load_framework(edition.framework)
    drawn = options["temperature"]
    settings = {
        "voices": voices, "split": options["split"], "seed": options["seed"], "overwrite": options["overwrite"],
        "batch_tokens": options["batch_tokens"], "situations": options["situations"] or 16,
        "max_new_tokens": options["max_new_tokens"] or 128,
        "sampling": None if drawn is None else Sampling(drawn, seed=options["seed"]),
    }  # fmt: skip
    values = tuple(options["measured"]) or tuple(framework.values)
    with open_judge(options, framework, out) as judge:
        return {
            arm: judged_profile(
                subject, judge, edition, values, steering=steering, out=out / arm if arm else out, progress=progress,
                **settings,
            )
            for arm, steering in arms.items()
        }  # fmt: skip


@contextmanager
def open_judge(options: dict[str, Any], framework: Any, out: Path) -> Iterator[Judge]:
    """Who judges; a language model's requests and raw answers are logged beside the result."""
    from nnvalue.llm import CompletionClient, LocalModel
    from nnvalue.readout import LLMJudge, ParserJudge, Rubrics

    if options["judge"] == "parser":
        yield ParserJudge(framework)
        return
    if options["judge"] == "endpoint":
        asked = take_endpoint(options, options["judge_allow_http"])
        assert asked is not None  # `check_who` saw to it
        backend, prices = asked
    else:
        from nnvalue.models import open_model

        backend, prices = LocalModel(open_model(options["judge_model"]), options["batch_tokens"]), None
    samples = {} if options["judge_samples"] is None else {"samples": options["judge_samples"]}
    with CompletionClient(backend, out.with_name(f"{out.name}.judge.jsonl"), prices) as client:
        yield LLMJudge(client, Rubrics(framework, options["rubrics"]), **samples)
        usage = client.usage
        say(
            f"Judge: asked {usage.asked:,} ({usage.from_log:,} known from before), {usage.answered:,} answered, "
            f"{usage.refused:,} refused, {usage.failed:,} failed; {usage.in_words()}.",
            err=True,
        )
