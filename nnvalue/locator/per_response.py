"""One vector a response and layer, for methods that need more than sums over all of them.

It is the one thing that grows with the responses, so it has a bound: of more contrasts than fit, the first ones are
taken, whose order is seeded and runs over all folds alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import Journal
from nnvalue.errors import NumericalError, ResultError, UnknownNameError
from nnvalue.locator.collect import LEAN, Stage, load_of
from nnvalue.locator.readings import Reading, TeacherForcedBatches, response_length, teacher_forced
from nnvalue.models import Bundle, Load, Response, Subject
from nnvalue.progress import Progress, silent
from nnvalue.traces import collect_moments, gradient_products, read_activation

MOST_BYTES = 2**31
"""That one kind of vectors may take on disk, for one value or one of its nulls; in memory it is a few times that."""
_GRADIENT_SHARE = 4  # a pass that keeps its graph gets so many times fewer tokens
KINDS = ("means", "residuals", "products")
"""Mean activation; mean residual stream after each layer; gradient × activation, summed."""


def gather_per_response(
    subject: Subject,
    positive: Sequence[Response],
    negative: Sequence[Response],
    kind: str,
    reading: Reading,
    *,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
    journal_key: str = "responses",
    progress: Progress = silent,
) -> Tensor:
    """A vector of each response over its counted tokens, float32 `[contrast, pole, layer, neuron]`.

    Of the kind `residuals` it has `[…, hidden]` instead of neurons. With a journal every batch is kept when it is done.

    Raises:
        NumericalError: NaN or infinity.
        UnknownNameError: a kind, site or choice of tokens that does not exist.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of vector", kind, KINDS)
    reading.check()
    sites = subject.anatomy.block if kind == "residuals" else subject.anatomy.sites(reading.site)
    size = subject.config.get_text_config().hidden_size if kind == "residuals" else subject.anatomy.width
    # Even, as the two texts of a contrast belong together.
    most = 2 * max(1, MOST_BYTES // (4 * len(sites) * size * torch.float32.itemsize))
    responses = [response for pole in (positive, negative) for response in pole[:most]]
    tokens = batch_tokens // _GRADIENT_SHARE if kind == "products" else batch_tokens
    batches = TeacherForcedBatches(responses, max(1, tokens), subject.pad_id, reading.tokens)
    loads = [_load(responses, rows, len(sites) * size) for rows in batches.plan]
    vectors = torch.zeros(len(responses), len(sites), size)
    key = f"{journal_key}-{kind}-{'-'.join(reading)}"

    def vectors_of(bundle: Bundle, backend: Any) -> list[Tensor]:
        chosen = [[responses[row] for row in batches.plan[number]] for number in bundle]
        made = vectors_of_batches(subject.model, kind, sites, chosen, subject.pad_id, reading.tokens, backend)
        shapes = [(len(rows), len(sites), size) for rows in chosen]
        sound = isinstance(made, list) and all(isinstance(part, Tensor) for part in made)
        if not sound or [(*part.shape, part.dtype) for part in made] != [(*shape, torch.float32) for shape in shapes]:
            raise ResultError(f"{subject.runtime.name} delivered vectors of another form than was asked for.")
        if not all(part.isfinite().all() for part in made):
            raise NumericalError(f"The {kind} at '{reading.site}' hold NaN or infinity; try --dtype float32.")
        return made

    stage = Stage(f"collecting {kind}", len(batches), progress)
    done = [number for number in range(len(batches)) if journal is not None and journal.has_tensors(f"{key}-{number}")]
    for number in done:
        assert journal is not None  # or nothing were done
        vectors[batches.plan[number]] = journal.get_tensors(f"{key}-{number}")["vectors"]
    stage.add(len(done))
    bundles = [tuple(set(bundle) - set(done)) for bundle in subject.runtime.bundles(loads)]
    pending = [tuple(sorted(bundle)) for bundle in bundles if bundle]
    for bundle, made in subject.runtime.run(pending, vectors_of, journal, key, stage.waiting):
        for number, part in zip(bundle, made, strict=True):
            vectors[batches.plan[number]] = part
            if journal is not None:
                journal.put_tensors(f"{key}-{number}", {"vectors": part})
        stage.add(len(bundle))
    return vectors.unflatten(0, (2, -1)).transpose(0, 1)


def vectors_of_batches(
    model: Any,
    kind: str,
    sites: Sequence[str],
    batches: Sequence[Sequence[Response]],
    pad_id: int,
    tokens: str,
    backend: Any = None,
) -> list[Tensor]:
    """float32 `[row, layer, neuron]` of each batch."""
    forced = [teacher_forced(rows, pad_id, tokens) for rows in batches]
    if kind == "products":
        labels = [labels_of(rows, ids.shape[1]) for rows, (ids, *_) in zip(batches, forced, strict=True)]
        return [products_of(model, sites, batch, label) for batch, label in zip(forced, labels, strict=True)]
    weights = [torch.diag(1 / counted.sum(1).clamp(min=1)) for *_, counted in forced]
    return means_of(model, sites, forced, weights, backend)


def means_of(
    model: Any,
    sites: Sequence[str],
    batches: Sequence[tuple[Tensor, ...]],
    weights: Sequence[Tensor],
    backend: Any = None,
) -> list[Tensor]:
    """Weighted sums of activations over the rows of each batch, in one session.

    Args:
        weights: float32 `[vector, row]` for each batch.

    Returns:
        float32 `[vector, layer, neuron]` for each batch.
    """
    countdown = range(len(batches) - 1, -1, -1)
    with model.session(backend=backend):
        vectors = []
        for left, (ids, attention, counted), weight in zip(countdown, batches, weights, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                part = collect_moments(model, sites, counted, weight)[1].to("cpu")
                if not left:
                    tracer.stop()
            vectors.append(part)
        vectors = nnsight.save(vectors)
    return vectors


def products_of(model: Any, sites: Sequence[str], batch: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """`gradient_products` of one batch; it needs the weights here, and leaves what is trainable as it was."""
    ids, attention, counted = batch
    keep = max(1, int((labels >= 0).any(0).sum()))  # answers stand at the end
    weights = {weight: weight.requires_grad for weight in model._module.parameters()}
    first = model._module.get_input_embeddings().weight
    for weight in weights:
        weight.requires_grad_(weight is first)  # a graph, and no more of it than leads to the activations
    try:
        with torch.enable_grad(), model.trace(ids, attention_mask=attention, use_cache=False, logits_to_keep=keep):
            activations = [read_activation(model, site) for site in sites]
            products = nnsight.save(gradient_products(activations, model.output.logits, labels[:, -keep:], counted))
    finally:
        for weight, was in weights.items():
            weight.requires_grad_(was)
    return products


def labels_of(responses: Sequence[Response], width: int) -> Tensor:
    """The token that each position of a left-padded batch predicts, −100 before the last prompt token."""
    labels = torch.full((len(responses), width), -100, dtype=torch.int64)
    for row, response in zip(labels, responses, strict=True):
        if len(response.token_ids):
            row[-len(response.token_ids) :] = torch.tensor(response.token_ids)
    return labels


def _load(responses: Sequence[Response], rows: Sequence[int], size: int) -> Load:
    """What a batch costs, with what comes back: unlike sums it is as large as what is sent, or larger."""
    load = load_of(len(rows) * max(response_length(responses[row]) for row in rows))
    return Load(load.tokens, bytes=load.bytes + len(rows) * size * torch.float32.itemsize)
