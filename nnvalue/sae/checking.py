"""Whether an SAE is one of the model at hand: its width, its place, and what it makes of real activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.dataset import load_valueinsight, neutral_prompt
from nnvalue.errors import InvalidInputError, ModelError, NumericalError, ResultError
from nnvalue.locator.collect import LEAN
from nnvalue.models import Bundle, Load, Subject, encode_prompt, pad_left, plan_batches
from nnvalue.prompts import Prompt
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.sae.hooks import find_site
from nnvalue.traces import add_up, encode_features, read_activation

PROMPTS = 32
"""How many situations of ValueInsight are taken where no prompts are given."""


@dataclass(frozen=True)
class SaeQuality:
    """What an SAE makes of a model's activations.

    site: what it reads, as the model's anatomy names it.
    explained_variance: 1 − Σ|x − x̂|² / Σ|x − mean x|² over the tokens.
    active: mean number of features above 0 at a token (L0).
    dead: share of features that were above 0 at no token; the fewer tokens, the more.
    features, tokens: how many there were.
    """

    site: str
    explained_variance: float
    active: float
    dead: float
    features: int
    tokens: int


def place_sae(subject: Subject, sae: SparseAutoencoder, hookpoint: str | None = None) -> SparseAutoencoder:
    """The SAE with its site as the model's anatomy names it.

    Args:
        hookpoint: what it reads; None for what it says itself.

    Raises InvalidInputError where nobody says what it reads, ModelError for a place that the model has not or a width
    that is not that of the place.
    """
    known = sae.site if sae.site in subject.anatomy.forward_order() else None
    hook = hookpoint or known or sae.facts.get("hook_name") or sae.site
    if not isinstance(hook, str):
        raise InvalidInputError(
            f"The SAE does not say what it reads; give hookpoint, such as {subject.anatomy.block[0]}."
        )
    site = find_site(subject, hook)
    anatomy = subject.anatomy
    width = anatomy.width if site in (*anatomy.gate, *anatomy.down_in) else anatomy.hidden
    if width not in (None, sae.inputs):
        raise ModelError(
            f"The SAE reads {sae.inputs} entries, and {subject.name} has {width} at {site}; take an SAE of this model."
        )
    return replace(sae, site=site)


def check_sae(
    subject: Subject,
    sae: SparseAutoencoder,
    prompts: Sequence[Prompt | str] | None = None,
    *,
    hookpoint: str | None = None,
    batch_tokens: int = 1024,
) -> SaeQuality:
    """Whether an SAE fits a model, measured on activations of some prompts in one pass; only sums leave it.

    The first token of each prompt is left out: models put activations there that are many times as long as all others,
    and SAEs are trained without them. On a server the SAE's weights travel with the pass.

    Args:
        prompts: as the model is asked them; None for `PROMPTS` situations of ValueInsight.
        hookpoint: what it reads, if the SAE does not say.
        batch_tokens: at most so many tokens at once; each takes a few times as many numbers as there are features.

    Raises InvalidInputError where nobody says what it reads or prompts have no second token, ModelError where place or
    width are not the model's, NumericalError for NaN.
    """
    sae = place_sae(subject, sae, hookpoint)
    encoded = [encode_prompt(subject.tokenizer, prompt) for prompt in _asked(prompts)]
    if not any(len(ids) > 1 for ids in encoded):
        raise InvalidInputError("An SAE is checked after the first token of each prompt, and none has a second one.")
    plan = plan_batches([len(ids) for ids in encoded], batch_tokens)
    weights = {"decoder": sae.decoder, "decoder_bias": sae.decoder_bias, "input_scale": sae.input_scale, **sae.plain()}
    travelling = sum(one.nbytes for one in weights.values() if isinstance(one, Tensor))
    sizes = [len(rows) * len(encoded[rows[0]]) for rows in plan]
    loads = [Load(size, bytes=16 * size + travelling) for size in sizes]

    def measure(bundle: Bundle, backend: Any) -> Tensor:
        batches = [pad_left([encoded[row] for row in plan[number]], subject.pad_id) for number in bundle]
        return sums_of_batches(subject.model, str(sae.site), batches, weights, backend)

    total: Tensor | None = None
    for _, part in subject.runtime.run(subject.runtime.bundles(loads), measure):
        if not isinstance(part, Tensor) or part.shape != (3 + sae.inputs + sae.features,):
            raise ResultError(f"{subject.runtime.name} delivered sums of another form than was asked for.")
        total = add_up(total, part)
    assert total is not None  # every plan has a batch
    if not total.isfinite().all():
        raise NumericalError(f"What stands at '{sae.site}' holds NaN or infinity; try --dtype float32.")
    (tokens, squares, lost), mean, fired = total[:3].tolist(), total[3 : 3 + sae.inputs], total[3 + sae.inputs :]
    variance = squares - float((mean / tokens).square().sum()) * tokens
    return SaeQuality(
        site=str(sae.site),
        explained_variance=1 - lost / max(variance, 1e-30),
        active=float(fired.sum()) / tokens,
        dead=float((fired == 0).double().mean()),
        features=sae.features,
        tokens=int(tokens),
    )


def _asked(prompts: Sequence[Prompt | str] | None) -> list[Prompt]:
    if prompts is None:
        situations = load_valueinsight().situations
        chosen = situations.select(range(0, len(situations), len(situations) // PROMPTS)).to_list()
        return [neutral_prompt(row) for row in chosen[:PROMPTS]]
    return [Prompt(str(number), None, one) if isinstance(one, str) else one for number, one in enumerate(prompts)]


def sums_of_batches(
    model: Any, site: str, batches: Sequence[tuple[Tensor, Tensor]], sae: dict[str, Any], backend: Any = None
) -> Tensor:
    """Sums over the tokens of all batches, in one session; float64 `[3 + input + feature]`.

    They are: the number of tokens, Σ|x|², Σ|x − x̂|², Σx `[input]`, and how often each feature was above 0 `[feature]`.

    Args:
        batches: token ids and attention mask, int64 `[row, token]`, padded on the left.
        sae: as `encode_features` takes it, with `decoder` and `decoder_bias`.
    """
    countdown = range(len(batches) - 1, -1, -1)
    with model.session(backend=backend):
        total = None
        for left, (ids, attention) in zip(countdown, batches, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                found = read_activation(model, site)
                counted = (attention.cumsum(1) > 1).flatten().to(found.device)
                x = found.reshape(-1, found.shape[-1])[counted].float()
                acts = encode_features(x, sae)
                again = acts @ sae["decoder"].to(x.device) + sae["decoder_bias"].to(x.device)
                lost = (x - again / sae["input_scale"]).cpu().double()
                x, fired = x.cpu().double(), (acts > 0).sum(0).cpu().double()
                few = torch.stack([torch.ones_like(x[:, 0]).sum(), x.square().sum(), lost.square().sum()])
                part = torch.cat([few, x.sum(0), fired])
                if not left:
                    tracer.stop()
            total = add_up(total, part)
        total = nnsight.save(total)
    return total
