"""A language model of the scribe's grammar, small enough to be trained in a test: it answers the builder's requests.

Its tokens are whole phrases of the grammar, whole sentences of the builder's prompts, and marks.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nnvalue.builder import BuildConfig
from nnvalue.builder.prompts import request_for
from nnvalue.builder.slots import Slot, plan_slots
from nnvalue.values import Framework
from tests.builder import scribe

TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
STEPS, ROWS = 220, 8
PHRASES = (
    *scribe.WHO, *scribe.THINGS, *scribe.PLACES, *scribe.ENDS,
    *(part.strip() for half in scribe.PERSON.values() for pair in half for t in pair for part in t.split("{thing}")),
    "from the coast who", "in the hills who", "of our town who", '{"items": [', '{"text": "', '{"positive": "',
    '", "negative": "', '"}', ", ", "]}", "has", "to give away. Your cousin waits",
)  # fmt: skip


def answer(slot: Slot, rng: random.Random, count: int) -> str:
    """What the model is to learn to say to a request for a slot."""
    items = []
    for _ in range(count):
        if slot.kind == "descriptions":
            items.append(scribe._pair(rng, slot.value, False))
        else:
            places, things = rng.sample(scribe.PLACES, 2), rng.sample(scribe.THINGS, 2)
            text = f"{rng.choice(scribe.WHO)} has {things[0]} {places[0]} to give away. Your cousin waits {places[1]} "
            items.append({"text": f"{text}with {things[1]}. {rng.choice(scribe.ENDS)}"})
    return json.dumps({"items": items})


def tokenizer_for(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose decoded tokens are the text itself."""
    phrases = sorted({phrase for phrase in PHRASES if phrase}, key=len, reverse=True)
    sentence = r'[A-Z][^.\n"{}]*\.?'  # of the builder's prompts: they are few, and the same again and again
    pattern = "|".join([*map(re.escape, phrases), sentence, r"\w+", r"[^\w\s]", r"\s"])
    pieces = sorted({piece for text in texts for piece in re.findall(pattern, text)} | set(phrases))
    words = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *pieces])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    plain.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def trained(folder: Path, framework: Framework, config: BuildConfig) -> Path:
    """Train the model on what the builder will ask, and save it as an ordinary checkpoint."""
    rng = random.Random(0)
    slots = plan_slots(framework, config)

    def example() -> tuple[str, str]:
        slot = rng.choice(slots)
        there = [item for _ in range(rng.randrange(3)) for item in _first_texts(answer(slot, rng, 2))]
        request = request_for(slot, framework, config, 0, rng.randint(1, slot.wanted), there)
        count = int(re.search(r"Write (\d+)", request.messages[-1][1]).group(1))
        return "".join(f"{text}\n" for _, text in request.messages), answer(slot, rng, count)

    tokenizer = tokenizer_for([text for _ in range(300) for text in example()])
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=2048, pad_token_id=0, eos_token_id=1, bos_token_id=1,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
    for _ in range(STEPS):
        rows = [tuple(tokenizer(text)["input_ids"] for text in example()) for _ in range(ROWS)]
        length = max(len(asked) + len(said) + 1 for asked, said in rows)
        ids = torch.zeros(ROWS, length, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for number, (asked, said) in enumerate(rows):
            row = torch.tensor([*asked, *said, 1])
            ids[number, : len(row)] = row
            labels[number, len(asked) : len(row)] = row[len(asked) :]
        model(input_ids=ids, attention_mask=(ids > 0).long(), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _first_texts(said: str) -> list[str]:
    return [next(iter(item.values())) for item in json.loads(said)["items"]]
