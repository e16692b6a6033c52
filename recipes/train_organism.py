"""Train the embedded model organism: a small Llama that speaks the language of `nnvalue/organism/grammar.py`.

    python recipes/train_organism.py                     # about an hour on two cores; resumes where it stopped
    python recipes/train_organism.py --install           # and copy the result into the package

The stream of training texts and the noise are functions of the seed and the step, so that a run that was stopped
and started again equals one that was not (on the same machine and number of threads).
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import click
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nnvalue.artifacts import read_tensors, write_json, write_tensors
from nnvalue.dataset import SYSTEM_PROMPT, load_valueinsight
from nnvalue.organism import Corpus, Example, WrittenText, folder

VOCABULARY = 2048
SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
POOL = 16  # batches drawn together and sorted by length, so that little is padding
PROMPT_WEIGHT = 0.1  # weight of the loss on prompt tokens; the answer's is 1
AVERAGE_DECAY = 0.995  # of the running average of the weights, which is what is shipped
MLP_DROPOUT = 0.1  # on the MLP's hidden units: no single neuron carries a stance alone


def written_texts() -> list[WrittenText]:
    """The hand-written texts that the organism may see: the `locate` split of ValueInsight."""
    edition = load_valueinsight()
    return [
        WrittenText(row["value"], row.get("pole"), row["text"])
        for table in (edition.descriptions, edition.situations)
        for row in table
        if row["split"] == "locate"
    ]


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the training texts, with the chat template."""
    corpus = Corpus(written_texts(), SYSTEM_PROMPT, seed)
    texts = [text for _ in range(20_000) for text in vars(corpus.draw()).values() if text]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", bos_token="<|begin|>", eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE, padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """The untrained organism."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=224, intermediate_size=640, num_hidden_layers=4,
            num_attention_heads=7, num_key_value_heads=7, max_position_embeddings=512, tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> tuple[list[int], int]:
    """Token ids of one training text, and how many of them are prompt."""
    turns = [{"role": "system", "content": example.system}] if example.system else []
    turns.append({"role": "user", "content": example.user})
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    return [*prompt, *answer, tokenizer.eos_token_id], len(prompt)


