"""ValueLocate end to end: are there value neurons, and does the model's orientation move when they are edited?

    python -m recipes.valuelocate                                        # the embedded organism, its parser as judge
    python -m recipes.valuelocate --model NAME --endpoint URL --llm JUDGE

The paper's road (Su et al., arXiv 2505.17712), with what it leaves out beside it: dose 0, random neurons of the same
layers and amounts, either step of the edit alone, answers that cannot be read counted as failures, and what else moves.
1. Dataset: ValueInsight, four higher-order values.
2. Neurons: difference of firing rates between the poles, |δ| ≥ .10, as the paper; and nnvalue's default beside it.
3. Edit: push the pole's neurons, cap the opposite pole's (`npti`, the paper's parent; and the public code's variant).
4. Judge: stance of the answers, against the unsteered model on the same situations with the same noise.

The organism takes some 20 minutes of CPU. Expect that the paper's setting moves values, that random neurons do not, and
that no control of a set as large as the paper's can be drawn (docs/evaluating.md).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from nnvalue.cli.evaluate_show import print_evaluation
from nnvalue.cli.terminal import progress_bars, quiet_libraries
from nnvalue.evaluation import evaluate, preset
from nnvalue.llm import CompletionClient, Endpoint
from nnvalue.models import open_model
from nnvalue.readout import LLMJudge, Rubrics
from nnvalue.values import load_framework
from recipes.command import Recipe


@click.command(cls=Recipe)
@click.option("--model", help="A folder or hub id. Default: the embedded organism.")
@click.option("--endpoint", help="Of the judge: an OpenAI-compatible URL; the key comes from OPENAI_API_KEY.")
@click.option("--llm", default="", help="What the endpoint calls the judge.")
@click.option("--preset", "name", default="paper", show_default=True, help="quick, paper or full.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/valuelocate"), show_default=True)
def main(model: str | None, endpoint: str | None, llm: str, name: str, out: Path) -> None:
    """Run the paper, print its table beside its controls, and keep every row."""
    if llm and endpoint is None:
        raise click.UsageError("--llm names a judge at an --endpoint; give that, too.")
    out.parent.mkdir(parents=True, exist_ok=True)
    quiet_libraries()
    subject = open_model(model)
    with ExitStack() as stack:
        judge = None
        if endpoint is not None:
            log = out.with_name(f"{out.name}.judge.jsonl")
            client = stack.enter_context(CompletionClient(Endpoint(endpoint, llm), log))
            judge = LLMJudge(client, Rubrics(load_framework()))
        progress = stack.enter_context(progress_bars())
        done = evaluate(subject, preset(name), judge=judge, out=out, progress=progress)
    print_evaluation(Console(), done)


if __name__ == "__main__":
    main()
