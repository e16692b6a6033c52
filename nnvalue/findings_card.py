"""The README that a saved `ValueNeurons` carries: what it is, how it was made, how to open it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnvalue.findings import ValueNeurons

TOKENS_IN_WORDS = {
    "response": "the response tokens that decoding feeds to the model (tokens 1 … n−1 of n generated ones)",
    "last_prompt": "the last token of each prompt",
    "prompt": "all tokens of the prompts",
}
_TEXTS = {
    "dataset": "The dataset's pairs of sentences that differ in a value only were put after one same question, and "
    "nothing was generated. One teacher-forced pass then counted",
    True: "Every situation was answered greedily under a description of each pole. One teacher-forced pass over prompt "
    "and response then counted",
    "both": "Every situation was answered greedily under a description of each pole. A teacher-forced pass read either "
    "answer under both descriptions, so that the poles differ in the prompt alone. It counted",
    False: "Every situation was put to the model under a description of each pole, and nothing was generated. What "
    "counts are",
}
_TEMPLATE = """\
---
library_name: nnvalue
tags: [neurons, values, interpretability]
---
# Value neurons of {model[name]}

{count} value neurons for {n_values} values of the framework `{framework[name]}`, found with nnvalue \
{versions[nnvalue]}.

| value | positive | negative | situations | counted tokens (+ / −) | split-half r of the score | A/A bar | called |
|---|---|---|---|---|---|---|---|
{rows}

## How it was made
- Model: {model[name]}{revision}, {model[family]}, {model[layers]} layers of {model[width]} neurons, {model[dtype]}, \
activation {model[activation]}; config sha256 `{model[config_sha256]}`.
- Dataset: {dataset[name]}, sha256 `{dataset[sha256]}`.
- {texts} {tokens}, read at the site `{settings[site]}`.
- Score: `{settings[method]}` ({source}). Selected by {selection}.
- δ = p(+) − p(−): how much more often a neuron fires (activation > 0) on these tokens under the positive pole.
- `q95` is a neuron's exact 95th percentile over the tokens of its pole's own answers; `effect_size` is Cohen's d over \
tokens. Tokens are not independent: do not read it as a test.
- Seed {settings[seed]}; libraries: {libraries}. All settings stand in `config.json`.

A fixed share or threshold always selects something. Read the split-half r beside the neurons: it says how much of \
the map of scores comes back with other situations and other descriptions. `q` is the false discovery rate at which a \
neuron's difference passes a paired test over folds; a neuron is called if q < .05 and its |score| lies above the A/A \
bar, the 95 % quantile of what the same pipeline finds between two halves of one pole's descriptions.

{significance}

{between}

