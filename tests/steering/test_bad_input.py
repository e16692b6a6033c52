"""What cannot be meant is refused in one clear sentence."""

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from nnvalue.errors import InvalidInputError, ModelError, NnvalueError, UnknownNameError
from nnvalue.models import generate_responses, open_model
from nnvalue.models.decoding import next_token_logits
from nnvalue.steering import (
    CombinedSteering,
    DirectionSteering,
    NeuronSteering,
    PromptSteering,
    Recipe,
    Sampling,
    generate,
    neuron_steering,
    role_prompt,
    steered,
    value_prompt,
)
from nnvalue.traces import apply_edits
from tests import tiny
from tests.steering import plain
from tests.steering.test_modes import ANATOMY, Bare, hand_made

ONE = NeuronSteering.from_edits([("add", 1, 3, 2.0)])
SHARE = NeuronSteering.from_edits([("set", 1, 5, 2.0)])
DIRECTION = DirectionSteering("residual", (1,), torch.ones(1, 32))
WORDS = PromptSteering("You are kind.", "You are cruel.")
NAN = float("nan")


@contextmanager
def refused(error, match):
    with pytest.raises(error, match=match) as raised:
        yield
    told = str(raised.value)
    assert isinstance(raised.value, NnvalueError)
    assert "\n" not in told
    assert told.endswith((".", ")", "?"))
    assert len(told) < 320


@pytest.mark.parametrize("asked", ["generate", "logits", "edit"])
def test_neurons_and_directions_of_another_model_are_refused(asked):
    other = open_model(tiny.model("llama", rms_norm_eps=1e-3), tokenizer=tiny.tokenizer())
    seed = open_model(tiny.model("llama", seed=1), tokenizer=tiny.tokenizer())
    mine = open_model(tiny.model("llama"), tokenizer=tiny.tokenizer())
    for made_for, difference in ((other, "config_sha256"), (seed, "weights_sample_sha256")):
        identity = made_for.identity()
        neurons = NeuronSteering(ONE.forth, model=identity)
        direction = DirectionSteering("residual", (1,), torch.ones(1, 32), model=identity)
        for steering in (neurons, direction, CombinedSteering((WORDS.at(0), neurons))):
            with refused(ModelError, f"found in 'LlamaForCausalLM', not in .* {difference} differs"):
                use(asked, mine, steering)
            use(asked, made_for, steering)


def use(asked, subject, steering):
    prompts = plain.prompts(2)
    if asked == "generate":
        generate_responses(subject, prompts, steering=[None, steering], max_new_tokens=1)
    elif asked == "logits":
        next_token_logits(subject, prompts, steering=steering)
    else:
        with steered(subject, steering):
            pass


@pytest.mark.parametrize("asked", ["generate", "logits", "edit"])
def test_neurons_and_layers_that_a_model_lacks_are_refused(asked):
    subject = plain.subject("llama")
    for layer, neuron, told in ((1, 40, "neuron 40, and this model has 40"), (3, 0, "layer 3, and this model has 3"),
                                (-1, 0, "layer -1"), (0, -1, "neuron -1")):  # fmt: skip
        for steering in (far := NeuronSteering.from_edits([("add", 0, 1, 1.0), ("scale", layer, neuron, 0.0)]),
                         CombinedSteering((far, ONE))):  # fmt: skip
            with refused(ModelError, f"An edit is at {told}"):
                use(asked, subject, steering)
    for layer in (3, -1):
        with refused(ModelError, f"A direction is at layer {layer}, and this model has 3"):
            use(asked, subject, DirectionSteering("mlp_out", (layer,), torch.ones(1, 32)))
    with refused(ModelError, "A direction has 16 entries, and this model's residual stream has 32"):
        use(asked, subject, DirectionSteering("residual", (1,), torch.ones(1, 16)))
    use(asked, subject, NeuronSteering.from_edits([("add", 2, 39, 1.0)]))


