"""How well does a sparse autoencoder of the organism rebuild what it reads, and do its features tell values?

    python -m recipes.evaluate_sae [--sae FOLDER] [--json]    # 12 minutes on a shared core

Expect the figures of the card, nnvalue/organism/sae/README.md, of the one that is shipped.

On situations, portraits, descriptions and roles of the `test` split, which no training text is made of:
- explained variance, 1 − Σ|x − x̂|² / Σ|x − mean|² over the tokens of each kind of voice; L0, the mean number of active
  features; features that are active at none of the held-out tokens. Each context counts once.
- what the organism loses when it goes on with x̂ in place of x: the mean KL divergence in nats of its next tokens in
  answers, beside that with the mean in place of x.
- for each value the one feature whose mean activation over an answer tells answers under positive descriptions best
  from those under negative ones, chosen on the `locate` split; its AUROC on the `test` split, beside that of the one
  coordinate of x that is chosen alike.
- steering: answers of nobody in particular to test situations while that feature's direction is added at every token,
  beside a random direction of the same length; the parser says how many are wholly at the feature's pole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import nnsight
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nnvalue import Subject, load_valueinsight, open_model
from nnvalue.dataset import build_contrasts, neutral_prompt
from nnvalue.locator.readings import TeacherForcedBatches
from nnvalue.models import Response, generate_responses
from nnvalue.organism import parse, sae_folder
from nnvalue.prompts import Prompt
from nnvalue.sae import SparseAutoencoder, contrast, open_sae
from nnvalue.steering import DirectionSteering
from nnvalue.traces import read_activation, write_activation
from nnvalue.values import POLES, SIGN
from recipes.command import Recipe
from recipes.evaluate_organism import wilson
from recipes.sae_texts import NEW_TOKENS, answer_activations, answered, prompts_of, read_tokens

STRENGTHS = (0.25, 0.5, 1.0)  # lengths of what is added, in mean lengths of x
CORES = 47  # test situations a value: one variant of each core


def reconstruction(sae: SparseAutoencoder, x: Tensor) -> dict[str, Any]:
    """Explained variance, L0 and silent features of inputs `[token, input]`."""
    acts = sae.encode(x)
    left = (x - sae.decode(acts)).square().sum()
    return {
        "explained_variance": float(1 - left / (x - x.mean(0)).square().sum()),
        "l0": float((acts > 0).sum(-1).float().mean()),
        "silent_features": int((acts == 0).all(0).sum()),
        "tokens": len(x),
    }


def contrast_means(
    subject: Subject, sae: SparseAutoencoder, split: str, situations: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Value -> `features` `[answer, feature]` and `coordinates` `[answer, input]`, means over greedy answers' tokens.

    The answers under positive descriptions come first, then as many under negative ones.
    """
    edition, found = load_valueinsight(), {}
    for value in edition.values():
        contrasts = build_contrasts(edition, value, situations=situations, split=split, seed=seed)
        asked = [getattr(each, pole) for pole in POLES for each in contrasts]
        x = answer_activations(subject, generate_responses(subject, asked, max_new_tokens=NEW_TOKENS), str(sae.site))
        found[value] = {
            "features": np.stack([sae.encode(one).mean(0).numpy() for one in x]),
            "coordinates": np.stack([one.mean(0).numpy() for one in x]),
        }
    return found


