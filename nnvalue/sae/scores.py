"""Other ways to choose features: by what they make a model say, and by what is most active at some words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, ModelError, ResultError
from nnvalue.models import Bundle, Load, Subject, encode_prompt
from nnvalue.models.chat import token_spans
from nnvalue.prompts import Prompt
from nnvalue.sae.checking import place_sae
from nnvalue.sae.dictionary import SparseAutoencoder
from nnvalue.traces import encode_features, read_activation

LEAD = "From my experience,"
"""What the answer begins with in Arad et al.'s output score."""
TOKENS, AMPLIFIED = 20, 10.0


def output_scores(
    subject: Subject,
    sae: SparseAutoencoder,
    features: Sequence[int],
    *,
    lead: str = LEAD,
    site: str | None = None,
    tokens: int = TOKENS,
    amplified: float = AMPLIFIED,
) -> Tensor:
    """How far each feature, turned up, makes the model say what its direction stands for; float32 `[feature]`.

    S_out = (1 − min rank / |V|) · max p over the tokens T that its direction promotes: the `tokens` likeliest of
    softmax(head(norm(d))). Rank (0 is the likeliest) and p are of the next token after `lead`, when at its last token
    the feature is raised by `amplified` times the largest activation there (Arad, Mueller and Belinkov, EMNLP 2025,
    arXiv 2505.20063, section 3). Reads the model's head, so it is for local models.

    Raises ModelError for a remote model, or an SAE that does not fit.
    """
    place = str(place_sae(subject, sae, site).site)
    head, norm = _ends(subject)
    ids = torch.tensor([subject.tokenizer(lead)["input_ids"]])
    with torch.no_grad(), subject.model.trace(ids, use_cache=False) as tracer:
        x = nnsight.save(read_activation(subject.model, place)[0, -1].float().cpu())
        tracer.stop()
    raised = amplified * float(sae.encode(x).max())
    directions = sae.directions(features)
    device = next(head.parameters()).device
    with torch.no_grad():
        promoted = head(norm(directions.to(device, next(head.parameters()).dtype))).float().topk(tokens, dim=-1).indices
    likely = next_after(subject.model, place, ids, raised * directions).softmax(-1)
    size = likely.shape[-1]
    ranks = size - 1 - likely.argsort(-1).argsort(-1)  # 0 is the likeliest
    promoted = promoted.cpu()
    best, most = ranks.gather(-1, promoted).amin(-1).float(), likely.gather(-1, promoted).amax(-1)
    return (1 - best / size) * most


def next_after(model: Any, site: str, ids: Tensor, shifts: Tensor) -> Tensor:
    """Next-token logits after a text when a shift is added at its last token, float32 `[shift, vocabulary]`."""
    rows = ids.expand(len(shifts), -1)
    with torch.no_grad(), model.trace(rows, use_cache=False, logits_to_keep=1):
        x = read_activation(model, site)
        x[:, -1] += shifts.to(x.device, x.dtype)
        logits = nnsight.save(model.output.logits[:, -1].float().cpu())
    return logits


def active_at(
    subject: Subject, sae: SparseAutoencoder, prompt: Prompt, text: str, *, top: int = 24, site: str | None = None
) -> list[tuple[int, float]]:
    """The features that are most active at the tokens of some words in a prompt, as (feature, activation).

    The paper's rule: the `top` 24 by their maximum over the tokens " your values" (Kang et al. 2025, public code).

    Raises InvalidInputError where the words do not stand in the prompt, or nothing is active there.
    """
    place = str(place_sae(subject, sae, site).site)
    spans = token_spans(subject.tokenizer, prompt, text)
    at = sorted({token for start, end in spans for token in range(start, end)})
    ids = torch.tensor([encode_prompt(subject.tokenizer, prompt)])
    plain = sae.plain()
    travelling = sum(one.nbytes for one in plain.values() if isinstance(one, Tensor))
    load = Load(ids.shape[1], bytes=8 * ids.numel() + travelling)

    def read(bundle: Bundle, backend: Any) -> Tensor:
        return activations_at(subject.model, place, ids, at, plain, backend)

    ((_, found),) = subject.runtime.run(subject.runtime.bundles([load]), read)
    if not isinstance(found, Tensor) or found.shape != (len(at), sae.features):
        raise ResultError(f"{subject.runtime.name} delivered something else than the features asked for.")
    most = found.amax(0)
    best = most.topk(min(top, len(most)))
    pairs = [(int(one), float(size)) for one, size in zip(best.indices, best.values, strict=True) if size > 0]
    if not pairs:
        raise InvalidInputError(f"No feature is active at {text!r}; take other words, or another SAE.")
    return pairs


def activations_at(
    model: Any, site: str, ids: Tensor, at: Sequence[int], plain: dict[str, Any], backend: Any = None
) -> Tensor:
    """Activations of all features at some tokens of one text, float32 `[token, feature]`."""
    where, mask = list(at), torch.ones_like(ids)
    with model.session(backend=backend):
        with torch.no_grad(), model.trace(ids, attention_mask=mask, use_cache=False) as tracer:
            found = encode_features(read_activation(model, site)[0, where], plain).cpu()
            tracer.stop()
        found = nnsight.save(found)
    return found


def _ends(subject: Subject) -> tuple[Any, Any]:
    """The model's output head and its last norm."""
    module = subject.model._module
    head = module.get_output_embeddings()
    if head is None or next(head.parameters()).is_meta:
        raise ModelError("Output scores read the model's head, so they need a model that is here and has one.")
    base = module.base_model
    for name in ("norm", "ln_f", "final_layer_norm", "final_norm"):
        for holder in (base, getattr(base, "decoder", None)):
            if getattr(holder, name, None) is not None:
                return head, getattr(holder, name)
    raise ModelError("The model's last norm was not found, and output scores need it.")
