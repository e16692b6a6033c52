"""What the modes compile to, against formulas worked by hand on a result of a few neurons."""

import numpy as np
import pytest
import torch

from nnvalue.errors import InvalidInputError
from nnvalue.findings import ValueNeurons, build_table
from nnvalue.models import Anatomy, generate_responses
from nnvalue.steering import NeuronSteering, matched_random, neuron_steering
from nnvalue.traces import apply_edits
from tests import tiny
from tests.steering import plain

LAYERS, WIDTH = 3, 8
ROWS = [
    # value, pole, layer, neuron, score, delta, p+, p-, d, q, called, q95
    (0, 1, 0, 3, 0.9, 0.30, 0.75, 0.45, 1.0, 0.25, 1, 2.0),
    (0, 1, 2, 1, 0.5, 0.15, 0.50, 0.35, 0.5, 0.25, 0, 1.0),
    (0, 1, 2, 4, 0.2, -0.05, 0.20, 0.25, 0.5, 0.25, 0, 0.5),
    (0, -1, 2, 7, -0.8, -0.45, 0.25, 0.70, -2.0, 0.25, 1, 3.0),
    (0, -1, 1, 6, -0.4, 0.00, 0.30, 0.30, -1.0, 0.25, 0, 4.0),
    (1, 1, 1, 0, 0.7, 0.20, 0.60, 0.40, 1.0, 0.25, 0, 6.0),
]
PLUS, MINUS = [(0, 3), (2, 1), (2, 4)], [(1, 6), (2, 7)]  # in the order in which they are compiled
# f(δ) = 1/(1 + exp(−10 (|δ| − .15))) at .30, .15, .05 and at .45, 0, to six digits
F = {(0, 3): 0.817574, (2, 1): 0.5, (2, 4): 0.268941, (2, 7): 0.952574, (1, 6): 0.182426}
Q95 = {(0, 3): 2.0, (2, 1): 1.0, (2, 4): 0.5, (2, 7): 3.0, (1, 6): 4.0}
RATE = {(0, 3): 0.75, (2, 1): 0.50, (2, 4): 0.20, (2, 7): 0.70, (1, 6): 0.30}  # under their own pole
MEAN = {  # under the positive and the negative pole
    (0, 3): (1.5, 0.25), (2, 1): (0.5, 0.75), (2, 4): (-0.5, -1.0), (2, 7): (0.25, 2.0), (1, 6): (1.0, 1.25),
}  # fmt: skip
SD = {(0, 3): (0.5, 9), (2, 1): (0.25, 9), (2, 4): (1, 9), (2, 7): (9, 0.5), (1, 6): (9, 0.125)}
ANATOMY = Anatomy(
    "toy", LAYERS, WIDTH, "SiLU",
    *(tuple(f"{part}{n}" for n in range(LAYERS)) for part in ("act", "in", "out", "block")),
)  # fmt: skip


IDENTITY = {"name": "toy", "family": "toy", "layers": LAYERS, "width": WIDTH, "dtype": "float32", "config_sha256": "c",
            "weights_sample_sha256": "w"}  # fmt: skip


@pytest.fixture
def found():
    return hand_made("down_in")


def hand_made(site, method="prompt_difference"):
    maps = {name: np.zeros((2, LAYERS, WIDTH), np.float32) for name in ("score", "effect_size", "q")}
    for number, pole in enumerate(("positive", "negative")):
        for name, cells in (("mean", MEAN), ("sd", SD)):
            maps[f"{name}_{pole}"] = np.full((2, LAYERS, WIDTH), 99, np.float32)
            for (layer, neuron), cell in cells.items():
                maps[f"{name}_{pole}"][0, layer, neuron] = cell[number]
        maps[f"firing_{pole}"] = np.zeros((2, LAYERS, WIDTH), np.float32)
    maps["called"] = np.zeros((2, LAYERS, WIDTH), np.uint8)
    config = {"model": IDENTITY, "settings": {"site": site, "method": method}}
    return ValueNeurons(("power", "tradition"), build_table(ROWS), maps, config)


