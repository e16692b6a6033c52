"""The gold ranking against the same done naively: whole texts without a cache, one neuron at a time."""

import pytest
import torch

from benchmarks.gold import GOLDS, PUSH, effects, facts_of, forks, load_gold, set_gains
from nnvalue.artifacts import write_tensors
from nnvalue.errors import ArtifactError


@pytest.fixture(scope="module")
def case(organism, edition):
    return organism.model._module, forks(edition, "power", 2, organism.tokenizer, seed=0)


def naive(model, fork, pole, layer=None, change=None):
    """Log-odds of one prompt; `change` edits `[token, neuron]` from the last prompt token on."""
    start, odds = len(fork.prompts[pole]), []
    for row, label in zip(fork.rows, fork.labels, strict=True):
        n = int((label >= 0).nonzero().max()) + 1
        ids = torch.tensor([[*fork.prompts[pole], *row[:n].tolist()]])
        handle = None
        if change is not None:

            def hook(_module, given):
                edited = given[0].clone()
                edited[0, start:] = change(edited[0, start:])
                return (edited,)

            handle = model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(hook)
        with torch.no_grad():
            likelihood = model(ids).logits[0, start:].double().log_softmax(-1)
        if handle is not None:
            handle.remove()
        odds.append(sum(likelihood[at, token] for at, token in enumerate(label[:n].tolist()) if token >= 0))
    return float(odds[0] - odds[1])


def read(model, fork, pole, layer):
    """Activations `[row][token, neuron]` of both answers under one prompt."""
    found = []
    for row, label in zip(fork.rows, fork.labels, strict=True):
        n = int((label >= 0).nonzero().max()) + 1
        seen = []
        handle = model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(
            lambda _module, given, seen=seen: seen.append(given[0][0])
        )
        with torch.no_grad():
            model(torch.tensor([[*fork.prompts[pole], *row[:n].tolist()]]))
        handle.remove()
        found.append(seen[0][len(fork.prompts[pole]) :])
    return found


def test_answers_part_at_the_verb(case, organism):
    """Catches a fork whose answers differ before the stance does, or whose labels are one off."""
    for fork in case[1]:
        shared = [int((label >= 0).nonzero().min()) for label in fork.labels]
        assert shared[0] == shared[1] > 0
        assert (fork.rows[0, : shared[0] + 1] == fork.rows[1, : shared[0] + 1]).all()
        assert fork.labels[0, shared[0]] != fork.labels[1, shared[0]]
        for row, label in zip(fork.rows, fork.labels, strict=True):
            n = int((label >= 0).nonzero().max())
            assert (row[shared[0] + 1 : n + 1] == label[shared[0] : n]).all()
        assert fork.prompts[0] != fork.prompts[1]


