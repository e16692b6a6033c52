"""From a prompt to token ids: chat templates with or without a system role, and base models without a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnvalue.errors import InvalidInputError, ModelError
from nnvalue.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEMPLATE = "{system}{history}Question: {user}\nAnswer:"
"""For base models: the description on lines of its own, then the question."""
_PLAIN_EXCHANGE = "Question: {user}\nAnswer: {answer}\n\n"


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """The text that the model continues with its answer.

    The model's own chat template is used where there is one. A template without a system role gets the description at
    the head of the user turn; a tokenizer without a template gets `PLAIN_TEMPLATE`.
    """
    if tokenizer.chat_template is None:
        system = f"{prompt.system}\n\n" if prompt.system else ""
        history = "".join(_PLAIN_EXCHANGE.format(user=user, answer=answer) for user, answer in prompt.history)
        return PLAIN_TEMPLATE.format(system=system, history=history, user=prompt.user)
    turns = []
    for user, answer in prompt.history:
        turns += [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    turns.append({"role": "user", "content": prompt.user})
    if prompt.system is None:
        return _apply(tokenizer, turns)
    if accepts_system_role(tokenizer):
        return _apply(tokenizer, [{"role": "system", "content": prompt.system}, *turns])
    turns[0] = {"role": "user", "content": f"{prompt.system}\n\n{turns[0]['content']}"}
    return _apply(tokenizer, turns)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of the rendered prompt; special tokens come from the chat template, or from the tokenizer without one.

    Raises ModelError if nothing is left of the prompt.
    """
    text = render_prompt(tokenizer, prompt)
    ids = tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"]
    if not ids:
        raise ModelError(f"The tokenizer makes no tokens of the prompt {prompt.id!r}; it does not fit the model.")
    return list(ids)


def token_spans(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, text: str) -> list[list[int]]:
    """Spans [start, end) of the tokens that a text touches, wherever it stands in the rendered prompt.

    Raises InvalidInputError where it does not stand in it, ModelError for a tokenizer that cannot tell.
    """
    rendered = render_prompt(tokenizer, prompt)
    if not tokenizer.is_fast:
        raise ModelError("The model's tokenizer does not tell where its tokens stand, so words cannot be edited at.")
    special = tokenizer.chat_template is None
    offsets = tokenizer(rendered, add_special_tokens=special, return_offsets_mapping=True)["offset_mapping"]
    spans = []
    start = rendered.find(text)
    while start >= 0:
        end = start + len(text)
        inside = [number for number, (first, last) in enumerate(offsets) if first < end and last > start]
        if inside:
            spans.append([inside[0], inside[-1] + 1])
        start = rendered.find(text, end)
    if not spans:
        raise InvalidInputError(f"The prompt '{prompt.id}' has no {text!r} in it to be steered at.")
    return spans


def accepts_system_role(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template shows a system turn to the model. Gemma's refuses one; others drop it silently."""
    probe = "nnvalue asks"
    try:
        text = _apply(tokenizer, [{"role": "system", "content": probe}, {"role": "user", "content": "x"}])
    except ModelError:
        return False
    return probe in text


def _apply(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> Any:
    from jinja2.exceptions import TemplateError

    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ModelError(
            f"The model's chat template refuses {' and '.join(t['role'] for t in turns)}: {error}"
        ) from None
