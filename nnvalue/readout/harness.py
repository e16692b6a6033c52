"""A subject as the LM Evaluation Harness wants its models. Imports lm_eval, so it is imported when it is used."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from nnvalue.models import Subject, generate_responses, negative_log_likelihoods
from nnvalue.progress import Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Sampling, Steering

_NEW_TOKENS = 256  # where a task does not say, as in lm_eval
_NO_LIMIT = 2048  # tokens of a model that does not say how many it has room for


class HarnessModel(TemplateLM):
    """A model, steered or not, whose every pass is a trace: on a server too.

    lm_eval's own HFLM calls the bare module, which a steering does not reach, on batches padded on the right, where the
    last position of a prompt is not the last one of its row.
    """

    def __init__(
        self, subject: Subject, steering: Steering | None, batch_tokens: int = 8192, progress: Progress = silent
    ) -> None:
        super().__init__()
        self._subject, self._steering, self._batch_tokens = subject, steering, batch_tokens
        self._progress, self.tokenizer = progress, subject.tokenizer
        self._room = getattr(subject.config.get_text_config(), "max_position_embeddings", None) or _NO_LIMIT

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that stands alone."""
        begin = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if begin is None else begin

    @property
    def tokenizer_name(self) -> str:
        """Names the prompts' cache."""
        return self._subject.name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; with special tokens as the tokenizer adds them, unless a text begins with one already."""
        if add_special_tokens is None:
            begin = self.tokenizer.bos_token
            add_special_tokens = not (begin and string.startswith(begin))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation, in the model's own template."""
        return str(self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        ))  # fmt: skip

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Of each (_, context, continuation): log-likelihood, and whether it is what greedy decoding gives."""
        texts = []
        for _names, context, continuation in requests:
            continuation = continuation[-(self._room - 1) :]
            texts.append((context[-(self._room - len(continuation)) :], continuation))
        found = self._scored(texts)
        return [(-lost, hits == len(text)) for (lost, hits), (_, text) in zip(found, texts, strict=True)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihoods of whole texts, long ones in windows."""
        windows = [list(self._windows(request.args[0])) for request in requests]
        found = iter(self._scored([window for some in windows for window in some]))
        return [-sum(next(found)[0] for _ in some) for some in windows]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to a stopping text; greedy, or drawn with a seed where a task asks for a temperature."""
        made: dict[int, str] = {}
        alike: dict[tuple[int, float], list[int]] = {}
        for number, request in enumerate(requests):
            wanted = request.args[1]
            temperature = float(wanted.get("temperature") or 0) if wanted.get("do_sample") else 0.0
            alike.setdefault((int(wanted.get("max_gen_toks", _NEW_TOKENS)), temperature), []).append(number)
        for (new, temperature), numbers in alike.items():
            kept = max(1, self._room - new)
            raw, prompts = _raw(self._subject), []
            for number in numbers:
                ids = self.tok_encode(requests[number].args[0])[-kept:]
                prompts.append(Prompt(f"{number}", None, str(self.tokenizer.decode(ids))))
            answers = generate_responses(
                raw, prompts, steering=self._steering, sampling=Sampling(temperature) if temperature else None,
                max_new_tokens=new, batch_tokens=self._batch_tokens, progress=self._progress,
            )  # fmt: skip
            for number, answer in zip(numbers, answers, strict=True):
                until = requests[number].args[1].get("until") or []
                text = str(self.tokenizer.decode(list(answer.token_ids), skip_special_tokens=True))
                made[number] = _cut(text, [until] if isinstance(until, str) else until)
        return [made[number] for number in range(len(requests))]

    def _windows(self, text: str) -> Iterator[tuple[list[int], list[int]]]:
        ids = self.tok_encode(text, add_special_tokens=False)
        yield from map(
            make_disjoint_window, get_rolling_token_windows(ids, self.prefix_token_id, self._room - 1, context_len=1)
        )

    def _scored(self, texts: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        return negative_log_likelihoods(
            self._subject, texts, steering=self._steering, batch_tokens=self._batch_tokens
        ).tolist()


def _raw(subject: Subject) -> Subject:
    """The same subject, with a tokenizer that puts a prompt to the model as it stands."""
    tokenizer = copy.deepcopy(subject.tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    return replace(subject, tokenizer=tokenizer)


def _cut(text: str, until: Sequence[str]) -> str:
    for stop in until:
        text = text.split(stop)[0] if stop else text
    return text