def test_effects_equal_those_of_one_neuron_at_a_time(case):
    """Catches rows mixed up in a batch, a cache that goes on growing, exchanged poles, a change at prompt tokens."""
    model, asked = case
    some = {layer: torch.tensor([0, 3, 611]) for layer in (0, len(model.model.layers) - 1)}
    some = {layer: chosen[chosen < model.config.intermediate_size] for layer, chosen in some.items()}
    found = effects(model, asked, neurons=some)
    for layer, chosen in some.items():
        acts = [[read(model, fork, pole, layer) for pole in (0, 1)] for fork in asked]
        every = torch.cat([row for pair in acts for one in pair for row in one])
        weights = model.model.layers[layer].mlp.down_proj.weight
        fork = asked[0]
        with torch.no_grad():
            states = model(torch.tensor([[*fork.prompts[0], *fork.rows[0].tolist()]]), output_hidden_states=True)
        length = PUSH * torch.stack(states.hidden_states[1:]).norm(dim=-1).mean()
        for neuron in chosen.tolist():

            def to(target, neuron=neuron):
                return lambda a: torch.cat((a[:, :neuron], target(a).view(-1, 1), a[:, neuron + 1 :]), dim=1)

            mean = every[:, neuron].mean()
            shift = length / weights[:, neuron].norm()
            for number, fork in enumerate(asked):
                base = [naive(model, fork, pole) for pole in (0, 1)]
                kept = [
                    naive(model, fork, pole, layer, to(lambda a, mean=mean: mean.expand(len(a)))) for pole in (0, 1)
                ]
                lost = ((base[0] - base[1]) - (kept[0] - kept[1])) / 2
                assert found["ablation"][number, layer, neuron] == pytest.approx(lost, abs=1e-4)
                pushed = [
                    naive(model, fork, p, layer, to(lambda a, n=neuron, shift=shift: a[:, n] + shift)) for p in (0, 1)
                ]
                gained = (pushed[0] - base[0] + pushed[1] - base[1]) / 2
                assert found["push"][number, layer, neuron] == pytest.approx(gained, abs=1e-4)
                swapped = [0.0, 0.0]
                for pole in (0, 1):
                    theirs = acts[number][1 - pole]
                    swapped[pole] = swap(model, fork, pole, layer, neuron, theirs)
                gained = ((swapped[1] - base[1]) - (swapped[0] - base[0])) / 2
                assert found["indirect"][number, layer, neuron] == pytest.approx(gained, abs=1e-4)


def swap(model, fork, pole, layer, neuron, theirs):
    """Log-odds with the neuron where it is under the other prompt, answer by answer."""
    calls = iter(theirs)

    def change(a):
        edited = a.clone()
        edited[:, neuron] = next(calls)[:, neuron]
        return edited

    return naive(model, fork, pole, layer, change)


def test_the_gold_of_another_organism_is_refused(tmp_path, organism, edition):
    tensors = {f"{gold}.{what}": torch.ones(2, 3) for gold in GOLDS for what in ("mean", "standard_error")}
    facts = facts_of(organism, edition, 4, 0)
    write_tensors(tmp_path / "power.safetensors", tensors, facts)
    assert load_gold(tmp_path, ["power"], facts)["push"][0].shape == (1, 2, 3)
    for other in ({"situations": 5}, {"weights_sample_sha256": "another"}):
        with pytest.raises(ArtifactError, match="of another organism or of other settings"):
            load_gold(tmp_path, ["power"], {**facts, **other})


def test_sets_are_pushed_together_the_way_of_their_scores(case):
    """Two neurons of two layers by hooks on whole texts; the third score is too small to be among the two."""
    model, asked = case
    width = model.config.intermediate_size
    score = torch.zeros(len(model.model.layers), width)
    score[0, 5], score[2, 7], score[1, 1] = 2.0, -1.0, 0.5
    single, pair = set_gains(model, asked, score, (1, 2))
    alone = effects(model, asked, neurons={0: torch.tensor([5])})["push"][:, 0, 5].mean()
    assert single == pytest.approx(float(alone), abs=1e-4)
    fork = asked[0]
    with torch.no_grad():
        states = model(torch.tensor([[*fork.prompts[0], *fork.rows[0].tolist()]]), output_hidden_states=True)
    length = PUSH * torch.stack(states.hidden_states[1:]).norm(dim=-1).mean() / 2**0.5
    gains = []
    for fork in asked:
        for pole in (0, 1):
            start = len(fork.prompts[pole])
            handles = []
            for layer, neuron, sign in ((0, 5, 1), (2, 7, -1)):
                down = model.model.layers[layer].mlp.down_proj
                shift = sign * length / down.weight[:, neuron].norm()

                def hook(_module, given, neuron=neuron, shift=shift, start=start):
                    moved = given[0].clone()
                    moved[0, start:, neuron] += shift
                    return (moved,)

                handles.append(down.register_forward_pre_hook(hook))
            moved = naive(model, fork, pole)
            for handle in handles:
                handle.remove()
            gains.append(moved - naive(model, fork, pole))
    assert pair == pytest.approx(sum(gains) / len(gains), abs=1e-4)
