"""A writer of small grammar: what a language model might answer to the builder's requests, good items and bad."""

from __future__ import annotations

import json
import random
import re

FRAMEWORK = """
name: thrift_and_joy
title: Thrift and joy
values:
  - {name: thrift, gist: spending little, positive: keeps money together, negative: lets money go}
  - {name: joy, gist: delight in small things, positive: looks for fun, negative: keeps to duties}
"""
WHO = ("A baker", "A nurse", "A painter", "A teacher", "A farmer", "A driver", "A student", "A tailor", "A gardener")
PERSON = {
    "thrift": (
        ("mends {thing} at home and puts the money aside", "buys {thing} in town and lets the money go"),
        ("compares the price of {thing} in three shops", "takes the first {thing} that catches the eye"),
        ("shares {thing} with a friend to halve the cost", "orders {thing} alone at the full cost today"),
    ),
    "joy": (
        ("laughs aloud over {thing} on the way to work", "walks past {thing} quietly on the way to work"),
        ("sets an evening aside for {thing} every single week", "keeps every evening for bills and yet more forms"),
        ("dances around {thing} while the kettle is boiling", "cleans around {thing} while the kettle is boiling"),
    ),
}
VERBS = {
    "thrift": (("mends", "replaces"), ("reuses", "discards"), ("borrows", "buys")),
    "joy": (("celebrates", "inspects"), ("savours", "files"), ("enjoys", "counts")),
}
THINGS = (
    "a winter coat", "a garden chair", "an old radio", "a paper kite", "a blue bicycle", "a kitchen lamp",
    "a travel bag", "a wooden table", "a pair of boots", "a box of apples", "a glass jar", "a set of cups",
)  # fmt: skip
PLACES = (
    "at the market hall", "in the stairwell", "by the river path", "near the bus stop", "behind the library",
    "across from the bakery", "on the ferry deck", "under the station clock",
)  # fmt: skip
ENDS = ("What do you do about it?", "How do you answer her then?", "What do you tell them?", "How do you decide?")
FAULTS = (
    "She is brave and rightly proud of {thing}, as everybody in the whole street says again and again. What now?",
    "Too short?",
    "You see {thing} and think about it for a long while before you walk on along the road home.",
)


def said(body: dict) -> str:
    return body["messages"][-1]["content"]


def answer(prompt: str, seed: object, faulty: float = 0.15) -> str:
    """The answer to one of the builder's prompts, as JSON."""
    rng = random.Random(f"{prompt}/{seed}")
    value = "thrift" if prompt.startswith("Value: thrift") else "joy"
    count = int(re.search(r"Write (\d+)", prompt).group(1))
    task = prompt.split("\n\n")[1]
    items = [
        _pair(rng, value, "pairs of sentences" in task)
        if "pairs of" in task
        else {"text": _situation(rng, prompt, faulty)}
        for _ in range(count)
    ]
    return json.dumps({"items": items})


def _pair(rng: random.Random, value: str, sentence: bool) -> dict[str, str]:
    if sentence:
        who, verbs, rest = rng.choice(WHO), rng.choice(VERBS[value]), f"{rng.choice(THINGS)} {rng.choice(PLACES)}."
        return {pole: f"{who} {verb} {rest}" for pole, verb in zip(("positive", "negative"), verbs, strict=True)}
    start = f"{rng.choice(WHO)} {rng.choice(('from the coast', 'in the hills', 'of our town'))} who"
    positive, negative = (text.format(thing=rng.choice(THINGS)) for text in rng.choice(PERSON[value]))
    return {"positive": f"{start} {positive}.", "negative": f"{start} {negative}."}


def _situation(rng: random.Random, prompt: str, faulty: float) -> str:
    thing = rng.choice(THINGS)
    if rng.random() < faulty:
        return rng.choice(FAULTS).format(thing=thing)
    domain = re.search(r'domain "([^"]+)"', prompt).group(1)
    place, other = rng.sample(PLACES, 2)
    who = rng.choice(WHO).lower()
    return (
        f"{who.capitalize()} from your {domain} circle offers you {thing} {place} for {rng.randint(3, 900)} coins. "
        f"Your cousin waits {other} with {rng.choice(THINGS)}. {rng.choice(ENDS)}"
    )
