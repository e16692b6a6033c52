"""Small results of every kind, made by hand without a model: what stands in a page can be counted here."""

from dataclasses import asdict, replace

import numpy as np

from nnvalue.causal import Setting, Survey, SurveyItem, fit_graph, unsteered
from nnvalue.evaluation import Arm, Design, Evaluation
from nnvalue.findings import ValueNeurons, build_table
from nnvalue.readout import ValueProfile
from nnvalue.sae.features import COLUMNS, MAPS, ValueFeatures
from nnvalue.values import load_framework
from tests.causal.simulated import random_dag, surveyed

SCHWARTZ = load_framework()
CIRCLE = SCHWARTZ.circle
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)></style></title></svg>]]>{{ 7*7 }}&lt;b&gt;'
VALUES = ("power", "benevolence", "tradition")
LAYERS, WIDTH = 4, 60
VERSIONS = {"nnvalue": "0.1.0", "torch": "2.13.0"}


def identity(name="toy/model", weights="w1"):
    return {
        "name": name, "family": "llama", "layers": LAYERS, "width": WIDTH, "dtype": "float32", "config_sha256": "c",
        "weights_sample_sha256": weights, "revision": None, "activation": "SiLU", "runs_on": {"host": "local"},
    }  # fmt: skip


def neurons(values=VALUES, model=None, null=True, framework="schwartz", seed=0):
    """Nine neurons a pole, three of which two values share; called where q < .05."""
    rng = np.random.default_rng(seed)
    shape = (len(values), LAYERS, WIDTH)
    maps = {
        name: rng.random(shape).astype(np.float32)
        for name in (
            "firing_positive",
            "firing_negative",
            "mean_positive",
            "mean_negative",
            "sd_positive",
            "sd_negative",
        )
    }
    maps |= {"score": rng.normal(size=shape).astype(np.float32), "effect_size": np.ones(shape, np.float32),
             "q": rng.random(shape).astype(np.float32)}  # fmt: skip
    maps["called"] = (maps["q"] < 0.05).astype(np.uint8)
    rows = []
    for place in range(len(values)):
        for pole in (1, -1):
            for number in range(9):
                layer, neuron = number % LAYERS, number if number < 3 else 10 * (place + 1) + number
                q = 0.001 * (number + 1)
                rows.append((place, pole, layer, neuron, pole * (1.0 - 0.1 * number), pole * 0.25, 0.5 + pole * 0.125,
                             0.5 - pole * 0.125, pole * 1.5, q, int(number < 6), 2.5))  # fmt: skip
    test = {"bar": 0.125, "delta_bar": 0.05, "q_alone": 3, "called": {"positive": 24, "negative": 12},
            "delta_beyond": {"0.1": 3, "0.03": 9}}  # fmt: skip
    counts = {
        value: {"situations": 12, "split_half_r": 0.9, "crossed": None, "significance": test if null else None,
                "tokens": {"positive": 100, "negative": 100}, "members": [value], "folds": 16}
        for value in values
    }  # fmt: skip
    config = {
        "model": model or identity(), "framework": {"name": framework, "sha256": "f"}, "versions": VERSIONS,
        "dataset": {"name": "by hand", "sha256": "d"}, "counts": counts,
        "settings": {"method": "prompt_difference", "site": "down_in", "tokens": "response", "responses": "model",
                     "texts": "both", "selection": {"rule": "TopK", "k": 0.0375}, "seed": 7, "source": "by hand",
                     "system_prompt": "{description}"},
        "between_values": {"values": list(values), "shared_share": 0.5, "circle": None},
    }  # fmt: skip
    return ValueNeurons(tuple(values), build_table(rows), maps, config)


DESIGN = Design(
    ("power", "benevolence"), (Arm("neurons", doses=(1, 2)), Arm("prompt", "prompt")), situations=4, others=2, pairs=0,
    held_out=2, random_sets=2, seed=3,
)  # fmt: skip
_NOTHING = {"control_of": None, "value": None, "pole": None, "dose": 0.0, "draw": 0}
_WOBBLE = (0.0, 0.05, 0.1, -0.15)


def _answer(situation, measured, stance, text, outcome="answered", **where):
    return {
        "arm": "unsteered", **_NOTHING, **where, "measured": measured, "situation": situation, "core": situation[:-1],
        "stance": stance, "outcome": outcome, "text": text, "tokens": 4, "log_perplexity": 1.0 + 0.1 * where.get(
            "dose", 0.0), "distinct_2": 0.9, "repeated_4": 0.0, "finished": True, "judge": "by hand", "parse": "",
    }  # fmt: skip


