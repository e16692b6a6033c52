"""What a steering costs elsewhere: the likelihood of held-out text, and tasks of the LM Evaluation Harness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnvalue.dataset import ValueInsight, load_valueinsight
from nnvalue.dataset.contrast import SENTENCE_QUESTION
from nnvalue.errors import DatasetError, InvalidInputError
from nnvalue.models import Subject, encode_prompt, negative_log_likelihoods
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.readout.bootstrap import cluster_sums, interval, resampled_sums
from nnvalue.steering_protocol import Steering, speaks


@dataclass(frozen=True)
class HeldOut:
    """How well held-out texts are predicted, with and without a steering. Likelihoods are −log p in nats a token.

    n, tokens: texts, and their tokens.
    nll: of the model as it is, over all tokens.
    accuracy: share of tokens that it found likeliest.
    steered_nll, steered_accuracy: of the steered model; None without a steering.
    difference: steered_nll − nll, with low and high: a 95 % bootstrap interval over texts, the two sentences of a pair
        as one; NaN of a single text.
    question: what the texts answer; None where they stand alone.
    steering: as it describes itself, with its scope.
    resamples, seed: of the bootstrap.
    """

    n: int
    tokens: int
    nll: float
    accuracy: float
    steered_nll: float | None
    steered_accuracy: float | None
    difference: float | None
    low: float | None
    high: float | None
    question: str | None
    steering: dict[str, Any] | None
    resamples: int
    seed: int

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return asdict(self)


def held_out_nll(
    subject: Subject,
    texts: Sequence[str] | None = None,
    *,
    steering: Steering | None = None,
    edition: ValueInsight | None = None,
    pairs: int | None = None,
    question: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
    batch_tokens: int = 8192,
) -> HeldOut:
    """How likely held-out texts are to a model, and to the same one steered: what a steering costs.

    A single pass over each text, in which a steering acts where it would act had the model said the text: its scope
    `answer` at every position that predicts a token of it, `all` and spans at theirs. Its words go before the question.

    Args:
        texts: yours; None for the sentences of the dataset's `test` split, of either pole alike, as answers to
            "What is true of you?".
        steering: None to read the model as it is.
        edition: whose sentences; None for the embedded one.
        pairs: at most so many pairs of its sentences, of all values in turn; None for all.
        question: what texts of yours answer; without one they stand alone, and their first token is not counted.

    Raises:
        InvalidInputError: no text, one of too few tokens, or a steering of scope `decode`, or one by words where there
            is no question to put them before.
        DatasetError: the dataset has no such sentences.
        ModelError: the steering was made for another model.
    """
    clusters: Sequence[Any]
    if texts is None:
        rows = _in_turn([row for row in (edition or load_valueinsight()).sentences if row["split"] == "test"])[:pairs]
        if not rows:
            raise DatasetError("The dataset has no sentences in its 'test' split; give texts of your own.")
        texts = [row[pole] for row in rows for pole in ("positive", "negative")]
        clusters, question = [number // 2 for number in range(len(texts))], SENTENCE_QUESTION
    else:
        clusters = range(len(texts))
    if not texts:
        raise InvalidInputError("The likelihood of held-out texts needs one at least; none given.")
    plain = _encoded(subject, texts, question, None)
    counts = np.array([len(text) for _, text in plain], dtype=np.float64)
    before = negative_log_likelihoods(subject, plain, batch_tokens=batch_tokens).numpy()
    total = counts.sum()
    told: list[Any] = [None] * 5
    if steering is not None:
        asked = _encoded(subject, texts, question, steering)
        after = negative_log_likelihoods(subject, asked, steering=steering, batch_tokens=batch_tokens).numpy()
        risen = after[:, 0] - before[:, 0]
        sums = cluster_sums(np.stack([risen, counts], 1), clusters)
        low, high = (np.nan, np.nan)
        if len(sums) > 1:
            drawn = resampled_sums(sums, resamples, seed)
            low, high = interval(drawn[:, 0] / drawn[:, 1])
        told = [*(after.sum(0) / total).tolist(), float(risen.sum() / total), low, high]
    nll, accuracy = (before.sum(0) / total).tolist()
    described = None if steering is None else steering.describe()
    fields: list[Any] = [len(texts), int(total), nll, accuracy, *told, question, described, resamples, seed]
    return HeldOut(*fields)


def _in_turn(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row of every value, then a second one of each, and so on."""
    times: Counter[str] = Counter()
    turns = []
    for place, row in enumerate(rows):
        turns.append((times[row["value"]], place))
        times[row["value"]] += 1
    return [rows[place] for _, place in sorted(turns)]


def lm_eval_tasks(
    subject: Subject,
    tasks: Sequence[Any],
    *,
    steering: Steering | None = None,
    limit: int | None = None,
    batch_tokens: int = 8192,
    progress: Progress = silent,
    **settings: Any,
) -> dict[str, Any]:
    """Tasks of the LM Evaluation Harness with a model as it is, or steered; here or on a server.

    Run it with and without the steering, and compare. Likelihoods are of single passes in which the steering's scope
    `answer` begins at a context's last token; generation is greedy. Most tasks download their data.

    Args:
        tasks: names, or task objects and configurations of yours, as `lm_eval.simple_evaluate` takes them.
        steering: by edits; the tasks' prompts are their own, so a steering by words is refused.
        limit: examples of each task; None for all.
        settings: further ones of `simple_evaluate`, such as `num_fewshot`.

    Returns:
        What `simple_evaluate` returns (`results`, `n-samples`, `versions`, `configs`, …), and `steering`.

    Raises InvalidInputError if lm_eval is not installed, or for a steering by words or of scope `decode`.
    """
    try:
        import lm_eval
    except ImportError:
        raise InvalidInputError(
            "Tasks run through the LM Evaluation Harness, which is not installed: pip install 'nnvalue[lm-eval]'."
        ) from None
    from nnvalue.readout.harness import HarnessModel

    if steering is not None and speaks(steering):
        raise InvalidInputError("The tasks' prompts are their own, and no words go before them; steer by edits.")
    model = HarnessModel(subject, steering, batch_tokens, progress)
    made = lm_eval.simple_evaluate(model, tasks=list(tasks), limit=limit, **settings)
    return {**made, "steering": None if steering is None else steering.describe()}


def _encoded(
    subject: Subject, texts: Sequence[str], question: str | None, steering: Steering | None
) -> list[tuple[list[int], list[int]]]:
    """(before, text) of each text as token ids."""
    tokenizer = subject.tokenizer
    if question is None:
        if steering is not None and speaks(steering):
            raise InvalidInputError(
                "These texts answer nothing, so there is nothing to put words before; give question."
            )
        whole = [list(tokenizer(text)["input_ids"]) for text in texts]
        return [(ids[:1], ids[1:]) for ids in whole]
    prompt = Prompt("held-out", None, question)
    before = encode_prompt(tokenizer, prompt if steering is None else steering.speak(prompt))
    blank = "" if tokenizer.chat_template else " "  # the plain template ends with a colon
    return [(before, list(tokenizer(blank + text, add_special_tokens=False)["input_ids"])) for text in texts]