def telling(located: Mapping[str, Any], tested: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Value -> kind -> the column with the largest effect size in `located`, its pole, and its AUROC in both.

    Many columns tell all answers of the `locate` split apart, so their AUROCs there would not choose among them.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for value, kinds in located.items():
        found[value] = {}
        for kind, means in kinds.items():
            chosen_by, on_test = _told_apart(means), _told_apart(tested[value][kind])
            best = int(np.abs(chosen_by["effect_size"]).argmax())
            sign = int(np.sign(chosen_by["effect_size"][best]))
            found[value][kind] = {
                "column": best, "pole": POLES[0] if sign > 0 else POLES[1], "answers": len(tested[value][kind]),
                "auroc_locate": float(0.5 + sign * (chosen_by["auroc"][best] - 0.5)),
                "auroc": float(0.5 + sign * (on_test["auroc"][best] - 0.5)),
            }  # fmt: skip
    return found


def _told_apart(means: np.ndarray) -> dict[str, np.ndarray]:
    sign = np.repeat([1, -1], len(means) // 2)
    return contrast(means, sign, np.zeros(len(means)))


def substituted(
    subject: Subject, sae: SparseAutoencoder, responses: Sequence[Response], mean: Tensor
) -> dict[str, float]:
    """Mean KL of answers' next tokens when x̂ stands for x, and when the mean `[input]` does, in nats."""
    model, site, count = subject.model, str(sae.site), 0
    total = {"sae": 0.0, "mean": 0.0}
    for _, ids, attention, counted in TeacherForcedBatches(responses, 4096, subject.pad_id):
        read = counted.bool()
        with torch.no_grad(), model.trace(ids, attention_mask=attention, use_cache=False):
            x = nnsight.save(read_activation(model, site))
            logits = nnsight.save(model.output.logits)
        true = torch.log_softmax(logits[read], -1)
        for name, instead in (("sae", sae.decode(sae.encode(x))), ("mean", mean.expand_as(x))):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, use_cache=False):
                write_activation(model, site, instead)
                logits = nnsight.save(model.output.logits)
            total[name] += float((true.exp() * (true - torch.log_softmax(logits[read], -1))).sum())
        count += int(read.sum())
    return {name: nats / count for name, nats in total.items()}


def steered(
    subject: Subject, sae: SparseAutoencoder, told: Mapping[str, Any], length: float, cores: int, seed: int
) -> dict[str, dict[str, float]]:
    """Value -> arm -> share of nobody's greedy answers that are whole and wholly at the pole of the value's feature.

    Arms: `unsteered`, and `feature` and `random` with each strength; what is added is a unit direction times the
    strength times `length`, the mean |x|, at every token.
    """
    edition, layer = load_valueinsight(), int(str(sae.site).split(".")[-2])
    generator, found = torch.Generator().manual_seed(seed), {}
    for value, kinds in told.items():
        best = kinds["features"]
        chosen = {
            each.situation_id for each in build_contrasts(edition, value, situations=cores, split="test", seed=seed)
        }
        prompts = [neutral_prompt(row) for row in edition.situations if row["id"] in chosen]
        directions = {
            "feature": sae.directions([best["column"]]),
            "random": torch.randn(1, sae.inputs, generator=generator),
        }
        found[value] = {"unsteered": _share_at(subject, prompts, None, SIGN[best["pole"]])}
        for name, direction in directions.items():
            vector = length * direction / direction.norm()
            for strength in STRENGTHS:
                arm = DirectionSteering("residual", (layer,), vector, dose=strength, scope="all")
                found[value][f"{name} {strength:g}"] = _share_at(subject, prompts, arm, SIGN[best["pole"]])
    return found


def _share_at(subject: Subject, prompts: Sequence[Prompt], steering: Any, sign: int) -> float:
    """An unreadable answer is at no pole."""
    said = generate_responses(subject, prompts, steering=steering, max_new_tokens=NEW_TOKENS)
    return float(np.mean([parse(one.text).stance == sign for one in said]))


def evaluate(subject: Subject, sae: SparseAutoencoder, situations: int, roles: int, seed: int) -> dict[str, Any]:
    """All figures of the card."""
    prompts = prompts_of(load_valueinsight(), "test", situations, roles, seed)
    said = {kind: answered(subject, asked, seed) for kind, asked in prompts.items()}
    everything = [response for some in said.values() for response in some]
    x, of_answer = read_tokens(subject, everything, str(sae.site))
    rebuilt = {"all": reconstruction(sae, x), "answers": reconstruction(sae, x[of_answer])}
    rebuilt |= {kind: reconstruction(sae, read_tokens(subject, some, str(sae.site))[0]) for kind, some in said.items()}
    told = telling(*(contrast_means(subject, sae, split, situations, seed) for split in ("locate", "test")))
    length = float(x.norm(dim=-1).mean())
    return {
        "seed": seed, "site": sae.site, "architecture": sae.architecture, "features": sae.features,
        "training": sae.facts.get("training"), "mean_length": length, "reconstruction": rebuilt,
        "kl": substituted(subject, sae, said["described"], x.mean(0)), "telling": told,
        "steering": steered(subject, sae, told, length, min(CORES, situations), seed),
        "steering_answers": min(CORES, situations),
    }  # fmt: skip


def print_figures(figures: Mapping[str, Any]) -> None:
    """The figures as tables."""
    console = Console(width=140)
    table = Table("tokens of", "n", "explained variance", "L0", f"silent of {figures['features']}", title="rebuilt")
    for kind, row in figures["reconstruction"].items():
        table.add_row(
            kind, f"{row['tokens']:,}", f"{row['explained_variance']:.3f}", f"{row['l0']:.1f}",
            str(row["silent_features"]),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"KL of answers' next tokens with x̂ {figures['kl']['sae']:.4f}, with the mean {figures['kl']['mean']:.4f}"
    )
    arms = list(next(iter(figures["steering"].values())))
    table = Table("value", "feature", "pole", "AUROC", "best coordinate", *arms, title="values")
    for value, kinds in figures["telling"].items():
        best = kinds["features"]
        table.add_row(
            value, str(best["column"]), best["pole"], f"{best['auroc']:.3f}", f"{kinds['coordinates']['auroc']:.3f}",
            *(f"{figures['steering'][value][arm]:.2f}" for arm in arms),
        )  # fmt: skip
    pooled = {arm: float(np.mean([row[arm] for row in figures["steering"].values()])) for arm in arms}
    n = figures["steering_answers"] * len(figures["steering"])
    means = {
        kind: np.mean([row[kind]["auroc"] for row in figures["telling"].values()])
        for kind in ("features", "coordinates")
    }
    table.add_row(
        "mean", "", "", f"{means['features']:.3f}", f"{means['coordinates']:.3f}",
        *(f"{share:.2f} [{low:.2f} – {high:.2f}]" for share in pooled.values() for low, high in [wilson(share, n)]),
    )  # fmt: skip
    console.print(table)


@click.command(cls=Recipe)
@click.option("--sae", "source", type=click.Path(path_type=Path, exists=True), help="Default: the packaged one.")
@click.option("--situations", default=100, show_default=True, help="Of each value.")
@click.option("--roles", default=60, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def main(source: Path | None, situations: int, roles: int, seed: int, as_json: bool) -> None:
    """Evaluate an SAE of the organism."""
    torch.set_num_threads(1)
    figures = evaluate(open_model(), open_sae(source or sae_folder()), situations, roles, seed)
    if as_json:
        print(json.dumps(figures, indent=1))
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
