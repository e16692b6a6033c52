"""A survey of six values with known answers, as `nnvalue survey` would save it."""

from dataclasses import replace

import numpy as np

from nnvalue.causal import Setting, Survey
from tests.causal.test_prediction import asked

SURVEYED = ("achievement", "power", "security", "tradition", "benevolence", "universalism")


def known_survey():
    """A survey with known answers, whose settings are descriptions: asking ten roles would take too long."""
    done = asked()
    names = dict(zip(done.values, SURVEYED, strict=True))
    said = {"positive": "holds", "negative": "lacks"}
    settings = [done.settings[0]]
    for one in done.settings[1:]:
        value = names[one.value]
        words = (f"Somebody who {said[one.pole]} {value}.",)
        settings.append(Setting(f"prompt {value} {one.pole}", None, words, "prompt", value, one.pole, 1.0))
    items = tuple(replace(item, value=names[item.value]) for item in done.items)
    facts = {**done.facts, "roles": {name: f"{name}, who is somebody." for name in done.roles}}
    return Survey(
        facts, SURVEYED, tuple(settings), done.roles, items, done.orders, done.scores, np.ones_like(done.scores)
    )  # fmt: skip
