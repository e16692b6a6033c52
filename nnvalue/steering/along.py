"""Steering along a direction: it is added, or followed as far as a probe says is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnvalue.errors import InvalidInputError, ModelError, UnknownNameError
from nnvalue.models import Anatomy
from nnvalue.steering.directions import PLACES, ValueDirections
from nnvalue.steering.in_trace import InTrace
from nnvalue.steering_protocol import Edits, checked_dose, checked_scope
from nnvalue.values import POLES

_SURE_ENOUGH = 0.9  # ConVA takes layers whose probe is right more often than this on texts it has not seen


@dataclass(frozen=True, eq=False)
class DirectionSteering(InTrace):
    """A direction in each of some layers; a dose below 0 goes the other way.

    place: `residual` or `mlp_out`.
    layers: numbers of the layers.
    vectors: float32 `[layer, hidden]`. Without a goal, what a dose of 1 adds; with a goal, a probe's weights.
    bias: float32 `[layer]`, of the probe; None without a goal.
    goal: the probability that the probe shall see at a dose of 1: the activation is moved by the dose's share of the
        smallest shift after which it does, and not at all where it is reached already (ConVA, arXiv 2507.11316). A
        dose below 0 does so for the other pole. ConVA moreover edits only where a detector says that the prompt is
        about values, and leaves out the last five layers; here there is no such detector, and `layers` are yours.
    """

    place: str
    layers: tuple[int, ...]
    vectors: Tensor
    bias: Tensor | None = None
    goal: float | None = None
    dose: float = 1.0
    scope: Any = "answer"
    model: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose", checked_dose(self.dose))
        object.__setattr__(self, "scope", checked_scope(self.scope))
        object.__setattr__(self, "layers", tuple(map(int, self.layers)))  # numpy's do not go into JSON
        if self.place not in PLACES:
            raise UnknownNameError("place of directions", self.place, PLACES)
        sound = self.vectors.dim() == 2 and len(self.vectors) == len(self.layers) and self.vectors.isfinite().all()
        if not sound or not self.layers or len(set(self.layers)) != len(self.layers):
            raise InvalidInputError("A finite vector of each layer is expected, and every layer once.")
        if (self.goal is None) != (self.bias is None) or not (self.goal is None or 0 < self.goal < 1):
            raise InvalidInputError(f"The goal is a probability between 0 and 1 and needs a probe, {self.goal} given.")
        if self.bias is not None and not (self.bias.shape == self.vectors.shape[:1] and self.bias.isfinite().all()):
            raise InvalidInputError("A probe needs a finite bias for each layer.")

    def edits(self, anatomy: Anatomy) -> Edits:
        """Compiled edits; none at dose 0. Raises ModelError for a layer that the model lacks."""
        if not self.dose:
            return []
        if anatomy.hidden not in (None, self.vectors.shape[1]):
            raise ModelError(
                f"A direction has {self.vectors.shape[1]} entries, and this model's residual stream has "
                f"{anatomy.hidden}; learn one in the model at hand."
            )
        made = []
        for number in sorted(range(len(self.layers)), key=lambda number: self.layers[number]):
            layer = self.layers[number]
            if not 0 <= layer < anatomy.layers:
                raise ModelError(f"A direction is at layer {layer}, and this model has {anatomy.layers}, from 0.")
            edit = self._edit(number) | ({} if self.scope == "answer" else {"scope": self.scope})
            made.append((getattr(anatomy, PLACES[self.place])[layer], [edit]))
        return made

    def _edit(self, number: int) -> dict[str, Any]:
        vector = self.vectors[number : number + 1].float()
        if self.goal is None or self.bias is None:
            return {"add": self.dose * vector}
        sign = 1.0 if self.dose > 0 else -1.0
        logit = torch.logit(torch.tensor([[self.goal]], dtype=torch.float32))
        bias = self.bias[number].float().view(1, 1)
        return {
            "probe": sign * vector, "bias": sign * bias, "logit": logit, "reach": torch.tensor([[abs(self.dose)]])
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """What it is and does, as JSON data."""
        goal = {} if self.goal is None else {"goal": self.goal}
        return {
            **self.about, "kind": "direction", "place": self.place, "layers": list(self.layers), **goal,
            "dose": self.dose, "scope": self.scope,
        }  # fmt: skip

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Settings and tensors that it can be made of again."""
        names = ("place", "goal", "dose", "scope", "model", "about")
        settings = {**{name: getattr(self, name) for name in names}, "layers": list(self.layers)}
        return settings, {"vectors": self.vectors} | ({} if self.bias is None else {"bias": self.bias})

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> DirectionSteering:
        """The inverse of `state`."""
        return cls(vectors=tensors["vectors"], bias=tensors.get("bias"), **settings)


def direction_steering(
    directions: ValueDirections,
    value: str,
    pole: str = "positive",
    *,
    dose: float = 1.0,
    layers: Sequence[int] | None = None,
    goal: float | None = None,
    scope: Any = "answer",
) -> DirectionSteering:
    """A steering towards one pole of a value along its direction; a dose below 0 goes towards the other pole.

    Without a goal a dose of 1 adds the direction at the length of what stands there on average (`directions.norm`), so
    doses compare between layers and models.

    Args:
        layers: numbers of layers; None for the middle one, or with a goal for all whose probe is right in more than
            .9 of the responses that it was not fitted to.
        goal: a probability that the probe shall see, e.g. .99; then a dose of 1 moves the smallest way there.

    Raises UnknownNameError for a value or pole that does not exist, InvalidInputError where no layer will do.
    """
    if pole not in POLES:
        raise UnknownNameError("pole", pole, POLES)
    number, sign = directions.of(value), 1.0 if pole == POLES[0] else -1.0
    every = range(len(directions.norm))
    if goal is not None and not directions.weights[number].any():
        raise InvalidInputError("These directions have no probe, which a goal needs; leave the goal out.")
    if layers is None and goal is None:
        layers = [len(every) // 2]
    elif layers is None:
        accuracy = directions.accuracy[number]
        layers = [layer for layer in every if accuracy[layer] > _SURE_ENOUGH]
        if not layers:
            raise InvalidInputError(
                f"No layer tells the poles of '{value}' apart in more than {_SURE_ENOUGH:.0%} of the responses that it "
                f"was not fitted to (best {float(accuracy.max()):.0%}); name layers yourself, or leave the goal out."
            )
    if wrong := [layer for layer in layers if layer not in every]:
        raise InvalidInputError(f"There is no layer {wrong[0]}; the model has {len(every)}, counted from 0.")
    chosen = list(layers)
    if goal is None:
        lengths = directions.difference[number, chosen].norm(dim=-1, keepdim=True).clamp(min=1e-30)
        vectors = directions.difference[number, chosen] / lengths * directions.norm[chosen].unsqueeze(-1)
        bias = None
    else:
        vectors, bias = directions.weights[number, chosen], sign * directions.bias[number, chosen]
    about = {"value": value, "pole": pole, "source": directions.config["source"]}
    return DirectionSteering(
        directions.place, tuple(chosen), sign * vectors, bias, goal, dose, scope, directions.config["model"], about
    )