def compiled(steering, anatomy=ANATOMY):
    """{(site, neuron): {name: amount}}, of amounts that do something."""
    cells = {}
    for site, edits in steering.edits(anatomy):
        assert len(edits) == 1  # one tensor set a layer
        for place, neuron in enumerate(edits[0]["neurons"].tolist()):
            amounts = {name: given for name, given in edits[0].items() if torch.is_tensor(given) and given.dim() == 2}
            cells[site, neuron] = {name: given[0, place].item() for name, given in amounts.items()}
    return {key: acting(amounts) for key, amounts in cells.items()}


def acting(amounts):
    """Without what leaves an activation as it is."""
    kept = dict(amounts)
    if kept.get("add") == 0:
        kept.pop("add")
    for op in ("set", "cap", "floor", "clear"):
        if kept.get(f"{op}_share") == 0:
            for name in (f"{op}_share", op, *(("low", "high") if op == "clear" else ())):
                kept.pop(name, None)
    return kept


def approx(cells, site="in"):
    """Six digits; a site is named by its layer's `down_in` here."""
    return {(f"{site}{layer}", neuron): pytest.approx(amounts, abs=1e-5) for (layer, neuron), amounts in cells.items()}


@pytest.mark.parametrize("dose", [1.0, 0.25, 2.5])
@pytest.mark.parametrize(("mode", "size"), [("npti", Q95), ("valuelocate", RATE)])
def test_pushed_and_capped(found, mode, size, dose):
    """+ gets a + d · size · f(δ), − a cap at 0 by the share min(d, 1)."""
    pushed = {at: {"add": dose * size[at] * F[at]} for at in PLUS}
    capped = {at: {"cap": 0.0, "cap_share": min(dose, 1.0)} for at in MINUS}
    assert compiled(neuron_steering(found, "power", mode=mode, dose=dose)) == approx(pushed | capped)
    part = {name: compiled(neuron_steering(found, "power", mode=mode, dose=dose, part=name)) for name in ("add", "cap")}
    assert part == {"add": approx(pushed), "cap": approx(capped)}


@pytest.mark.parametrize(("mode", "size"), [("npti", Q95), ("valuelocate", RATE)])
def test_the_negative_pole_pushes_its_own_neurons(found, mode, size):
    pushed = {at: {"add": size[at] * F[at]} for at in MINUS}
    capped = {at: {"cap": 0.0, "cap_share": 1.0} for at in PLUS}
    assert compiled(neuron_steering(found, "power", "negative", mode=mode)) == approx(pushed | capped)


def test_the_published_weights(found):
    """f(0) = .182, f(.15) = .5, f(.30) = .818, of |δ|: read off the amounts of neurons with q95 of 1 or so."""
    both = compiled(neuron_steering(found, "power", mode="npti", part="add"))
    both |= compiled(neuron_steering(found, "power", "negative", mode="npti", part="add"))
    weight = {key: both[key]["add"] / q95 for key, q95 in {("in1", 6): 4.0, ("in2", 1): 1.0, ("in0", 3): 2.0}.items()}
    assert [round(each, 3) for each in weight.values()] == [0.182, 0.5, 0.818]
    assert both["in2", 4]["add"] == pytest.approx(0.5 / (1 + np.exp(-10 * (0.05 - 0.15))), abs=1e-6)  # δ = −.05


def test_effect_adds_the_difference_of_means_to_either_pole(found):
    """Mean under the positive pole − mean under the negative one, of all neurons alike."""
    gap = {at: {"add": 0.5 * (MEAN[at][0] - MEAN[at][1])} for at in PLUS + MINUS}
    assert compiled(neuron_steering(found, "power", mode="effect", dose=0.5)) == approx(gap)
    assert gap[2, 7] == {"add": -0.875}
    away = {at: {"add": -2 * amounts["add"]} for at, amounts in gap.items()}
    assert compiled(neuron_steering(found, "power", "negative", mode="effect")) == approx(away)


