"""Tiny random models of every supported architecture, and a word tokenizer, made on the spot."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
)

from nnvalue.models import Response

SPECIAL = ["<pad>", "<eos>", "<unk>", "<system>", "<user>", "<assistant>"]
WORDS = [f"w{number}" for number in range(58)]
VOCABULARY = len(SPECIAL) + len(WORDS)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' <eos> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "gpt2", "gpt_neox", "opt",
)  # fmt: skip
LAYERS, WIDTH = 3, 40


def tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    words = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=chat_template,
    )


def config(family: str, **changes):
    shared = {"vocab_size": VOCABULARY, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    settings = {
        "hidden_size": 32,
        "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
    }
    if family == "gpt2":
        settings = {"n_embd": 32, "n_inner": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 1024}
    if family == "opt":
        settings |= {"ffn_dim": WIDTH, "word_embed_proj_dim": 32}
    if family.startswith("gemma"):
        settings |= {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
    if family == "qwen3":
        settings |= {"head_dim": 8}
    return AutoConfig.for_model(family, **{**shared, **settings, **changes})


def model(family: str, seed: int = 0, **changes):
    """A random model whose activations are far from zero, so that float noise flips no firing."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(config(family, **changes))
    with torch.no_grad():
        for name, value in made.named_parameters():
            if value.dim() > 1:
                value.mul_(4.0 if "embed" not in name and "wte" not in name else 20.0)
    return made.eval()


def save(folder, family: str = "llama", with_tokenizer: bool = True, **changes):
    model(family, **changes).save_pretrained(folder)
    if with_tokenizer:
        tokenizer().save_pretrained(folder)
    return folder


def random_responses(count: int, seed: int = 0, longest: int = 12) -> list[Response]:
    """Responses of random tokens, of different lengths; the first one is empty."""
    random = torch.Generator().manual_seed(seed)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        length = int(torch.randint(low, high + 1, (1,), generator=random))
        return tuple(torch.randint(len(SPECIAL), VOCABULARY, (length,), generator=random).tolist())

    return [
        Response(f"p{number}", tokens(2, 9), tokens(2, longest) if number else (1,), "", True)
        for number in range(count)
    ]
