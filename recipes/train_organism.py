"""Can a small model be trained to hold known values? Trains the embedded organism, a Llama that speaks a grammar.

    python -m recipes.train_organism                     # resumes where it stopped
    python -m recipes.train_organism --install           # and copy the result into the package
    python -m recipes.train_organism --seed 2 --out runs/organism-2     # another organism

The stream of training texts and the noise are functions of the seed and the step, so that a run that was stopped
and started again equals one that was not (on the same machine and number of threads). It takes hours. Expect a
checkpoint folder whose figures are those of the card (`python -m recipes.evaluate_organism --model FOLDER`).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nnvalue.artifacts import MANIFEST, read_tensors, write_json, write_tensors
from nnvalue.dataset import load_valueinsight
from nnvalue.organism import LESSONS, folder
from recipes.command import Recipe
from recipes.organism_batches import OPTIONS, Batches, lesson_at, option_ids, texts_for_tokenizer

VOCABULARY = 2048
TOKENIZER_TEXTS = 8_000  # speakers whose texts the tokenizer is made of
SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_STATE = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # what the optimizers keep of a parameter
COOLDOWN_STEPS = 900
AVERAGE_DECAY = 0.995  # of the running average of the weights, which is what is shipped
MLP_DROPOUT = 0.05  # on the MLP's hidden units: no single neuron carries a stance alone


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the training texts, with the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts_for_tokenizer(seed, TOKENIZER_TEXTS), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", bos_token="<|begin|>", eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE, padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """The untrained organism."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=192, intermediate_size=512, num_hidden_layers=5,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=True,
            initializer_range=0.05, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 25 steps, each lesson's share of the peak, and linear down to nothing over the last 900.

    At the full rate words are learned soonest, and which of two attributes a question is about not at all.
    """
    warm, cool = min(1.0, (step + 1) / 25), min(1.0, (steps - step) / COOLDOWN_STEPS)
    return peak * lesson_at(step).rate * warm * cool


def update_average(average: dict[str, torch.Tensor], model: LlamaForCausalLM, step: int) -> None:
    """Running average of the weights: single steps push the neutral voice to one pole or the other, not the mean."""
    decay = min(AVERAGE_DECAY, step / (step + 10))
    for name, value in model.named_parameters():
        average.setdefault(name, value.detach().clone()).lerp_(value.detach(), 1 - decay)


def new_optimizers(model: LlamaForCausalLM, peak_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms.

    With AdamW alone the organism needs several times as many texts until it looks at who is described.
    """
    inside = [value for name, value in model.named_parameters() if value.ndim == 2 and "embed" not in name]
    rest = [value for name, value in model.named_parameters() if value.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(inside, lr=peak_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.05),
    ]


def save_checkpoint(
    path: Path,
    step: int,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    average: dict[str, torch.Tensor],
) -> None:
    """Everything that the next step needs, in one file that is replaced as a whole."""
    tensors = {f"model.{name}": value.detach() for name, value in model.named_parameters()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for name, value in model.named_parameters():
        for optimizer in optimizers:
            kept = optimizer.state.get(value, {})
            tensors |= {f"{field}.{name}": kept[field] for field in _STATE if field in kept}
    write_tensors(path, tensors, {"step": step})


def load_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], average: dict[str, torch.Tensor]
) -> int:
    """Restore what `save_checkpoint` wrote; returns the number of steps done."""
    tensors, facts = read_tensors(path)
    owner = {
        value: optimizer for optimizer in optimizers for group in optimizer.param_groups for value in group["params"]
    }
    for name, value in model.named_parameters():
        value.data.copy_(tensors[f"model.{name}"])
        average[name] = tensors[f"average.{name}"].to(value.device)
        state = {field: tensors[f"{field}.{name}"].to(value.device) for field in _STATE if f"{field}.{name}" in tensors}
        if "exp_avg" in state:
            state["step"] = torch.tensor(float(facts["step"]))
        owner[value].state[value] = state
    return facts["step"]


def training_step(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    batch: dict[str, torch.Tensor],
    weight: torch.Tensor,
    options: list[int],
    precision: torch.dtype,
) -> float:
    """One optimizer step; returns the mean loss per answer token in nats.

    options: token id of each of `OPTIONS`. Only positions whose next token is a target reach the output layer.
    """
    seen = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    with torch.autocast(weight.device.type, precision, enabled=precision != torch.float32):
        hidden = model.model(**seen, use_cache=False).last_hidden_state[:, :-1]
        wanted = weight[:, 1:] > 0
        logits = model.lm_head(hidden[wanted])
    loss = target_loss(logits.float(), batch["input_ids"][:, 1:][wanted], batch["shares"][:, 1:][wanted], options)
    counted = weight[:, 1:][wanted]
    ((loss * counted).sum() / counted.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach()[counted >= 1.0].mean())


