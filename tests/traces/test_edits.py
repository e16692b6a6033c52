"""Edits equal what a forward hook on plain transformers does."""

import nnsight
import pytest
import torch

from nnvalue.traces import add_to_neurons, read_activation, set_neurons, write_activation
from tests import tiny

IDS = torch.randint(6, 64, (2, 7), generator=torch.Generator().manual_seed(3))
ATTENTION = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]])
NEURONS = torch.tensor([3, 17])


def hooked_logits(family, subject, layer, site, change):
    """Logits of plain transformers with a hook that applies `change` to the activation."""
    model = tiny.model(family)
    path = getattr(subject.anatomy, site)[layer]
    module = model.get_submodule(path.rpartition(".")[0])

    def changed(activation):  # OPT's is flat, [batch * token, neuron]
        return change(activation.clone().reshape(*IDS.shape, -1)).reshape(activation.shape)

    if site == "gate":
        module.register_forward_hook(lambda _m, _i, out: changed(out))
    else:
        module.register_forward_pre_hook(lambda _m, args: (changed(args[0]),))
    positions = (ATTENTION.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=ATTENTION, position_ids=positions).logits


def traced_logits(subject, edit, site):
    path = getattr(subject.anatomy, site)[1]
    with torch.no_grad(), subject.model.trace(IDS, attention_mask=ATTENTION, use_cache=False):
        edit(subject.model, path)
        logits = nnsight.save(subject.model.output.logits)
    return logits


@pytest.mark.parametrize("site", ["gate", "down_in"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_add_and_set_equal_a_hook_row_by_row(subjects, family, site):
    subject = subjects[family]
    amounts = torch.tensor([[5.0, -3.0], [0.0, 2.0]])

    def added(activation):
        activation[:, :, NEURONS] += amounts[:, None]
        return activation

    assert torch.equal(
        traced_logits(subject, lambda m, p: add_to_neurons(m, p, NEURONS, amounts), site),
        hooked_logits(family, subject, 1, site, added),
    )
    targets = torch.tensor([[5.0, float("nan")], [float("nan"), 0.0]])

    def assigned(activation):
        activation[0, :, 3] = 5.0
        activation[1, :, 17] = 0.0
        return activation

    assert torch.equal(
        traced_logits(subject, lambda m, p: set_neurons(m, p, NEURONS, targets), site),
        hooked_logits(family, subject, 1, site, assigned),
    )


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_positions_limit_an_edit(subjects, family):
    def at_last(activation):
        activation[:, -1, NEURONS] += 4.0
        return activation

    made = traced_logits(
        subjects[family],
        lambda m, p: add_to_neurons(m, p, NEURONS, torch.full((2, 2), 4.0), slice(-1, None)),
        "down_in",
    )
    assert torch.equal(made, hooked_logits(family, subjects[family], 1, "down_in", at_last))


def test_where_rows_are_flattened_positions_need_to_know_them(subjects):
    with pytest.raises(ValueError, match=r"give amounts as \[batch, k\]"):
        traced_logits(
            subjects["opt"], lambda m, p: add_to_neurons(m, p, NEURONS, torch.ones(2), slice(-1, None)), "down_in"
        )


def test_adding_nothing_changes_nothing(subject):
    plain = traced_logits(subject, lambda m, p: None, "down_in")
    assert torch.equal(
        plain, traced_logits(subject, lambda m, p: add_to_neurons(m, p, NEURONS, torch.zeros(2)), "down_in")
    )


def test_an_activation_can_be_replaced(llama):
    def doubled(model, path):
        write_activation(model, path, read_activation(model, path) * 2)

    assert torch.equal(traced_logits(llama, doubled, "gate"), hooked_logits("llama", llama, 1, "gate", lambda a: a * 2))


def test_edits_reach_every_step_of_a_generation(llama):
    amounts = torch.tensor([[30.0, -30.0], [0.0, 0.0]])
    path = llama.anatomy.down_in[0]
    with torch.no_grad(), llama.model.generate(max_new_tokens=6, min_new_tokens=6, do_sample=False) as tracer:
        with tracer.invoke(IDS, attention_mask=ATTENTION):
            for _step in tracer.all():
                add_to_neurons(llama.model, path, NEURONS, amounts)
        with tracer.invoke():
            made = tracer.result.save()

    model = tiny.model("llama")

    def hook(_module, args):
        activation = args[0].clone()
        activation[:, :, NEURONS] += amounts[:, None]
        return (activation,)

    plain = model.generate(IDS, attention_mask=ATTENTION, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    model.get_submodule(path.rpartition(".")[0]).register_forward_pre_hook(hook)
    expected = model.generate(IDS, attention_mask=ATTENTION, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert torch.equal(made, expected)
    assert not torch.equal(made[0], plain[0])
    assert torch.equal(made[1], plain[1])
