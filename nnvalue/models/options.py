"""How likely each of a few answers is after a prompt: one pass a prompt, reduced where the model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.errors import InvalidInputError, ResultError
from nnvalue.models.chat import render_prompt
from nnvalue.models.decoding import Asked
from nnvalue.models.jobs import Bundle
from nnvalue.models.prefixes import levels_of, plan_shared, positions_of
from nnvalue.models.subject import Subject
from nnvalue.progress import DETAIL, Progress, silent
from nnvalue.prompts import Prompt
from nnvalue.steering_protocol import Edits, Steering, require_single_pass
from nnvalue.traces import apply_edits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LevelBatch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Edits]
"""A level of `levels_of` as it travels: its ids, its own mask, that of all before it, too, and positions, int64 `[row,
token]` each; the rows of the level before that it goes on from; compiled edits."""
_STAGE = "asking"
_TAIL = 16  # characters at a prompt's end on which it depends how an answer behind it is cut into tokens
_NONE = -1  # stands where an option has fewer first tokens than another


def option_log_probabilities(
    subject: Subject,
    prompts: Sequence[Prompt],
    options: Sequence[str],
    *,
    steering: Steering | Sequence[Steering | None] | None = None,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "options",
    progress: Progress = silent,
) -> Tensor:
    """Log probability that the answer to each prompt begins with each option; float32 `[prompt, option]`.

    Among all tokens: the exponentials of a row add up to at most 1, and to less where the model would say something
    else. The probability of an option is that of its first token, with and without a space before it. From one pass a
    prompt and no generation; of the vocabulary, only the options' tokens leave the place where the model runs. The
    scope of an edit is applied at the position that is read, the prompt's last. With a journal, batches that are in it
    are not asked again.

    Raises InvalidInputError for a steering whose scope is `decode`, and for options that the tokenizer does not tell
    apart by their first token; the rest as for `generate_responses`.
    """
    asked = Asked(subject, prompts, steering)
    for edits in asked.edits:
        require_single_pass(edits)
    tokens = option_tokens(subject.tokenizer, asked.put, options)
    batches = _SharedBatches(subject, asked, batch_tokens)
    plan = batches.plan
    journal_key += asked.mark(plan)
    keys = [f"{journal_key}-{number:05d}" for number in range(len(plan))]
    known = {number for number, key in enumerate(keys) if journal is not None and journal.has_tensors(key)}
    found = torch.full((len(prompts), len(options)), torch.nan)
    done = 0

    def keep(number: int, part: Tensor) -> None:
        nonlocal done
        found[plan[number]] = part
        done += len(plan[number])
        progress(_STAGE, done, len(prompts))

    def read(bundle: Bundle, backend: Any) -> list[Tensor]:
        put = [(batches.levels(number), tokens[plan[number]]) for number in bundle]
        made = options_of_batches(subject.model, put, backend)
        if not isinstance(made, list) or list(map(_shape, made)) != [ids[:, :, 0].shape for *_, ids in put]:
            raise ResultError(f"{subject.runtime.name} delivered something else than what was asked of the options.")
        return made

    def report(detail: str) -> None:
        progress(_STAGE + DETAIL + detail, done, len(prompts))

    progress(_STAGE, 0, len(prompts))
    for number in sorted(known):
        assert journal is not None  # or nothing were known
        keep(number, journal.get_tensors(keys[number])["options"])
    loads = [_with_tokens(asked.load(rows), tokens[rows]) for rows in plan]
    bundles = [tuple(n for n in bundle if n not in known) for bundle in subject.runtime.bundles(loads)]
    for bundle, parts in subject.runtime.run([b for b in bundles if b], read, journal, journal_key, report):
        for number, part in zip(bundle, parts, strict=True):
            if journal is not None:
                journal.put_tensors(keys[number], {"options": part})
            keep(number, part)
    return found


class _SharedBatches:
    """Prompts in batches, those that begin alike together; `plan` names the prompts of each."""

    def __init__(self, subject: Subject, asked: Asked, batch_tokens: int) -> None:
        window = getattr(subject.config.get_text_config(), "sliding_window", None)
        owners = asked.owners()
        together, alone = plan_shared(asked.encoded, owners, batch_tokens, window)
        self.plan = together + alone
        self._owners = [owners] * len(together) + [[None] * len(owners)] * len(alone)
        self._asked, self._pad_id = asked, subject.pad_id

    def levels(self, number: int) -> list[LevelBatch]:
        """A batch as it travels."""
        found = levels_of(self._asked.encoded, self._owners[number], self.plan[number], self._pad_id)
        edits = [self._asked.edits_of(rows, place == len(found)) for place, (*_, rows) in enumerate(found, 1)]
        return [
            (ids, own, mask, positions_of(mask, ids.shape[1]), parents, here)
            for (ids, own, mask, parents, _), here in zip(found, edits, strict=True)
        ]


def options_of_batches(
    model: Any, batches: Sequence[tuple[Sequence[LevelBatch], Tensor]], backend: Any = None
) -> list[Tensor]:
    """Log probabilities of options at the last position of every row, in one session.

    Args:
        batches: of each, its levels (one, where its prompts share nothing), and the first tokens of every option, int64
            `[row, option, variant]`, −1 where there is none.

    Returns:
        float32 `[row, option]` a batch, rows those of its last level.
    """
    with model.session(backend=backend):
        made = []
        for levels, tokens in batches:
            cache = None
            for ids, own, mask, positions, parents, edits in levels:
                if parents is not None:
                    cache.batch_select_indices(parents)
                given = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
                with torch.no_grad(), model.trace(ids, **given, use_cache=len(levels) > 1, logits_to_keep=1):
                    apply_edits(model, edits, own)
                    cache = model.output.past_key_values
                    last = model.output.logits[:, -1].float()
            logs = torch.log_softmax(last, -1)
            wanted = tokens.to(logs.device)
            each = logs.gather(1, wanted.clamp(min=0).flatten(1)).view(wanted.shape)
            made.append(each.masked_fill(wanted < 0, -torch.inf).logsumexp(-1).cpu())
        found = nnsight.save(made)
    return found


def option_tokens(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], options: Sequence[str]) -> Tensor:
    """The tokens with which each option can begin behind each prompt; int64 `[prompt, option, variant]`, −1 for none.

    An answer may start with a space or without one, and is cut into tokens as it would be behind this very prompt. A
    token that begins two options, such as one that is a space alone, tells nothing and does not count.

    Raises InvalidInputError where that leaves an option without a token.
    """
    if len(set(options)) != len(options) or len(options) < 2 or not all(option.strip() for option in options):
        raise InvalidInputError(f"Options are two different texts at least, {list(options)} given.")
    at_end: dict[str, list[list[int]]] = {}
    of_prompt = []
    for prompt in prompts:
        text = render_prompt(tokenizer, prompt)
        if text[-_TAIL:] not in at_end:
            at_end[text[-_TAIL:]] = _first_tokens(tokenizer, text, options)
        of_prompt.append(at_end[text[-_TAIL:]])
    most = max((len(ids) for option_ids in at_end.values() for ids in option_ids), default=1)
    padded = [[ids + [_NONE] * (most - len(ids)) for ids in option_ids] for option_ids in of_prompt]
    return torch.tensor(padded, dtype=torch.long).view(len(prompts), len(options), most)


def _first_tokens(tokenizer: PreTrainedTokenizerBase, text: str, options: Sequence[str]) -> list[list[int]]:
    """Of every option, the tokens that it alone can begin with behind a text."""
    encode: Any = partial(cast("Any", tokenizer), add_special_tokens=False)
    before = encode(text)["input_ids"]
    first: list[set[int]] = []
    for option in options:
        wholes = [encode(text + space + option)["input_ids"] for space in ("", " ")]
        first.append(
            {
                whole[len(before)]
                for whole in wholes
                # Where the end of the prompt is cut otherwise with the answer, the model never sees that cut.
                if len(whole) > len(before) and whole[: len(before)] == before
            }
            - {tokenizer.unk_token_id}
        )
    own = [ids - set().union(*first[:place], *first[place + 1 :]) for place, ids in enumerate(first)]
    for place, ids in enumerate(own):
        if not ids:
            other = next((options[n] for n, those in enumerate(first) if n != place and those & first[place]), None)
            why = "is not known to it" if other is None else f"begins like '{other}'"
            raise InvalidInputError(
                f"The model's tokenizer does not tell options apart by their first token: '{options[place]}' {why}; "
                "choose another form of answer."
            )
    return [sorted(ids) for ids in own]


def _with_tokens(load: Any, tokens: Tensor) -> Any:
    return replace(load, bytes=load.bytes + tokens.numel() * tokens.element_size())


def _shape(made: Any) -> Any:
    return made.shape if isinstance(made, Tensor) and made.dtype == torch.float32 else None