def evaluation(model=None, text="", framework=SCHWARTZ, values=DESIGN.values, judge="by hand", note=None, costs=True):
    """Neurons move their value by .25 a dose and the prompt by .6; random neurons by ±.02; one answer is broken."""
    situations = {value: [f"{value[:2]}-{number}a" for number in range(4)] for value in values}
    rows = [_answer(name, value, 0.1 * number - 0.2, f"plain {name} {text}")
            for value in values for number, name in enumerate(situations[value])]  # fmt: skip
    base = {row["situation"]: row["stance"] for row in rows}
    cells = [("neurons", 1.0, 0.25), ("neurons", 2.0, 0.5), ("prompt", 1.0, 0.6)]
    for arm, dose, moved in cells:
        for value in values:
            for pole, sign in (("positive", 1), ("negative", -1)):
                where = {"arm": arm, "value": value, "pole": pole, "dose": dose}
                for number, name in enumerate(situations[value]):
                    broken = arm == "neurons" and dose == 1.0 and number == 0
                    stance = 0.0 if broken else base[name] + sign * (moved + _WOBBLE[number])
                    said = f"{arm} {dose:g} {pole} {name} {text}"
                    rows.append(_answer(name, value, stance, said, "failed" if broken else "answered", **where))
                for other in values:
                    if other != value:
                        rows += [_answer(name, other, base[name] - 0.1 * sign, "other", **where)
                                 for name in situations[other][:2]]  # fmt: skip
                for draw in (0, 1) if arm == "neurons" else ():
                    control = {**where, "arm": "neurons, random neurons", "control_of": "neurons", "draw": draw}
                    rows += [
                        _answer(name, value, base[name] + 0.02 * (1 - 2 * draw), f"random {draw} {pole} {name} {text}",
                                **control)
                        for name in situations[value]
                    ]  # fmt: skip
    lost = [
        {"arm": arm, **_NOTHING, "value": value, "pole": pole, "dose": dose, "nll": 3.0, "difference": 0.1 * dose,
         "low": 0.0, "high": 0.3, "n": 4}
        for arm, dose, _ in cells for value in values for pole in ("positive", "negative")
    ] if costs else []  # fmt: skip
    design = {**DESIGN.as_json(), "values": list(values), "held_out": 2 if costs else 0}
    facts = {
        "design": design, "model": model or identity(), "dataset": {"name": "by hand", "sha256": "d"},
        "framework": asdict(framework), "judge": {"name": judge, "kind": "function"}, "versions": VERSIONS,
        "notes": [] if note is None else [note], "arms": {}, "conditions": 1, "does": "d",
    }  # fmt: skip
    return Evaluation(facts, rows, [], lost)


def graph(resamples=6, ways=2):
    """A graph of five values of the circle from a simulated survey; one edge is made one that seldom comes back."""
    drawn = surveyed(random_dag(np.random.default_rng(4), size=5, degree=3), roles=24, noise=0.6)
    called = dict(zip(drawn.values, CIRCLE[::2], strict=True))
    contexts = tuple(replace(one, value=called.get(one.value)) for one in drawn.contexts)
    table = replace(drawn, values=tuple(called.values()), contexts=contexts)
    made = fit_graph(table, "effects", resamples=resamples, ways=ways)
    i, j = np.argwhere(made.arrows)[0]
    seldom = made.edge_frequency.copy()
    seldom[i, j] = seldom[j, i] = 1 / 3
    return replace(made, edge_frequency=seldom)


def survey(model=None, roles=12, framework="schwartz", values=CIRCLE):
    """Answers that follow the circle with some noise; a setting that lifts the first value by a point."""
    rng = np.random.default_rng(1)
    angles = 2 * np.pi * np.arange(len(values)) / len(values)
    held = rng.normal(size=(roles, 2)) @ np.stack([np.cos(angles), np.sin(angles)]) + 0.3 * rng.normal(
        size=(roles, len(values))
    )
    lifted = held + np.eye(len(values))[0]
    items = tuple(
        SurveyItem(f"{value} {sign}", value, sign, value) for value in values for sign in (1, -1)
    )  # fmt: skip
    keyed = np.array([[1, -1]])
    scores = np.stack([
        (3.5 + (level[:, :, None] * keyed)).reshape(roles, -1, 1) for level in (held, lifted)
    ]).astype(np.float32)  # fmt: skip
    facts = {
        "scale": [1, 6], "protocol": {"name": "options"}, "model": model or identity(), "framework": framework,
        "dataset": {"name": "by hand", "sha256": "d"}, "seed": 5, "versions": VERSIONS,
    }  # fmt: skip
    settings = (unsteered(), Setting(f"prompt {values[0]} +", kind="prompt", value=values[0], pole="positive", dose=1))
    names = tuple(f"r{number}" for number in range(roles))
    return Survey(facts, tuple(values), settings, names, items, ("up",), scores, np.ones_like(scores))


def profile(model=None, voices=("neutral", "nurse"), framework="schwartz", values=CIRCLE):
    """Scores that rise around the circle."""
    scores = np.linspace(-1, 1, len(values)) * np.array([[1.0], [-1.0]])[: len(voices)]
    readout = {"kind": "scale", "steering": None, "seed": 3, "model": model or identity(), "versions": VERSIONS}
    return ValueProfile(
        readout, framework, tuple(voices), tuple(values), scores, scores - 0.2, scores + 0.2,
        np.full(scores.shape, 4), {"answered": 78, "refused": 1, "failed": 1},
    )  # fmt: skip


def features(model=None, values=("power", "tradition"), framework="schwartz"):
    """Three features a pole, the first of which tells its pole best."""
    rows = [
        (place, pole, 10 * place + number, pole * (3.0 - number), 0.5, 0.5 + pole * (0.4 - 0.1 * number), 1.0, 0.3, 0.1,
         0.01, 1, 2.0, np.nan)
        for place in range(len(values)) for pole in (1, -1) for number in range(3)
    ]  # fmt: skip
    cells = zip(*rows, strict=True)
    columns = {name: np.array(column, kind) for (name, kind), column in zip(COLUMNS.items(), cells, strict=True)}
    maps = {name: np.zeros((len(values), 40), np.float32) for name in MAPS}
    config = {"model": model or identity(), "framework": {"name": framework}, "versions": VERSIONS}
    return ValueFeatures(tuple(values), columns, maps, 1.0, config)


def fill(folder):
    """A folder with one result of every kind that has a chapter."""
    neurons().save(folder / "neurons")
    evaluation(text="", note="random control: refused in layer 3.").save(folder / "evaluation")
    graph().save(folder / "graph")
    survey().save(folder / "survey")
    profile().save(folder / "profile")
    features().save(folder / "features")
    return folder