@pytest.mark.parametrize("steering", [ONE, DIRECTION, WORDS, CombinedSteering((ONE,))], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dose", [NAN, math.inf, -math.inf, 1e300, "1", None, True])
def test_a_dose_is_a_finite_number(steering, dose):
    with refused(InvalidInputError, "A dose is a finite number, .* given"):
        steering.at(dose)


@pytest.mark.parametrize("dose", [np.float64(0.5), np.float32(0.5), np.int64(1), 1])
def test_a_dose_may_be_a_number_of_numpy(dose):
    made = ONE.at(dose)
    assert (made.dose, type(made.dose)) == (float(dose), float)


def test_a_neuron_is_edited_once_in_a_list():
    with refused(InvalidInputError, "neuron 3 of layer 1 is edited 2 times"):
        NeuronSteering.from_edits([("add", 1, 3, 2.0), ("add", 0, 3, 2.0), ("scale", 1, 3, 0.0)])
    with refused(InvalidInputError, "neuron 3 of layer 1 is edited 3 times"):
        NeuronSteering.from_edits([("add", 1, 3, 2.0)] * 3)
    NeuronSteering.from_edits([("add", 1, 3, 2.0), ("add", 3, 1, 2.0)])


@pytest.mark.parametrize(
    ("one", "other"),
    [("set", "set"), ("add", "set"), ("cap", "add"), ("scale", "add"), ("clear", "floor"), ("cap", "cap")],
)
def test_parts_that_contradict_each_other_on_a_neuron_are_refused(one, other):
    def edit(op, neuron=3):
        return NeuronSteering.from_edits([(op, 1, neuron, 0.5, *((9.0,) if op == "clear" else ()))])

    both = CombinedSteering((edit(one), edit(other)))
    with refused(InvalidInputError, f"neuron 3 at in1 is edited by '{one}' and by '{other}' of two steerings"):
        both.edits(ANATOMY)
    with refused(InvalidInputError, "neuron 3 at in1"):
        CombinedSteering((CombinedSteering((edit(one),)), DIRECTION, edit(other))).edits(ANATOMY)
    assert both.at(0).edits(ANATOMY) == []
    CombinedSteering((edit(one), edit(other, neuron=4))).edits(ANATOMY)
    CombinedSteering((edit(one), edit(other).at(0))).edits(ANATOMY)
    other_site = NeuronSteering(edit(other).forth, site="gate")
    assert len(CombinedSteering((edit(one), other_site)).edits(ANATOMY)) == 2


def test_two_additions_add_up_and_two_factors_multiply():
    add = CombinedSteering((ONE, NeuronSteering.from_edits([("add", 1, 3, 0.5), ("add", 1, 4, 9.0)], dose=2)), dose=2)
    assert changed(add, 10.0)[2:6].tolist() == [10.0, 10.0 + 2 * 2.0 + 4 * 0.5, 10.0 + 4 * 9.0, 10.0]
    twice = NeuronSteering.from_edits([("scale", 1, 3, 3.0)])
    assert changed(CombinedSteering((twice, twice.at(0.5))), 10.0)[3] == 10.0 * 3.0 * 2.0


def changed(steering, value):
    """What an activation of one value at the last site of ANATOMY's layer 1 becomes, `[neuron]`."""
    activation = torch.full((1, 1, ANATOMY.width), value)
    apply_edits(Bare(activation), steering.edits(ANATOMY), torch.ones(1, 1), 1)
    return activation[0, 0]


def test_sites_places_and_ops_that_do_not_exist_are_refused():
    with refused(UnknownNameError, "no site of neurons 'down_inn'; did you mean down_in"):
        NeuronSteering.from_edits([], site="down_inn")
    with refused(UnknownNameError, "no place of directions 'mlp'"):
        DirectionSteering("mlp", (1,), torch.ones(1, 32))
    with refused(UnknownNameError, "no edit 'multiply'; choose from add, cap"):
        NeuronSteering.from_edits([("multiply", 1, 3, 2.0)])
    with refused(InvalidInputError, r"An edit 'clear' takes \(layer, neuron, low, high\)"):
        NeuronSteering.from_edits([("clear", 1, 3, 2.0)])
    with refused(InvalidInputError, r"An edit 'add' takes \(layer, neuron, amount\)"):
        NeuronSteering.from_edits([("add", 1, 3)])
    for row in ((), 3):
        with refused(UnknownNameError, "no edit"):
            NeuronSteering.from_edits([row])
    for row in (("add", "first", 3, 1.0), ("add", 1, 3, None), ("add", 1, 2.5, 1.0)):
        with refused(InvalidInputError, "Layer and neuron of an edit are whole numbers"):
            NeuronSteering.from_edits([row])
    with refused(InvalidInputError, "range of a 'clear' ends below its start"):
        NeuronSteering.from_edits([("clear", 1, 3, 2.0, 1.0)])


@pytest.mark.parametrize("amount", [NAN, math.inf])
def test_amounts_are_finite(amount):
    with refused(InvalidInputError, "An amount of an edit is NaN or infinite"):
        NeuronSteering.from_edits([("add", 1, 3, amount)])
    with refused(InvalidInputError, "An amount of an edit is NaN or infinite"):
        Recipe.of([("clear", 1, 3, 0.0, amount)])
    with refused(InvalidInputError, "A finite vector of each layer"):
        DirectionSteering("residual", (1,), torch.full((1, 32), amount))


@pytest.mark.parametrize(
    "scope",
    [
        "answers",
        "",
        [],
        [(3, 2)],
        [(2, 2)],
        [(-1, 4)],
        [(0, 1, 2)],
        [3],
        7,
        None,
        [("a", 2)],
        [(0, math.inf)],
        [(0.5, 2)],
    ],
)
@pytest.mark.parametrize("kind", ["neurons", "direction"])
def test_scopes_are_names_or_spans(scope, kind):
    told = "There is no scope '" if isinstance(scope, str) else r"Spans are pairs \(start, end\)"
    with refused(InvalidInputError, told):
        if kind == "neurons":
            NeuronSteering(ONE.forth, scope=scope)
        else:
            DirectionSteering("residual", (1,), torch.ones(1, 32), scope=scope)


def test_a_dose_below_0_needs_a_counterpart():
    with refused(InvalidInputError, "no counterpart for a dose below 0, -1 given"):
        ONE.at(-1)
    with refused(InvalidInputError, "no counterpart"):
        CombinedSteering((ONE, DIRECTION)).at(-1)
    with refused(InvalidInputError, "dose is 1 or 0, -1 given"):
        role_prompt("You are a nurse.").at(-1)
    NeuronSteering(ONE.forth, back=ONE.forth).at(-1)
    DIRECTION.at(-1)


def test_what_is_done_by_a_share_has_doses_up_to_1():
    for op, more in (("set", ()), ("clear", (3.0,))):
        steering = NeuronSteering.from_edits([("add", 0, 1, 1.0), (op, 1, 3, 2.0, *more)])
        with refused(InvalidInputError, f"The dose of '{op}' is a share of at most 1, 1.5 given"):
            steering.at(1.5)
        with refused(InvalidInputError, "share of at most 1, 2 given"):
            CombinedSteering((ONE, steering), dose=2)
        steering.at(1)
    with refused(InvalidInputError, "share of at most 1, -2 given"):
        NeuronSteering(ONE.forth, back=SHARE.forth).at(-2)
    NeuronSteering.from_edits([("cap", 1, 3, 2.0), ("floor", 1, 4, 2.0)], dose=5)


def test_a_value_with_neurons_of_one_pole_alone_is_steered_one_way():
    one_way = neuron_steering(hand_made("down_in"), "tradition", mode="gain")
    assert one_way.edits(ANATOMY)
    with refused(InvalidInputError, "no counterpart for a dose below 0"):
        one_way.at(-1)


def test_words_of_a_combination_are_said_at_every_dose_but_0():
    """The other parts go by degrees, and words have none."""
    both, question = CombinedSteering((WORDS, DIRECTION)), plain.prompts(1)[0]
    said = {dose: both.at(dose).speak(question).system for dose in (0, 0.25, 3, -0.5)}
    assert said == {0: None, 0.25: WORDS.forth, 3: WORDS.forth, -0.5: WORDS.back}
    assert torch.equal(both.at(0.25).edits(ANATOMY)[0][1][0]["add"], torch.full((1, 32), 0.25))


def test_a_single_pass_has_no_decoding():
    subject, prompts = plain.subject("llama"), plain.prompts(2)
    later = NeuronSteering(ONE.forth, scope="decode")
    for steering in (later, CombinedSteering((DIRECTION, later))):
        with refused(InvalidInputError, "'decode' edits generated tokens only"):
            next_token_logits(subject, prompts, steering=[None, steering])
        next_token_logits(subject, prompts, steering=steering.at(0))


@pytest.mark.parametrize("dose", [0.5, 2, -0.5])
def test_a_prompt_is_said_or_not(dose, edition):
    with refused(InvalidInputError, f"its dose is 1, 0 or -1, {dose:g} given"):
        WORDS.at(dose)
    with refused(InvalidInputError, "A prompt is said or not"):
        value_prompt(edition, "power", dose=dose)
    with refused(InvalidInputError, "A role needs a text"):
        role_prompt("")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"temperature": 0}, "temperature must be a number above 0, 0 given"),
        ({"temperature": -1.0}, "above 0, -1.0 given"),
        ({"temperature": NAN}, "above 0, nan given"),
        ({"temperature": math.inf}, "above 0, inf given"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, 0 given"),
        ({"top_k": 2.5}, "top_k must be a whole number of at least 1, 2.5 given"),
        ({"top_p": 0.0}, "top_p must lie above 0 and at most at 1, 0.0 given"),
        ({"top_p": 1.01}, "at most at 1, 1.01 given"),
        ({"top_p": NAN}, "at most at 1, nan given"),
    ],
)
def test_sampling_arguments_out_of_range_are_refused(settings, told):
    with refused(InvalidInputError, told):
        Sampling(**settings)
    with refused(InvalidInputError, told):
        generate(plain.subject("llama"), "w1", **{"temperature": 1.0, **settings})