def test_gain_multiplies_the_neurons_of_the_pole(found):
    assert compiled(neuron_steering(found, "power", mode="gain", factor=3, dose=0.5)) == approx(
        {at: {"scale": 2.0} for at in PLUS}
    )
    assert compiled(neuron_steering(found, "power", "negative", mode="gain")) == approx(
        {at: {"scale": 2.0} for at in MINUS}
    )


def test_ablate_sets_the_neurons_of_the_other_pole_to_0(found):
    for pole, others in (("positive", MINUS), ("negative", PLUS)):
        made = compiled(neuron_steering(found, "power", pole, mode="ablate", dose=0.75))
        assert made == approx({at: {"set": 0.0, "set_share": 0.75} for at in others})


def test_clamp_range_clears_the_other_poles_neurons_within_two_sds_of_their_own_mean(found):
    made = compiled(neuron_steering(found, "power", mode="clamp_range", dose=0.5))
    assert made == approx(
        {
            (2, 7): {"low": 1.0, "high": 3.0, "clear_share": 0.5},  # 2 ± 2 · .5
            (1, 6): {"low": 1.0, "high": 1.5, "clear_share": 0.5},  # 1.25 ± 2 · .125
        }
    )
    made = compiled(neuron_steering(found, "power", "negative", mode="clamp_range"))
    assert made == approx(
        {
            (0, 3): {"low": 0.5, "high": 2.5, "clear_share": 1.0},
            (2, 1): {"low": 0.0, "high": 1.0, "clear_share": 1.0},
            (2, 4): {"low": -2.5, "high": 1.5, "clear_share": 1.0},
        }
    )


@pytest.mark.parametrize("mode", ["npti", "valuelocate", "effect", "gain", "ablate", "clamp_range"])
def test_a_negative_dose_exchanges_the_poles_and_0_is_nothing(found, mode):
    towards, away = (neuron_steering(found, "power", pole, mode=mode, dose=0.7) for pole in ("positive", "negative"))
    assert compiled(towards.at(-0.7)) == compiled(away)
    assert compiled(away.at(-0.7)) == compiled(towards)
    assert compiled(towards) != compiled(away)
    assert towards.at(0).edits(ANATOMY) == towards.at(-0.0).edits(ANATOMY) == []
    assert towards.at(0).at(0.7).describe() == towards.describe()  # nothing is forgotten on the way


def test_as_published_caps_act_fully_at_any_dose_and_only_beside_additions():
    """Layer 1 has a neuron of − and none of +: NPTI's public code leaves it alone. Coins are kept with .9."""
    found = hand_made("gate", "firing_difference")
    steering = neuron_steering(found, "power", mode="npti", dose=0.25, as_published=True)
    pushed = {at: {"add": 0.25 * Q95[at] * F[at]} for at in PLUS}
    assert compiled(steering) == approx(pushed | {(2, 7): {"cap": 0.0, "cap_share": 1.0}}, "act")
    assert steering.scope == "decode"
    assert {edit[0].get("keep") for _, edit in steering.edits(ANATOMY)} == {0.9}
    assert neuron_steering(found, "power", mode="npti", as_published=True, keep=0.5).keep == 0.5
    assert compiled(steering.at(-0.25))["act2", 1] == {"cap": 0.0, "cap_share": 1.0}
    assert steering.at(0).edits(ANATOMY) == []
    assert neuron_steering(found, "power", mode="npti").keep == 1


