"""Directions of values in the residual stream or in what MLPs put out, learned from the responses of a result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnsight
import torch
from torch import Tensor

from nnvalue.artifacts import canonical_json, library_versions, read_folder, read_tensors, tensor_bytes, write_folder
from nnvalue.errors import ArtifactError, InvalidInputError, NumericalError, ResultError, UnknownNameError
from nnvalue.findings import ValueNeurons, require_same_model
from nnvalue.locator.collect import LEAN
from nnvalue.locator.probes import ridge_logistic
from nnvalue.locator.readings import response_length, teacher_forced
from nnvalue.models import Bundle, Load, Response, Subject, plan_batches
from nnvalue.progress import Progress, silent
from nnvalue.steering_protocol import is_identity
from nnvalue.traces import collect_moments
from nnvalue.values import POLES

PLACES = {"residual": "block", "mlp_out": "down_out"}
"""Where directions are: the residual stream after a layer, or the output of its MLP's down projection."""
KIND = "value-directions"
SCHEMA_VERSION = 1
_STAGE = "collecting directions"


@dataclass(frozen=True, eq=False)
class ValueDirections:
    """Directions of some values in one model.

    place: `residual` or `mlp_out`.
    values: their names.
    difference: float32 `[value, layer, hidden]`, mean over positive responses − mean over negative ones, of each
        response its mean over the fed tokens (CAA, arXiv 2312.06681; RepE, 2310.01405).
    norm: float32 `[layer]`, root mean square over all those tokens of the length of what stands there.
    weights, bias: float32 `[value, layer, hidden]` and `[value, layer]`, a logistic probe of each layer that tells the
        responses apart (ConVA, 2507.11316): log-odds of the positive pole = weights · a + bias.
    accuracy: float32 `[value, layer]`, of a probe that was fitted to the even folds, on the odd ones.
    config: the model, and what the responses are of.
    """

    place: str
    values: tuple[str, ...]
    difference: Tensor
    norm: Tensor
    weights: Tensor
    bias: Tensor
    accuracy: Tensor
    config: Mapping[str, Any]

    def of(self, value: str) -> int:
        """A value's number. Raises UnknownNameError."""
        if value not in self.values:
            raise UnknownNameError("value", value, self.values, "(in these directions)")
        return self.values.index(value)

    def save(self, folder: str | Path) -> Path:
        """Write a folder of safetensors and JSON, as a whole or not at all."""
        config = {
            **self.config, "place": self.place, "values": list(self.values), "schema_version": SCHEMA_VERSION
        }  # fmt: skip
        tensors = {name: getattr(self, name) for name in _TENSORS}
        files = {"config.json": canonical_json(config), "directions.safetensors": tensor_bytes(tensors)}
        write_folder(Path(folder), KIND, files)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> ValueDirections:
        """Open a folder that `save` wrote. Raises ArtifactError if it is missing, foreign, damaged or inconsistent."""
        folder = Path(folder)
        files = read_folder(folder, KIND)
        try:
            config = json.loads(files["config.json"])
            place, values = config.pop("place"), tuple(config.pop("values"))
            version = config.pop("schema_version")
            tensors, _ = read_tensors(folder / "directions.safetensors")
            shape = tensors["difference"].shape
            shapes = {"norm": shape[1:2], "weights": shape, "bias": shape[:2], "accuracy": shape[:2]}
            sound = (
                version == SCHEMA_VERSION and place in PLACES and len(shape) == 3 and shape[0] == len(set(values))
                and all(tensors[name].shape == expected for name, expected in shapes.items())
                and all(tensors[name].dtype == torch.float32 and tensors[name].isfinite().all() for name in _TENSORS)
                and is_identity(config["model"]) and isinstance(config["source"], str)
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise ArtifactError(f"{folder} holds directions that contradict themselves; nnvalue did not write it.")
        return cls(place, values, **{name: tensors[name] for name in _TENSORS}, config=config)


_TENSORS = ("difference", "norm", "weights", "bias", "accuracy")


def learn_directions(
    subject: Subject,
    found: ValueNeurons,
    values: Sequence[str] | None = None,
    *,
    place: str = "residual",
    batch_tokens: int = 8192,
    progress: Progress = silent,
) -> ValueDirections:
    """Learn directions from the responses that a result was located on: one teacher-forced pass, nothing is generated.

    Responses of the model under descriptions give *prompted* directions, a result of `--responses dataset` *intrinsic*
    ones, where nobody was described (Dual Mechanisms, arXiv 2509.24319); `split_directions` parts the two.

    Args:
        found: a result with its responses; of the same model.
        values: of the result's; None for all of them.
        place: `residual` or `mlp_out`.

    Raises ArtifactError for a result without responses, ModelError for one of another model, UnknownNameError for a
    value or place that does not exist.
    """
    if place not in PLACES:
        raise UnknownNameError("place of directions", place, PLACES)
    found.require_model(subject.identity())
    values = found.values if values is None else tuple(values)
    wanted = {member for value in values for member in _members(found, value)}
    table = [row for row in found.response_table() if not row["null"] and row["value"] in wanted]
    responses = [Response("", row["prompt_ids"], row["token_ids"], "", True) for row in table]
    means, squares = _gather(subject, responses, getattr(subject.anatomy, PLACES[place]), batch_tokens, progress)
    counts = torch.tensor([len(response.fed_ids) for response in responses], dtype=torch.float64)
    read = counts > 0
    learned: dict[str, list[Tensor]] = {name: [] for name in ("difference", "weights", "bias", "accuracy")}
    for value in values:
        members = _members(found, value)
        mine = read & torch.tensor([row["value"] in members for row in table])
        signs = torch.tensor([1.0 if row["pole"] == POLES[0] else -1.0 for row in table])[mine]
        folds = torch.tensor([row["fold"] for row in table])[mine]
        if not {-1.0, 1.0} <= set(signs.tolist()):
            raise InvalidInputError(f"The responses of '{value}' are not of both poles; a direction needs both.")
        _learn(learned, means[mine], signs, folds)
    norm = (squares[read].sum(0) / counts[read].sum()).sqrt().float()
    config = {
        "model": subject.identity(), "versions": library_versions(), "responses": len(table),
        "source": found.config["settings"]["responses"], "dataset": found.config["dataset"],
    }  # fmt: skip
    return ValueDirections(
        place, tuple(values), norm=norm, config=config,
        **{name: torch.stack(parts).float() for name, parts in learned.items()},
    )  # fmt: skip


def _members(found: ValueNeurons, value: str) -> list[str]:
    """The basic values that a value of a result is made of."""
    if value not in found.values:
        raise UnknownNameError("value", value, found.values, "(in this result)")
    return found.config["counts"][value].get("members", [value])


def _learn(learned: dict[str, list[Tensor]], means: Tensor, signs: Tensor, folds: Tensor) -> None:
    """Add one value's direction and probes; `means` is `[response, layer, hidden]`."""
    gap = means[signs > 0].double().mean(0) - means[signs < 0].double().mean(0)
    probes = [ridge_logistic(means[:, layer], signs) for layer in range(means.shape[1])]
    even = folds % 2 == 0
    halves = all({-1.0, 1.0} <= set(signs[half].tolist()) for half in (even, ~even))
    right = []
    for layer in range(means.shape[1]) if halves else ():
        probe = ridge_logistic(means[even, layer], signs[even])
        odds = means[~even, layer].double() @ probe.weights + probe.bias
        right.append(float(((odds > 0) == (signs[~even] > 0)).float().mean()))
    learned["difference"].append(gap)
    learned["weights"].append(torch.stack([probe.weights for probe in probes]))
    learned["bias"].append(torch.tensor([probe.bias for probe in probes]))
    learned["accuracy"].append(torch.tensor(right or [0.0] * means.shape[1]))


def _gather(
    subject: Subject, responses: Sequence[Response], sites: Sequence[str], batch_tokens: int, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Mean of each response over its fed tokens, float32 `[response, layer, hidden]`, and Σ|a|² of each layer."""
    plan = plan_batches([response_length(response) for response in responses], batch_tokens)
    hidden = subject.config.get_text_config().hidden_size
    means = torch.zeros(len(responses), len(sites), hidden)
    squares = torch.zeros(len(responses), len(sites), dtype=torch.float64)
    sizes = [len(rows) * max(response_length(responses[row]) for row in rows) for rows in plan]
    back = [4 * len(sites) * hidden * len(rows) for rows in plan]  # as large as what is sent, or larger
    loads = [Load(size, bytes=16 * size + size_back) for size, size_back in zip(sizes, back, strict=True)]

    def sums_of(bundle: Bundle, backend: Any) -> list[Tensor]:
        batches = [teacher_forced([responses[row] for row in plan[number]], subject.pad_id) for number in bundle]
        made = sums_of_batches(subject.model, sites, batches, backend)
        wanted = [(2, len(plan[number]), len(sites), hidden) for number in bundle]
        if not isinstance(made, list) or [tuple(part.shape) for part in made] != wanted:
            raise ResultError(f"{subject.runtime.name} delivered vectors of another form than was asked for.")
        return made

    done = 0
    progress(_STAGE, 0, len(plan))
    for bundle, made in subject.runtime.run(subject.runtime.bundles(loads), sums_of):
        for number, part in zip(bundle, made, strict=True):
            rows = plan[number]
            counted = torch.tensor([max(1, len(responses[row].fed_ids)) for row in rows])
            means[rows] = part[0] / counted.view(-1, 1, 1)
            squares[rows] = part[1].double().sum(-1)
        done += len(bundle)
        progress(_STAGE, done, len(plan))
    if not (means.isfinite().all() and squares.isfinite().all()):
        raise NumericalError(f"What stands at '{sites[0]}' holds NaN or infinity; try --dtype float32.")
    return means, squares


def sums_of_batches(
    model: Any, sites: Sequence[str], batches: Sequence[tuple[Tensor, ...]], backend: Any = None
) -> list[Tensor]:
    """Sum and sum of squares over the counted tokens of each row, in one session; float32 `[2, row, layer, hidden]`."""
    countdown = range(len(batches) - 1, -1, -1)
    with model.session(backend=backend):
        sums = []
        for left, (ids, attention, counted) in zip(countdown, batches, strict=True):
            with torch.no_grad(), model.trace(ids, attention_mask=attention, **LEAN) as tracer:
                part = collect_moments(model, sites, counted, torch.eye(len(ids)))[1:].to("cpu")
                if not left:
                    tracer.stop()
            sums.append(part)
        sums = nnsight.save(sums)
    return sums


def split_directions(
    intrinsic: ValueDirections, prompted: ValueDirections
) -> tuple[ValueDirections, ValueDirections, ValueDirections]:
    """What two kinds of directions share, and what either has alone (Dual Mechanisms, arXiv 2509.24319).

    With a and b the two differences of means of one value and layer: shared is the first left singular vector of
    [a, b], turned to go with a + b and as long as their mean length; alone are a − proj(a on b) and b − proj(b on a).

    Returns:
        Directions (shared, intrinsic alone, prompted alone) of the values that both have, without probes.

    Raises InvalidInputError where the two are of different places or have no value in common, ModelError where they are
    of different models.
    """
    require_same_model(intrinsic.config["model"], prompted.config["model"])
    common = tuple(value for value in intrinsic.values if value in prompted.values)
    alike = intrinsic.place == prompted.place and intrinsic.difference.shape[1:] == prompted.difference.shape[1:]
    if not alike or not common:
        raise InvalidInputError("Two kinds of directions of one place and a common value are expected.")
    a, b = (
        each.difference[[each.of(value) for value in common]].double() for each in (intrinsic, prompted)
    )  # [value, layer, hidden]
    axis = torch.linalg.svd(torch.stack((a, b), dim=-1), full_matrices=False)[0][..., 0]
    turn = torch.where(((a + b) * axis).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    length = (a.norm(dim=-1, keepdim=True) + b.norm(dim=-1, keepdim=True)) / 2
    kinds = {
        "shared": axis * turn * length,
        "intrinsic_alone": a - _projected(a, b),
        "prompted_alone": b - _projected(b, a),
    }
    shared, intrinsic_alone, prompted_alone = (
        ValueDirections(
            prompted.place, common, made.float(), prompted.norm, torch.zeros_like(made, dtype=torch.float32),
            torch.zeros(made.shape[:2]), torch.zeros(made.shape[:2]), {**prompted.config, "source": kind},
        )
        for kind, made in kinds.items()
    )  # fmt: skip
    return shared, intrinsic_alone, prompted_alone


def _projected(a: Tensor, on: Tensor) -> Tensor:
    return (a * on).sum(-1, keepdim=True) / on.square().sum(-1, keepdim=True).clamp(min=1e-30) * on