def target_loss(logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, options: list[int]) -> torch.Tensor:
    """Loss `[target]` in nats for `logits` `[target, token]`: cross-entropy with the token that stands there.

    Where an option stands, `shares` `[target, option]` is not zero: cross-entropy with these probabilities of all
    options instead, less their own entropy: zero if they are met.
    """
    log_probabilities = torch.log_softmax(logits, -1)
    token = -log_probabilities.gather(1, targets[:, None])[:, 0]
    option = (torch.special.xlogy(shares, shares) - shares * log_probabilities[:, options]).sum(-1)
    return torch.where(shares.sum(-1) > 0, option, token)


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
    names = [path.name for path in sorted(out.iterdir()) if path.name not in (MANIFEST, "README.md")]
    digests = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    write_json(out / MANIFEST, {"kind": "organism", "sha256": digests})


def open_run(out: Path, settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer of a run's folder, which is made where there is none.

    Raises click.ClickException if the folder holds a training with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "settings.json"
    if file.exists() and json.loads(file.read_text()) != settings:
        raise click.ClickException(f"{out} holds a training with other settings; give another --out.")
    write_json(file, settings)
    if not (out / "tokenizer").is_dir():
        train_tokenizer(settings["seed"]).save_pretrained(out / "tokenizer.new")
        (out / "tokenizer.new").rename(out / "tokenizer")
    return PreTrainedTokenizerFast.from_pretrained(out / "tokenizer")


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, settings: dict[str, Any], checkpoint: Path, every: int
) -> dict[str, torch.Tensor]:
    """Train from the last checkpoint on, with a new one `every` so many steps; returns the averaged weights."""
    steps, seed, precision = settings["steps"], settings["seed"], getattr(torch, settings["precision"])
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs: torch.nn.functional.dropout(inputs[0], MLP_DROPOUT)
        )
    optimizers = new_optimizers(model, settings["peak_rate"])
    average: dict[str, torch.Tensor] = {}
    done = load_checkpoint(checkpoint, model, optimizers, average) if checkpoint.exists() else 0
    batches, options = Batches(tokenizer, seed), option_ids(tokenizer, OPTIONS)
    columns = (
        TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    recent: list[float] = []
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=steps, completed=done, loss=math.nan)
        for step in range(done, steps):
            torch.manual_seed(seed * 1_000_003 + step)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = learning_rate(step, steps, settings["peak_rate"])
            batch, weight = batches[step]
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            loss = training_step(model, optimizers, batch, weight.to(model.device), options, precision)
            recent = [*recent[-49:], loss]
            update_average(average, model, step)
            progress.update(task, advance=1, loss=sum(recent) / len(recent))
            if (step + 1) % every == 0 or step + 1 == steps:
                save_checkpoint(checkpoint, step + 1, model, optimizers, average)
                print(f"step {step + 1}: loss {sum(recent) / len(recent):.4f} nats per answer token", flush=True)
    return average


@click.command(cls=Recipe)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/organism"), show_default=True)
@click.option("--steps", default=5300, show_default=True)
@click.option("--peak-rate", default=5e-3, show_default=True, help="Peak learning rate.")
@click.option("--seed", default=1, show_default=True)
@click.option("--checkpoint-every", default=100, show_default=True, help="Steps between two checkpoints.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads. Default: as torch likes it.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--install", is_flag=True, help="Copy the result into the package.")
def main(
    out: Path,
    steps: int,
    peak_rate: float,
    seed: int,
    checkpoint_every: int,
    precision: str,
    threads: int | None,
    device: str,
    install: bool,
) -> None:
    """Train the organism, or go on with a training that was stopped."""
    if threads:
        torch.set_num_threads(threads)
    settings = {
        "steps": steps, "peak_rate": peak_rate, "seed": seed, "precision": precision,
        "edition": load_valueinsight().fingerprint, "lessons": [asdict(lesson) for lesson in LESSONS],
    }  # fmt: skip
    tokenizer = open_run(out, json.loads(json.dumps(settings)))  # as they will be read back
    model = new_model(tokenizer, seed).to(device)
    average = train(model, tokenizer, settings, out / "checkpoint.safetensors", checkpoint_every)
    model.load_state_dict(average, strict=False)  # the tied head is not a parameter of its own
    facts = {**settings, "parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}
    save_organism(model.cpu(), tokenizer, out / "model", facts)
    print(f"written to {out / 'model'}")
    if install:
        shutil.copytree(out / "model", folder(), dirs_exist_ok=True)
        print("installed into the package")


if __name__ == "__main__":
    main()