## How to open it
```python
from nnvalue import ValueNeurons
found = ValueNeurons.load("this folder")
found.top("{first}", "positive")
```
"""


def findings_card(found: ValueNeurons) -> str:
    """The text of the README."""
    config = found.config
    rows = []
    for value in found.values:
        facts = config["counts"][value]
        sizes = [len(found.indices(value, pole)) for pole in ("positive", "negative")]
        r, null = facts["split_half_r"], facts["significance"]
        rows.append(
            f"| {value} | {sizes[0]} | {sizes[1]} | {facts['situations']} "
            f"| {facts['tokens']['positive']} / {facts['tokens']['negative']} | {'—' if r is None else f'{r:.2f}'} "
            f"| {'—' if null is None else format(null['bar'], '.3g')} "
            f"| {'—' if null is None else sum(null['called'].values())} |"
        )
    revision = config["model"]["revision"]
    return _TEMPLATE.format(
        **{name: config[name] for name in ("model", "dataset", "framework", "settings", "versions")},
        count=len(found),
        n_values=len(found.values),
        rows="\n".join(rows),
        revision=f" at revision `{revision}`" if revision else "",
        selection=describe_selection(config["settings"]["selection"]),
        source=config["settings"]["source"],
        texts=_TEXTS[_kind_of_texts(config["settings"])],
        tokens=TOKENS_IN_WORDS[config["settings"]["tokens"]],
        significance="\n".join(significance_in_words(found)),
        between="\n".join((*crossed_in_words(found), *between_values_in_words(found))),
        libraries=", ".join(f"{name} {version}" for name, version in sorted(config["versions"].items())),
        first=found.values[0],
    )


def _kind_of_texts(settings: Mapping[str, Any]) -> str | bool:
    if settings["responses"] == "dataset":
        return "dataset"
    return "both" if settings.get("texts") == "both" else settings["tokens"] == "response"


def significance_in_words(found: ValueNeurons) -> list[str]:
    """What test and null say of the neurons as a whole, one sentence each; the first says so if there were none."""
    nulls = {value: found.config["counts"][value]["significance"] for value in found.values}
    if None in nulls.values():
        return ["No neuron is called: the A/A null was not run, or the method has no test."]
    total = found.layers * found.width * len(nulls)
    called = sum(sum(null["called"].values()) for null in nulls.values())
    beyond = {
        bound: sum(null["delta_beyond"][bound] for null in nulls.values())
        for bound in sorted(next(iter(nulls.values()))["delta_beyond"])
    }
    sentence = (
        f"Called beyond wording (q < .05 and |score| above the A/A bar): {called:,} of {total:,} "
        f"({called / total:.1%}), {int(found.columns['called'].sum()):,} of the {len(found):,} selected"
    )
    # Fixed thresholds are for δ between each prompt's own responses.
    if found.config["settings"].get("texts") == "both":
        return [f"{sentence}."]
    fixed = " and ".join(f"{count:,} (|δ| ≥ {bound})" for bound, count in beyond.items())
    sentences = [f"{sentence}; fixed thresholds would take {fixed}."]
    for bound in beyond:
        inside = [value for value, null in nulls.items() if null["delta_bar"] > float(bound)]
        if inside:
            worst = max(nulls[value]["delta_bar"] for value in inside)
            sentences.append(
                f"A threshold of {bound} on |δ| lies inside noise for {len(inside)} of {len(nulls)} values: "
                f"texts of one pole differ by up to {worst:.3f} (95 % quantile)."
            )
    return sentences


def crossed_in_words(found: ValueNeurons) -> list[str]:
    """What of the scores comes with the prompt's state and what with the text; nothing if it was not asked."""
    facts = [found.config["counts"][value]["crossed"] for value in found.values]
    if None in facts:
        return []
    means = []
    for name in ("prompt_share", "text_share"):
        shares = [fact[name] for fact in facts if fact[name] is not None]
        if not shares:
            return []
        means.append(sum(shares) / len(shares))
    return [
        f"Of the selected neurons' score {means[0]:.0%} comes with the prompt (one text under both prompts) and "
        f"{means[1]:.0%} with the text (both texts under one prompt), in the mean over values."
    ]


def between_values_in_words(found: ValueNeurons) -> list[str]:
    """What the values have in common, and whether their likeness follows the circle; nothing for a single value."""
    between = found.config["between_values"]
    if between["shared_share"] is None:
        return []
    count = len(between["values"])
    sentences = [
        f"What all {count} values have in common carries {between['shared_share']:.0%} of the scores (by chance "
        f"{1 / count:.0%})."
    ]
    if circle := between["circle"]:
        sentences.append(
            f"Likeness of values against distance on the circle: r = {circle['r']:.2f}, p = {circle['p']:.4f} "
            f"(95 % of {circle['permutations']:,} random circles: {circle['low']:.2f} to {circle['high']:.2f})."
        )
    return sentences


def describe_selection(selection: Mapping[str, Any]) -> str:
    """A selection's settings in words."""
    if selection["rule"] == "TopK":
        k = selection["k"]
        return f"the top {k:.2%} of all neurons a pole" if k < 1 else f"the top {k:.0f} neurons a pole"
    floor = selection["floor"]
    first = f"{floor:.2%} of all neurons" if floor < 1 else f"{floor:.0f} neurons"
    return f"the published rule: the first {first} of a pole, then all with |δ| ≥ {selection['threshold']:g}"
