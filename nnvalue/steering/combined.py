"""Several steerings as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnvalue.errors import InvalidInputError
from nnvalue.models import Anatomy
from nnvalue.prompts import Prompt
from nnvalue.steering.prompts import PromptSteering
from nnvalue.steering_protocol import Edits, Steering, checked_dose, combine_edits

_COMMUTING = ("add", "scale")


@dataclass(frozen=True, eq=False)
class CombinedSteering:
    """Steerings that act together, prompts in their order.

    The dose multiplies the doses of the parts. Words have no degrees: theirs are said at every dose but 0, and below 0
    they are of the other pole where there is one.
    """

    parts: tuple[Steering, ...]
    dose: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose", checked_dose(self.dose))
        object.__setattr__(self, "parts", tuple(self.parts))
        self._acting()

    def _acting(self) -> Sequence[Steering]:
        return [_part_at(part, part.dose * self.dose) for part in self.parts]

    def at(self, dose: float) -> CombinedSteering:
        """The same at another dose. Raises InvalidInputError where a part has none of that kind."""
        return CombinedSteering(self.parts, dose)

    def speak(self, prompt: Prompt) -> Prompt:
        """The prompt as all parts change it; the first part's words stand first."""
        for part in reversed(self._acting()):
            prompt = part.speak(prompt)
        return prompt

    def edits(self, anatomy: Anatomy) -> Edits:
        """The edits of all parts. Raises InvalidInputError where they contradict each other on a neuron."""
        parts = [part.edits(anatomy) for part in self._acting()]
        made = combine_edits(parts, anatomy.forward_order())
        for site, here in made:
            _refuse_contradictions(site, here)
        return made

    def describe(self) -> dict[str, Any]:
        """What it is and does, as JSON data."""
        return {"kind": "combined", "dose": self.dose, "parts": [part.describe() for part in self._acting()]}

    def require_model(self, identity: Mapping[str, Any]) -> None:
        """Refuse a model that one of the parts was not made for. Raises ModelError."""
        for part in self.parts:
            part.require_model(identity)


def _part_at(part: Steering, dose: float) -> Steering:
    if isinstance(part, PromptSteering):
        dose = 0.0 if not dose else -1.0 if dose < 0 and part.back is not None else 1.0
    return part.at(dose)


def _refuse_contradictions(site: str, edits: Sequence[dict[str, Any]]) -> None:
    """Two additions to a neuron add up and two factors multiply; anything else depends on which comes first."""
    if len(edits) > 1 and any("probe" in edit for edit in edits):
        raise InvalidInputError(
            f"Contradictory edits: at {site} one steering follows a goal, and another one edits there too; leave one "
            "of them out, or give them other layers."
        )
    done: dict[int, str] = {}
    for edit in edits:
        if "neurons" not in edit:
            continue
        kinds = {
            "add": edit.get("add"), "scale": edit["scale"] - 1 if "scale" in edit else None,
            **{op: edit.get(f"{op}_share") for op in ("set", "cap", "floor", "clear")},
        }  # fmt: skip
        for kind, amounts in kinds.items():
            if amounts is None:
                continue
            for neuron in edit["neurons"][amounts[0] != 0].tolist():
                if neuron in done and (done[neuron] != kind or kind not in _COMMUTING):
                    raise InvalidInputError(
                        f"Contradictory edits: neuron {neuron} at {site} is edited by '{done[neuron]}' and by '{kind}' "
                        "of two steerings; leave one of them out."
                    )
                done[neuron] = kind
