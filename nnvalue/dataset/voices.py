"""Who is asked: the frame around a description, a role, or a role under a description; and portraits put to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnvalue.dataset.roles import Role
from nnvalue.prompts import Prompt
from nnvalue.values.forms import AnswerForm

SYSTEM_PROMPT = "You are the following person, and you answer as this person would. {description}"
"""Frame around a description; NPTI and ValueLocate likewise ask the model to be the described person."""


def voice(role: Role | str | None = None, description: str | None = None, frame: str = SYSTEM_PROMPT) -> str | None:
    """The system turn for a role, a description, or a role under a description; None where there is neither."""
    parts = [role.text if isinstance(role, Role) else role, description]
    said = " ".join(part for part in parts if part)
    return frame.replace("{description}", said) if said else None


def portrait_prompt(portrait: Mapping[str, Any], form: AnswerForm, system: str | None = None) -> Prompt:
    """A portrait (a row of the dataset) put to somebody in one form and order."""
    return Prompt(f"{portrait['id']}/{form.name}/{form.order}", system, form.ask(portrait["text"]))
