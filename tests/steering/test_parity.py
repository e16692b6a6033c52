"""Steered generation against plain transformers: nothing at dose 0, and else what hooks written by hand do."""

import itertools

import nnsight
import pytest
import torch
from scipy.stats import chisquare

from nnvalue.models import generate_responses, open_model
from nnvalue.models.decoding import next_token_logits
from nnvalue.prompts import Prompt
from nnvalue.steering import CombinedSteering, DirectionSteering, NeuronSteering, Sampling
from nnvalue.steering_protocol import batch_edits
from nnvalue.traces import apply_edits, choose_tokens, gumbel_noise
from tests import tiny
from tests.steering import plain

AMOUNTS = {"add": (3.0,), "scale": (-6.0,), "set": (4.0,), "cap": (-2.0,), "floor": (3.0,), "clear": (-50.0, 50.0)}
SCOPES = ("answer", "decode", "all", [(1, 3), (9, 14)])
MIXED = [(op, layer, n + 6 * layer, *AMOUNTS[op]) for layer in (0, 1) for n, op in enumerate(AMOUNTS)]
DRAWN = Sampling(temperature=2.0, seed=5)


def edits_of(op):
    layer = list(AMOUNTS).index(op) % tiny.LAYERS
    return [(op, layer, neuron, *AMOUNTS[op]) for neuron in range(layer, tiny.WIDTH, 4)]


def steering_of(act, site="down_in"):
    return NeuronSteering.from_edits(act.edits, dose=act.dose, scope=act.scope, site=site)


def tokens(subject, asked, **settings):
    return [list(each.token_ids) for each in generate_responses(subject, asked, **settings)]


def noise(asked, mask, drawn=DRAWN):
    return plain.Noise([prompt.id for prompt in asked], drawn.temperature, drawn.seed, mask.shape[1])