def test_top_k_without_a_temperature_draws_nothing():
    for settings in ({"top_k": 3}, {"top_p": 0.5}):
        with refused(InvalidInputError, "give a temperature too"):
            generate(plain.subject("llama"), "w1", **settings)


def test_a_list_of_steerings_has_one_for_each_prompt():
    subject, prompts = plain.subject("llama"), plain.prompts(3)
    for arms in ([ONE], [ONE, None, None, ONE], []):
        for ask in (generate_responses, next_token_logits):
            with refused(InvalidInputError, f"{len(arms)} steerings given for 3 prompts"):
                ask(subject, prompts, steering=arms)
    with refused(InvalidInputError, "Two prompts share an id"):
        generate_responses(subject, [prompts[0]] * 2, steering=ONE)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"value": "powr"}, UnknownNameError, "no value 'powr'; did you mean power"),
        ({"pole": "up"}, UnknownNameError, "no pole 'up'"),
        ({"mode": "np"}, UnknownNameError, "no mode 'np'"),
        ({"mode": "npti", "part": "half"}, UnknownNameError, "no part 'half'"),
        ({"mode": "effect", "part": "add"}, InvalidInputError, "'effect' has one step"),
        ({"mode": "gain", "as_published": True}, InvalidInputError, "'gain' has one step"),
        ({"top": 0}, InvalidInputError, "top is a share below 1 or a whole number"),
        ({"top": 1.5}, InvalidInputError, "top is a share below 1 or a whole number"),
        ({"top": NAN}, InvalidInputError, "top is a share below 1 or a whole number"),
        ({"top": math.inf}, InvalidInputError, "top is a share below 1 or a whole number"),
        ({"mode": "gain", "factor": NAN}, InvalidInputError, "An amount of an edit is NaN"),
        ({"keep": 0}, InvalidInputError, "keep is a probability above 0, 0 given"),
        ({"keep": 1.2}, InvalidInputError, "keep is a probability above 0, 1.2 given"),
        ({"mode": "ablate", "dose": 1.5}, InvalidInputError, "The dose of 'set' is a share of at most 1"),
        ({"mode": "clamp_range", "dose": -1.5}, InvalidInputError, "The dose of 'clear' is a share of at most 1"),
        ({"value": "tradition", "mode": "ablate"}, InvalidInputError, "no neurons of its negative pole here"),
        ({"value": "tradition", "pole": "negative"}, InvalidInputError, "no neurons of its negative pole here"),
        ({"value": "tradition", "mode": "gain", "dose": -1}, InvalidInputError, "no counterpart for a dose below 0"),
        ({"mode": "npti", "as_published": True}, InvalidInputError, "As published the edit is at the gate"),
        ({"value": "tradition", "mode": "npti", "part": "cap"}, InvalidInputError, "no neurons of its negative pole"),
    ],
)
def test_settings_of_modes_that_cannot_be_meant_are_refused(settings, error, told):
    with refused(error, told):
        neuron_steering(hand_made("down_in"), **{"value": "power", **settings})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"layers": (1, 1), "vectors": torch.ones(2, 32)}, "every layer once"),
        ({"layers": (), "vectors": torch.ones(0, 32)}, "A finite vector of each layer"),
        ({"layers": (1,), "vectors": torch.ones(2, 32)}, "A finite vector of each layer"),
        ({"layers": (1,), "vectors": torch.ones(32)}, "A finite vector of each layer"),
        ({"goal": 0.9}, "needs a probe"),
        ({"bias": torch.zeros(1)}, "needs a probe"),
        ({"goal": 1.0, "bias": torch.zeros(1)}, "between 0 and 1"),
        ({"goal": NAN, "bias": torch.zeros(1)}, "between 0 and 1"),
        ({"goal": 0.9, "bias": torch.zeros(2)}, "finite bias for each layer"),
        ({"goal": 0.9, "bias": torch.full((1,), NAN)}, "finite bias for each layer"),
    ],
)
def test_directions_that_cannot_be_meant_are_refused(settings, told):
    with refused(InvalidInputError, told):
        DirectionSteering(**{"place": "residual", "layers": (1,), "vectors": torch.ones(1, 32), **settings})
