"""Value theory as data: frameworks, scoring, instruments' keys and people's figures. Knows nothing of models.

What needs numpy is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nnvalue.values.framework import POLES, SIGN, Facet, Framework, Group, Value, embedded_frameworks, load_framework

_HOME = {
    "HumanProfile": "human",
    "HumanSample": "human",
    "Instrument": "instruments",
    "Item": "scoring",
    "Scores": "scoring",
    "embedded_instruments": "instruments",
    "group_scores": "scoring",
    "human_profile19": "human",
    "human_reference": "human",
    "human_samples": "human",
    "load_instrument": "instruments",
    "recode_like_me": "scoring",
    "score": "scoring",
}

__all__ = [
    "POLES",
    "SIGN",
    "Facet",
    "Framework",
    "Group",
    "HumanProfile",
    "HumanSample",
    "Instrument",
    "Item",
    "Scores",
    "Value",
    "embedded_frameworks",
    "embedded_instruments",
    "group_scores",
    "human_profile19",
    "human_reference",
    "human_samples",
    "load_framework",
    "load_instrument",
    "recode_like_me",
    "score",
]

if TYPE_CHECKING:
    from nnvalue.values.human import HumanProfile, HumanSample, human_profile19, human_reference, human_samples
    from nnvalue.values.instruments import Instrument, embedded_instruments, load_instrument
    from nnvalue.values.scoring import Item, Scores, group_scores, recode_like_me, score


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nnvalue.values' has no attribute '{name}'")
    return getattr(import_module(f"nnvalue.values.{_HOME[name]}"), name)
