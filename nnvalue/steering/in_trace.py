"""What steerings share that act inside the trace alone and belong to one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self, cast

from nnvalue.findings import require_same_model
from nnvalue.prompts import Prompt


class InTrace:
    """A base of frozen dataclasses with the fields `dose` and `model` (an identity; None fits any model)."""

    dose: float
    model: Mapping[str, Any] | None

    def at(self, dose: float) -> Self:
        """The same at another dose. Raises InvalidInputError where there is none of that kind."""
        this: Any = self  # a dataclass in every subclass
        return cast("Self", replace(this, dose=dose))

    def speak(self, prompt: Prompt) -> Prompt:
        """The prompt as it is."""
        return prompt

    def require_model(self, identity: Mapping[str, Any]) -> None:
        """Refuse another model than the one it was made for. Raises ModelError."""
        if self.model is not None:
            require_same_model(self.model, identity)