def identities():
    """Steerings that must do nothing: by their dose, for want of edits, or by their amounts."""
    neurons = NeuronSteering.from_edits(MIXED)
    direction = DirectionSteering("residual", (1,), torch.full((1, 32), 9.0), dose=0)
    probe = DirectionSteering("mlp_out", (0,), torch.ones(1, 32), torch.zeros(1), goal=0.9, dose=0)
    vain = [("add", 0, 1, 0), ("scale", 0, 2, 1), ("cap", 1, 3, 1e9), ("floor", 2, 4, -1e9), ("clear", 2, 5, 8e8, 9e8)]
    share = NeuronSteering.from_edits([("set", 1, 3, 7.0)]).at(0)
    return [
        NeuronSteering.from_edits([], scope="all"), neurons.at(0), direction, CombinedSteering((neurons,), 0),
        None, probe, NeuronSteering.from_edits(vain, scope="all"), share,
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_at_dose_0_or_without_edits_the_tokens_are_those_of_plain_transformers(family, size):
    """Catches an identity that is not one, also where other rows of a batch force the edited path."""
    subject, asked = plain.subject(family), plain.prompts(size)
    ids, mask = plain.batch(subject, asked)
    drawn = plain.generate(plain.model(family), ids, mask, 12, noise(asked, mask))
    greedy = plain.generate(plain.model(family), ids, mask, 12)
    for arms in [identities()] if size == 8 else [[arm] for arm in identities()[1::5]]:
        assert tokens(subject, asked, steering=arms, max_new_tokens=12) == greedy
        assert tokens(subject, asked, steering=arms, sampling=DRAWN, max_new_tokens=12) == drawn
    assert drawn != greedy


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_at_dose_0_or_without_edits_the_logits_are_bit_for_bit_those_of_plain_transformers(family):
    subject = plain.subject(family)
    for size in (1, 8):
        asked = plain.prompts(size)
        ids, mask = plain.batch(subject, asked)
        with torch.no_grad():
            truth = plain.model(family)(
                ids, attention_mask=mask, position_ids=plain.positions(mask), use_cache=False, logits_to_keep=1
            ).logits[:, -1]
        for arms in [identities()] if size == 8 else [[arm] for arm in identities()]:
            assert torch.equal(next_token_logits(subject, asked, steering=arms), truth)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_in_half_precision_nothing_is_done_either(family):
    """Catches a detour through another dtype that does not come back to the same bits."""
    subject = open_model(plain.model(family).to(torch.bfloat16), tokenizer=tiny.tokenizer())
    asked = plain.prompts(8)
    ids, mask = plain.batch(subject, asked)
    greedy = plain.generate(plain.model(family).to(torch.bfloat16), ids, mask, 8)
    assert tokens(subject, asked, steering=identities(), max_new_tokens=8) == greedy
    with torch.no_grad():
        truth = (
            plain.model(family)
            .to(torch.bfloat16)(
                ids, attention_mask=mask, position_ids=plain.positions(mask), use_cache=False, logits_to_keep=1
            )
            .logits[:, -1]
        )
    assert torch.equal(next_token_logits(subject, asked, steering=identities()), truth.float())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_rows_that_are_not_steered_do_as_plain_transformers(family):
    """Catches an edit of the wrong rows; a steered row moves its own tokens alone."""
    subject, asked = plain.subject(family), plain.prompts(8)
    ids, mask = plain.batch(subject, asked)
    strong = NeuronSteering.from_edits(edits_of("set"), scope="all")
    arms = [strong if row in (1, 2, 5) else None for row in range(8)]
    for sampling, processors in ((None, ()), (DRAWN, (noise(asked, mask),))):
        truth = plain.generate(plain.model(family), ids, mask, 12, *processors)
        made = tokens(subject, asked, steering=arms, sampling=sampling, max_new_tokens=12)
        moved = {row for row in range(8) if made[row] != truth[row]}
        assert moved
        assert moved <= {1, 2, 5}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_logits_of_rows_that_are_not_steered_stay_bit_for_bit_at_every_step(family):
    subject, asked = plain.subject(family), plain.prompts(6)
    ids, mask = plain.batch(subject, asked)
    truth = plain.generate(plain.model(family), ids, mask, 8, logits=True)
    arms = [None, None, *(NeuronSteering.from_edits(edits_of("floor"), scope=scope) for scope in SCOPES)]
    made = step_logits(subject, ids, mask, arms, 8)
    assert torch.equal(made[:, :2], truth[:, :2])
    assert not torch.isclose(made[:, 2:], truth[:, 2:]).all(-1).all(0).any()


def step_logits(subject, ids, mask, arms, steps):
    """Logits of every step, from a block of its own around `apply_edits`."""
    compiled = [[] if arm is None else arm.edits(subject.anatomy) for arm in arms]
    edits = batch_edits(compiled, subject.anatomy.forward_order())
    model = subject.model
    with torch.no_grad(), model.generate(ids, attention_mask=mask, max_new_tokens=steps, do_sample=False) as tracer:
        found = nnsight.save([])
        for step in tracer.iter[:steps]:
            apply_edits(model, edits, mask, step)
            found.append(model.output.logits[:, -1].clone())
    return torch.stack(found)


def acts_of_every_kind(odd):
    """All ops in all scopes at one of two doses each, one op at both doses, all ops in one row, and nothing."""
    made = []
    for number, (op, scope) in enumerate(itertools.product(AMOUNTS, SCOPES)):
        doses = (0.4, 1.0) if op in ("set", "clear") else (0.6, 2.0)
        made.append(plain.Act(edits_of(op), doses[(number + number // 4 + odd) % 2], scope))
    made += [plain.Act(edits_of("add"), dose, "answer") for dose in (0.3, 1.0)]
    return [*made, plain.Act(MIXED, 0.7, "answer"), plain.Act(MIXED, 1.0, "all"), plain.NOTHING]


@pytest.mark.parametrize("site", ["gate", "down_in"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_edits_equal_hooks_token_for_token(family, site):
    """One left-padded batch of rows that are steered each in its own way, 64 tokens long."""
    subject, acts = plain.subject(family), acts_of_every_kind(site == "gate")
    asked = plain.prompts(len(acts))
    ids, mask = plain.batch(subject, asked)
    truth = plain.generate(plain.hooked(plain.model(family), subject, mask, site, acts), ids, mask, 64)
    made = tokens(subject, asked, steering=[steering_of(act, site) for act in acts], max_new_tokens=64)
    wrong = [act for act, ours, theirs in zip(acts, made, truth, strict=True) if ours != theirs]
    assert not wrong
    unsteered = plain.generate(plain.model(family), ids, mask, 16)
    moved = sum(ours[:16] != theirs for ours, theirs in zip(made, unsteered, strict=True))
    assert 2 * moved > len(acts)  # the edits were strong enough to show
    assert {len(row) for row in made} == {64}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_edits_equal_hooks_in_the_logits_of_every_step(family):
    """Closer than tokens: catches an edit that is lost or doubled at some step and changes no argmax."""
    subject, acts = plain.subject(family), acts_of_every_kind(False)
    ids, mask = plain.batch(subject, plain.prompts(len(acts)))
    made = step_logits(subject, ids, mask, [steering_of(act) for act in acts], 6)
    truth = plain.generate(plain.hooked(plain.model(family), subject, mask, "down_in", acts), ids, mask, 6, logits=True)
    assert torch.allclose(made, truth, atol=1e-3 * float(truth.std()))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_one_steering_for_all_rows_equals_hooks(family):
    """The same amounts in every row take another way than amounts of their own."""
    subject, asked = plain.subject(family), plain.prompts(5)
    ids, mask = plain.batch(subject, asked)
    for act in (plain.Act(MIXED, 0.8, SCOPES[3]), plain.Act(edits_of("add"), 1.5, "answer")):
        truth = plain.generate(plain.hooked(plain.model(family), subject, mask, "gate", [act] * 5), ids, mask, 16)
        assert tokens(subject, asked, steering=steering_of(act, "gate"), max_new_tokens=16) == truth


@pytest.mark.parametrize("scope", ["answer", "all", [(1, 3)], [(2, None)]])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_logits_of_a_single_pass_equal_hooks(family, scope):
    subject, asked = plain.subject(family), plain.prompts(5)
    ids, mask = plain.batch(subject, asked)
    act = plain.Act(MIXED, 0.8, scope)
    with torch.no_grad():
        model = plain.hooked(plain.model(family), subject, mask, "down_in", [act] * 5)
        truth = model(ids, attention_mask=mask, position_ids=plain.positions(mask)).logits[:, -1]
    made = next_token_logits(subject, asked, steering=steering_of(act))
    assert torch.allclose(made, truth, atol=1e-4 * float(truth.std()))
    assert not torch.allclose(made, next_token_logits(subject, asked), atol=0.05 * float(truth.std()))


def test_arms_share_batches_in_any_plan():
    """Catches arms that are given to the wrong prompts once batches are cut by length."""
    subject, acts = plain.subject("llama"), acts_of_every_kind(True)
    asked, arms = plain.prompts(len(acts)), [steering_of(act) for act in acts]
    whole = tokens(subject, asked, steering=arms, sampling=DRAWN, max_new_tokens=8)
    assert tokens(subject, asked, steering=arms, sampling=DRAWN, max_new_tokens=8, batch_tokens=40) == whole
    one_pass = [None if act.scope == "decode" else arm for act, arm in zip(acts, arms, strict=True)]
    logits, cut = (next_token_logits(subject, asked, steering=one_pass, batch_tokens=size) for size in (8192, 30))
    assert torch.allclose(logits, cut, atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_a_prompt_draws_the_same_alone_and_in_any_order(family):
    subject, asked = plain.subject(family), plain.prompts(9)
    whole = tokens(subject, asked, sampling=DRAWN, max_new_tokens=10)
    assert tokens(subject, asked[::-1], sampling=DRAWN, max_new_tokens=10) == whole[::-1]
    assert [tokens(subject, [one], sampling=DRAWN, max_new_tokens=10)[0] for one in asked] == whole
    assert all(a != b for a, b in zip(whole, tokens(subject, asked, max_new_tokens=10), strict=True))


def test_another_seed_draws_other_tokens():
    subject, asked = plain.subject("llama"), plain.prompts(6)
    seeds = [tokens(subject, asked, sampling=Sampling(2.0, seed=seed), max_new_tokens=10) for seed in range(3)]
    assert all(len({tuple(each[row]) for each in seeds}) == 3 for row in range(6))
    assert tokens(subject, asked, sampling=Sampling(2.0, seed=1), max_new_tokens=10) == seeds[1]


def test_arms_of_one_prompt_share_their_noise_and_other_prompts_do_not():
    """So hot that only the noise counts, two arms draw the same tokens."""
    subject, hot = plain.subject("llama"), Sampling(1e6)
    one, other = Prompt("one", None, "w1 w2"), Prompt("other", None, "w1 w2")
    strong = NeuronSteering.from_edits(edits_of("set"))
    made = tokens(subject, [one, one, other], steering=[None, strong, None], sampling=hot, max_new_tokens=20)
    assert made[0] == made[1] != made[2]
    assert len(set(made[0])) > 10  # the noise is new at every step


def test_drawn_tokens_follow_the_softmax_of_logits_by_temperature():
    subject = plain.subject("llama")
    asked = [Prompt(f"draw {number}", None, "w5 w6 w7") for number in range(3000)]
    ids, mask = plain.batch(subject, asked[:1])
    with torch.no_grad():
        logits = plain.model("llama")(ids, attention_mask=mask).logits[0, -1].double()
    temperature = float(logits.std()) / 1.5
    drawn = tokens(subject, asked, sampling=Sampling(temperature), max_new_tokens=1, batch_tokens=4000)
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=len(logits))
    assert fit(counts, (logits / temperature).softmax(0)) > 0.001
    assert fit(counts, (logits / temperature / 1.15).softmax(0)) < 0.001  # the test can tell temperatures apart


def fit(counts, probabilities):
    """p of a chi-square test; categories that are expected less than five times are one."""
    expected = probabilities.double() / probabilities.double().sum() * counts.sum()
    rare = expected < 5
    seen, wanted = (torch.cat((each[~rare], each[rare].sum().view(1))).double() for each in (counts, expected))
    return chisquare(seen[wanted > 0].numpy(), wanted[wanted > 0].numpy()).pvalue


LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, 1.5, -3.0])  # likeliest: 0, 5, 1, 2


def draws(count=4000, step=3, **settings):
    logits = LOGITS.repeat(count, 1, 1)
    choose_tokens(logits, range(count), step, **settings)
    return torch.bincount(logits[:, -1].argmax(-1), minlength=len(LOGITS))


def kept_of(probabilities, kept):
    masked = torch.zeros_like(probabilities)
    masked[kept] = probabilities[kept]
    return masked / masked.sum()


def test_top_k_draws_among_the_k_likeliest():
    assert fit(draws(), LOGITS.softmax(0)) > 0.001
    assert fit(draws(top_k=3), kept_of(LOGITS.softmax(0), [0, 5, 1])) > 0.001
    assert draws(top_k=3)[[2, 3, 4, 6]].sum() == 0
    assert draws(top_k=1).tolist() == [4000, 0, 0, 0, 0, 0, 0]
    assert torch.equal(draws(top_k=100), draws())


def test_top_p_draws_among_the_fewest_that_hold_the_probability():
    share = LOGITS.softmax(0)
    assert [round(float(share[token]), 2) for token in (0, 5, 1, 2)] == [0.42, 0.25, 0.15, 0.09]
    for top_p, kept in ((0.4, [0]), (0.5, [0, 5]), (0.7, [0, 5, 1]), (0.9, [0, 5, 1, 2])):
        counts = draws(top_p=top_p)
        assert counts.nonzero().flatten().tolist() == sorted(kept)
        assert fit(counts, kept_of(share, kept)) > 0.001 or len(kept) == 1
    assert torch.equal(draws(top_p=1.0), draws())


def test_temperature_comes_before_top_p_and_top_k_before_both():
    """At a temperature of .5 the likeliest token alone holds .6; among the two likeliest it holds .73 untempered."""
    assert draws(top_p=0.6, temperature=0.5).nonzero().flatten().tolist() == [0]
    assert draws(top_p=0.6, top_k=2).nonzero().flatten().tolist() == [0]
    assert draws(top_p=0.6).nonzero().flatten().tolist() == [0, 5]


def test_a_generation_takes_top_k_and_top_p():
    subject = plain.subject("llama")
    asked = [Prompt(f"draw {number}", None, "w5 w6 w7") for number in range(200)]
    likeliest = next_token_logits(subject, asked[:1])[0].argsort(descending=True)
    hot = {"temperature": 100.0, "seed": 3}
    drawn = tokens(subject, asked, sampling=Sampling(**hot, top_k=4), max_new_tokens=1)
    assert {row[0] for row in drawn} == set(likeliest[:4].tolist())
    assert len({row[0] for row in tokens(subject, asked, sampling=Sampling(**hot), max_new_tokens=1)}) > 30
    nucleus = tokens(subject, asked, sampling=Sampling(temperature=0.01, top_p=0.5), max_new_tokens=1)
    assert {row[0] for row in nucleus} == {int(likeliest[0])}


def test_noise_of_neighbouring_steps_and_seeds_is_unrelated():
    """Noise that came back at another step or seed would couple the draws of a text."""
    noise = torch.stack([gumbel_noise(seed, step, 4000) for seed in range(4) for step in range(4)])
    assert (noise.corrcoef() - torch.eye(16)).abs().max() < 0.08  # five standard errors
    assert abs(float(noise.mean()) - 0.5772) < 0.02
    assert abs(float(noise.var()) - torch.pi**2 / 6) < 0.05


# compiled edits written by hand


def test_amounts_that_are_changed_between_passes_count():
    """Catches tensors that were placed for an earlier pass and are used again."""
    subject = plain.subject("llama")
    ids, mask = plain.batch(subject, plain.prompts(3))
    push = {"neurons": torch.tensor([1, 4]), "add": torch.ones(1, 2)}
    for amount, scope in ((1.0, "all"), (-3.0, "answer"), (5.0, [[1, 2]])):
        push |= {"add": torch.full((1, 2), amount), "scope": scope}
        act = plain.Act([("add", 1, 1, amount), ("add", 1, 4, amount)], 1.0, scope)
        hooks = plain.hooked(plain.model("llama"), subject, mask, "gate", [act] * 3)
        assert torch.equal(
            hand_made_logits(subject, ids, mask, [(subject.anatomy.gate[1], [push])]), pass_of(hooks, ids, mask)
        )


def test_spans_may_be_given_row_by_row():
    subject = plain.subject("opt")
    ids, mask = plain.batch(subject, plain.prompts(3))
    spans = [[], [[0, 1], [2, 3]], [[1, None]]]
    silence = {"neurons": torch.arange(20), "scale": torch.full((1, 20), -2.0), "scope": spans}
    acts = [plain.Act([("scale", 0, n, -2.0) for n in range(20)], 1.0, scope) for scope in spans]
    hooks = plain.hooked(plain.model("opt"), subject, mask, "down_in", acts)
    made = hand_made_logits(subject, ids, mask, [(subject.anatomy.down_in[0], [silence])])
    assert torch.equal(made, pass_of(hooks, ids, mask))


def hand_made_logits(subject, ids, mask, edits):
    with torch.no_grad(), subject.model.trace(ids, attention_mask=mask, use_cache=False):
        apply_edits(subject.model, edits, mask)
        logits = nnsight.save(subject.model.output.logits)
    return logits


def pass_of(model, ids, mask):
    with torch.no_grad():
        return model(ids, attention_mask=mask, position_ids=plain.positions(mask), use_cache=False).logits