def test_the_coins_of_keep_are_seeded_alike_for_all_rows_and_new_at_each_step(found):
    every = [("add", 0, n, 1.0) for n in range(tiny.WIDTH)]
    steering, subject = NeuronSteering.from_edits(every, keep=0.9, seed=3), plain.subject("llama")
    ids, mask = plain.batch(subject, plain.prompts(3))

    def kept(steering):
        """Which additions were made, `[step, row, neuron]`."""
        return torch.stack([added(subject, ids, mask, steering, step) for step in range(60)]) > 0.5

    coins = kept(steering)
    assert (coins == coins[:, :1]).all()
    assert torch.equal(coins, kept(steering.at(1)))
    share = float(coins[:, 0].float().mean())
    assert abs(share - 0.9) < 4 * (0.9 * 0.1 / (60 * tiny.WIDTH)) ** 0.5
    assert len({tuple(step.tolist()) for step in coins[:, 0]}) > 50
    assert not torch.equal(coins, kept(NeuronSteering.from_edits(every, keep=0.9, seed=4)))


def added(subject, ids, mask, steering, step):
    """What an edit adds at the last position at a step, `[row, neuron]`, on a bare tensor in the model's place."""
    edits = steering.edits(subject.anatomy)
    activation = torch.zeros(len(ids), 1 if step else ids.shape[1], tiny.WIDTH)
    apply_edits(Bare(activation), edits, mask, step)
    return activation[:, -1]


class Bare:
    """Stands in for a traced model that has one activation."""

    def __init__(self, activation):
        self.activation = activation

    def get(self, module):
        return self

    def __getattr__(self, end):
        return self.activation


def test_layers_have_coins_of_their_own():
    steering = NeuronSteering.from_edits([("add", layer, n, 1.0) for layer in (0, 1) for n in range(40)], keep=0.5)
    subject = plain.subject("llama")
    drawn = []
    for site, edits in steering.edits(subject.anatomy):
        activation = torch.zeros(1, 1, tiny.WIDTH)
        apply_edits(Bare(activation), [(site, edits)], torch.ones(1, 1), 1)
        drawn.append(activation)
    assert not torch.equal(*drawn)


def test_generation_with_coins_is_the_same_again_in_any_batch():
    subject, asked = plain.subject("llama"), plain.prompts(6)
    rows = [("set", 1, n, 3.0) for n in range(8)] + [("add", 0, n, 5.0) for n in range(0, 40, 2)]
    steering = NeuronSteering.from_edits(rows, keep=0.5, seed=1)
    settings = {"steering": steering, "max_new_tokens": 12}
    whole = generate_responses(subject, asked, **settings)
    assert generate_responses(subject, asked, **settings, batch_tokens=40) == whole
    other = NeuronSteering.from_edits(rows, keep=0.5, seed=2)
    assert generate_responses(subject, asked, steering=other, max_new_tokens=12) != whole


@pytest.mark.parametrize(("top", "kept"), [(1, [1, 1]), (2, [2, 2]), (0.05, [1, 1]), (0.1, [2, 2]), (0.9, [3, 2])])
def test_top_takes_the_strongest_of_each_pole(found, top, kept):
    """Of 24 neurons .05 are one and .1 two; the table has them strongest first."""
    steering = neuron_steering(found, "power", mode="npti", top=top)
    strongest = {"add": [(0, 3), (2, 1), (2, 4)][: kept[0]], "cap": [(2, 7), (1, 6)][: kept[1]]}
    for part, expected in strongest.items():
        made = compiled(neuron_steering(found, "power", mode="npti", top=top, part=part))
        assert set(made) == {(f"in{layer}", neuron) for layer, neuron in expected}
    assert steering.describe()["neurons"] == sum(kept)
    assert len(steering.at(-1).edits(ANATOMY)) > 0


def test_neurons_are_edited_where_they_were_read():
    assert {site for site, _ in compiled(neuron_steering(hand_made("gate"), "power"))} == {"act0", "act1", "act2"}
    assert {site for site, _ in compiled(neuron_steering(hand_made("down_in"), "power"))} == {"in0", "in1", "in2"}
    moved = neuron_steering(hand_made("down_in"), "power", mode="ablate", site="gate")
    assert {site for site, _ in compiled(moved)} == {"act1", "act2"}
    for mode in ("npti", "valuelocate", "effect", "clamp_range"):
        with pytest.raises(InvalidInputError, match=f"'{mode}' edits by activations at 'down_in'"):
            neuron_steering(hand_made("down_in"), "power", mode=mode, site="gate")