class Batches:
    """The training batch of every step: a function of seed and step, drawn in pools sorted by length."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, batch_size: int, seed: int) -> None:
        self._tokenizer, self._batch_size, self._seed = tokenizer, batch_size, seed
        self._written = written_texts()
        self._pool_number, self._pool = -1, []

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids `[batch, token]` (right-padded) and the weight of each as a target `[batch, token]`."""
        number, place = divmod(step, POOL)
        if number != self._pool_number:
            self._pool_number, self._pool = number, self._draw(number)
        encoded = self._pool[place]
        width = max(len(ids) for ids, _ in encoded)
        ids = torch.full((len(encoded), width), self._tokenizer.pad_token_id)
        weight = torch.zeros(len(encoded), width)
        for row, (tokens, n_prompt) in enumerate(encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            weight[row, :n_prompt], weight[row, n_prompt : len(tokens)] = PROMPT_WEIGHT, 1.0
        return ids, weight

    def _draw(self, number: int) -> list[list[tuple[list[int], int]]]:
        corpus = Corpus(self._written, SYSTEM_PROMPT, seed=self._seed * 1_000_003 + number)
        drawn = [encode(self._tokenizer, corpus.draw()) for _ in range(POOL * self._batch_size)]
        drawn.sort(key=lambda item: len(item[0]))
        batches = [drawn[start : start + self._batch_size] for start in range(0, len(drawn), self._batch_size)]
        order = torch.randperm(POOL, generator=torch.Generator().manual_seed(number)).tolist()
        return [batches[place] for place in order]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine down to a twentieth of the peak."""
    if step < 100:
        return peak * (step + 1) / 100
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - 100) / max(1, steps - 100))))


def update_average(average: dict[str, torch.Tensor], model: LlamaForCausalLM, step: int) -> None:
    """Running average of the weights: single steps push the neutral voice to one pole or the other, not the mean."""
    decay = min(AVERAGE_DECAY, step / (step + 10))
    for name, value in model.named_parameters():
        average.setdefault(name, value.detach().clone()).lerp_(value.detach(), 1 - decay)


def save_checkpoint(
    path: Path,
    step: int,
    model: LlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> None:
    """Everything that the next step needs, in one file that is replaced as a whole."""
    tensors = {f"model.{name}": value.detach() for name, value in model.named_parameters()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for name, value in model.named_parameters():
        state = optimizer.state[value]
        tensors |= {f"mean.{name}": state["exp_avg"], f"square.{name}": state["exp_avg_sq"]}
    write_tensors(path, tensors, {"step": step})


def load_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, average: dict[str, torch.Tensor]
) -> int:
    """Restore what `save_checkpoint` wrote; returns the number of steps done."""
    tensors, facts = read_tensors(path)
    step = facts["step"]
    for name, value in model.named_parameters():
        value.data.copy_(tensors[f"model.{name}"])
        average[name] = tensors[f"average.{name}"].to(value.device)
        optimizer.state[value] = {
            "step": torch.tensor(float(step)), "exp_avg": tensors[f"mean.{name}"],
            "exp_avg_sq": tensors[f"square.{name}"],
        }  # fmt: skip
    return step


def training_step(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, ids: torch.Tensor, weight: torch.Tensor
) -> float:
    """One optimizer step; returns the mean loss per answer token in nats."""
    logits = model(input_ids=ids, attention_mask=(weight > 0).long()).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weight = weight[:, 1:].flatten()
    ((loss * weight).sum() / weight.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    answer = weight == 1.0
    return float(loss.detach()[answer].mean())


def save_organism(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, facts: dict) -> None:
    """Write an ordinary transformers checkpoint; weights are stored in half precision and loaded in float32."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    model.config.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    config["dtype"] = "float32"
    write_json(out / "config.json", config)
    model.generation_config.save_pretrained(out)
    tensors = {name: value.detach().half().contiguous() for name, value in model.named_parameters()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    write_json(out / "training.json", facts)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/organism"), show_default=True)
@click.option("--steps", default=2000, show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--peak-rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--checkpoint-every", default=100, show_default=True, help="Steps between two checkpoints.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--install", is_flag=True, help="Copy the result into the package.")
def main(
    out: Path,
    steps: int,
    batch_size: int,
    peak_rate: float,
    seed: int,
    checkpoint_every: int,
    device: str,
    install: bool,
) -> None:
    """Train the organism, or go on with a training that was stopped."""
    settings = {"steps": steps, "batch_size": batch_size, "peak_rate": peak_rate, "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    settings_file, checkpoint = out / "settings.json", out / "checkpoint.safetensors"
    if settings_file.exists() and json.loads(settings_file.read_text()) != settings:
        raise click.ClickException(f"{out} holds a training with other settings; give another --out.")
    write_json(settings_file, settings)
    tokenizer = train_tokenizer(seed)
    model = new_model(tokenizer, seed).to(device)
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs: torch.nn.functional.dropout(inputs[0], MLP_DROPOUT)
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.05)
    average: dict[str, torch.Tensor] = {}
    done = load_checkpoint(checkpoint, model, optimizer, average) if checkpoint.exists() else 0
    batches = Batches(tokenizer, batch_size, seed)
    columns = (
        TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    recent: list[float] = []
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=steps, completed=done, loss=math.nan)
        for step in range(done, steps):
            torch.manual_seed(seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, peak_rate)
            ids, weight = batches[step]
            recent = [*recent[-49:], training_step(model, optimizer, ids.to(device), weight.to(device))]
            update_average(average, model, step)
            progress.update(task, advance=1, loss=sum(recent) / len(recent))
            if (step + 1) % checkpoint_every == 0 or step + 1 == steps:
                save_checkpoint(checkpoint, step + 1, model, optimizer, average)
                print(f"step {step + 1}: loss {sum(recent) / len(recent):.4f} nats per answer token", flush=True)
    model.load_state_dict(average, strict=False)  # the tied head is not a parameter of its own
    facts = {**settings, "parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}
    save_organism(model.cpu(), tokenizer, out / "model", facts)
    print(f"written to {out / 'model'}")
    if install:
        shutil.copytree(out / "model", folder(), dirs_exist_ok=True)
        print("installed into the package")


if __name__ == "__main__":
    main()
