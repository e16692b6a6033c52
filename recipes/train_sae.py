"""Which features does the organism's residual stream fall into? Trains a sparse autoencoder on its own texts.

    python -m recipes.train_sae                    # a folder in SAELens' layout
    python -m recipes.train_sae --install          # and copy it into the package
    python -m recipes.train_sae --layer 2 --out runs/sae-2
    python -m recipes.evaluate_sae --sae runs/sae  # the figures of its card

Texts are of the dataset's `locate` split and of roles labelled `train` alone (`recipes/sae_texts.py`): the organism's
greedy and sampled answers in many voices, and its own training stream. The seed decides everything on one thread.
It takes 13 minutes on one core. Expect the file that is shipped, with an explained variance of above .85.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import torch

from nnvalue import load_valueinsight, open_model
from nnvalue.models import Response, Subject
from nnvalue.organism import sae_folder
from nnvalue.sae import save_sae, train_sae
from nnvalue.sae.training import TRAINABLE
from recipes.command import Recipe
from recipes.evaluate_sae import reconstruction
from recipes.sae_texts import answered, corpus_texts, prompts_of, read_tokens


def training_texts(subject: Subject, situations: int, roles: int, speakers: int, seed: int) -> list[Response]:
    """What the organism says in every kind of voice, and texts of its training stream."""
    prompts = prompts_of(load_valueinsight(), "locate", situations, roles, seed)
    said = [response for some in prompts.values() for response in answered(subject, some, seed)]
    return said + corpus_texts(subject, speakers, seed)


@click.command(cls=Recipe)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/sae"), show_default=True)
@click.option("--layer", default=3, show_default=True, help="The residual stream after it is read; from 0.")
@click.option("--architecture", type=click.Choice(TRAINABLE), default="batchtopk", show_default=True)
@click.option("--features", default=1024, show_default=True)
@click.option("--active", default=16, show_default=True, help="Mean features a token, of topk and batchtopk.")
@click.option("--steps", default=6000, show_default=True, help="Of 1,024 tokens each.")
@click.option("--situations", default=300, show_default=True, help="Of each value, under descriptions of either pole.")
@click.option("--roles", default=220, show_default=True)
@click.option("--speakers", default=400, show_default=True, help="Of the organism's training stream.")
@click.option("--seed", default=1, show_default=True)
@click.option("--install", is_flag=True, help="Copy the result into the package.")
def main(
    out: Path,
    layer: int,
    architecture: str,
    features: int,
    active: int,
    steps: int,
    situations: int,
    roles: int,
    speakers: int,
    seed: int,
    install: bool,
) -> None:
    """Train an SAE of the organism."""
    torch.set_num_threads(1)
    subject = open_model()
    site = subject.anatomy.block[layer]
    texts = training_texts(subject, situations, roles, speakers, seed)
    x, _ = read_tokens(subject, texts, site)
    print(f"{len(texts):,} texts, {len(x):,} tokens of different contexts", flush=True)
    facts = {"model_name": subject.name, "texts": len(texts), "situations": situations, "roles": roles,
             "speakers": speakers}  # fmt: skip

    def tell(stage: str, done: int, total: int) -> None:
        if done % 500 == 0 or done == total:
            print(f"{stage}: {done} of {total}", flush=True)

    sae = train_sae(
        x, features, architecture=architecture, active=active, steps=steps, seed=seed, site=site, facts=facts,
        progress=tell,
    )  # fmt: skip
    print(reconstruction(sae, x[:: max(1, len(x) // 100_000)]))
    save_sae(sae, out)
    print(f"written to {out}")
    if install:
        shutil.copytree(out, sae_folder(), dirs_exist_ok=True)
        print("installed into the package")


if __name__ == "__main__":
    main()