def test_a_value_without_neurons_of_a_pole_is_refused(found):
    with pytest.raises(InvalidInputError, match="'tradition' has no neurons of its negative pole here"):
        neuron_steering(found, "tradition", mode="ablate")


def test_scope_is_written_into_the_edits(found):
    for scope in ("decode", "all", [[0, 3], [5, None]]):
        made = neuron_steering(found, "power", scope=scope)
        assert {str(edit["scope"]) for _, (edit,) in made.edits(ANATOMY)} == {str(scope)}
        assert made.describe()["scope"] == scope


# matched_random


WIDE = 40


def wide_set(seed=0):
    """Five edits of layer 0 and three of layer 2, all of different amounts, with a counterpart that shares neurons."""
    random = np.random.default_rng(seed)
    ops = ("add", "scale", "set", "cap", "floor", "add", "clear", "add")
    neurons = [*random.choice(WIDE, 5, replace=False), *random.choice(WIDE, 3, replace=False)]
    rows = [
        (op, 0 if place < 5 else 2, int(neuron), 1.0 + place, *((9.0,) if op == "clear" else ()))
        for place, (op, neuron) in enumerate(zip(ops, neurons, strict=True))
    ]
    forth, back = NeuronSteering.from_edits(rows), NeuronSteering.from_edits([("add", 0, rows[0][2], -7.0)])
    return NeuronSteering(forth.forth, back.forth, dose=0.5, scope="all", keep=0.9, seed=4, about={"value": "power"})


def cells(recipe):
    """(layer, op, amount, high) of every edit, without the neuron."""
    return sorted(zip(*(getattr(recipe, name).tolist() for name in ("layer", "op", "amount", "high")), strict=True))


def places(*recipes):
    return {pair for recipe in recipes for pair in zip(recipe.layer.tolist(), recipe.neuron.tolist(), strict=True)}


def test_the_matched_control_has_the_same_amounts_in_the_same_layers_at_other_neurons():
    steering = wide_set()
    control = matched_random(steering, WIDE, seed=1)
    assert cells(control.forth) == cells(steering.forth)
    assert cells(control.back) == cells(steering.back)
    assert not places(control.forth, control.back) & places(steering.forth, steering.back)
    assert len(places(control.forth)) == 8
    assert places(control.back) <= places(control.forth)  # one neuron stands for one, in both directions
    for name in ("dose", "scope", "keep", "seed", "site", "full_caps"):
        assert getattr(control, name) == getattr(steering, name)
    assert control.describe()["control"] == "matched_random"


def test_the_matched_control_is_seeded_and_reaches_all_other_neurons():
    steering = wide_set()
    assert places(matched_random(steering, WIDE, 1).forth) == places(matched_random(steering, WIDE, 1).forth)
    drawn = [places(matched_random(steering, WIDE, seed).forth) for seed in range(60)]
    assert len({tuple(sorted(each)) for each in drawn}) == 60
    reached = set().union(*drawn)
    assert reached == {(layer, n) for layer in (0, 2) for n in range(WIDE)} - places(steering.forth)


def test_a_control_of_more_than_a_fifth_of_a_layer_is_refused():
    def of(count):
        return NeuronSteering.from_edits([("add", 1, n, 1.0) for n in range(count)])

    assert len(matched_random(of(8), WIDE).forth) == 8
    with pytest.raises(InvalidInputError, match=r"9 of the 40 neurons of layer 1 \(22%\).*fewer \(top\)"):
        matched_random(of(9), WIDE)
    both = NeuronSteering(of(5).forth, NeuronSteering.from_edits([("cap", 1, n, 0.0) for n in range(10, 15)]).forth)
    with pytest.raises(InvalidInputError, match="10 of the 40 neurons of layer 1"):
        matched_random(both, WIDE)
