import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import nnsight
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nnvalue.traces
from nnvalue.traces import (
    collect_contrasts,
    collect_moments,
    count_digits,
    from_sortable_bits,
    per_neuron_sums,
    read_activation,
    sortable_bits,
)

MODULES = [f"nnvalue.traces.{module.name}" for module in pkgutil.iter_modules(nnvalue.traces.__path__)]


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 5)),
    seed=st.integers(0, 10_000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
@settings(max_examples=150, deadline=None)
def test_sums_equal_counting_one_by_one(shape, seed, dtype):
    random = torch.Generator().manual_seed(seed)
    activation = torch.randn(shape, generator=random).to(dtype)
    mask = torch.randint(0, 2, shape[:2], generator=random)
    fired, total, squares = per_neuron_sums(activation, mask)
    for row in range(shape[0]):
        kept = activation[row][mask[row].bool()].double()
        assert fired[row].tolist() == (kept > 0).sum(0).tolist()
        assert torch.allclose(total[row].double(), kept.sum(0), atol=1e-5)
        assert torch.allclose(squares[row].double(), kept.square().sum(0), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_stay_exact_where_half_precision_would_round(dtype):
    """700 firings cannot be counted in bfloat16 (256 + 1 = 256) and a sum of 700 · 1.5 would round too."""
    activation = torch.full((2, 1400, 3), 1.5, dtype=dtype)
    activation[:, 700:] = -1.5
    fired, total, squares = per_neuron_sums(activation, torch.ones(2, 1400))
    assert fired.dtype == total.dtype == torch.float32
    assert (fired == 700).all()
    assert (total == 0).all()
    assert (squares == 1400 * 2.25).all()


def test_moments_are_summed_by_group_and_columns_before_first_do_not_matter(llama):
    ids = torch.randint(6, 64, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(4, 9)
    mask[:, 5:] = 1
    groups = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])  # the last row belongs to no group
    gathered = {}
    for first in (0, 5):
        with torch.no_grad(), llama.model.trace(ids, attention_mask=torch.ones_like(ids)) as tracer:
            gathered[first] = nnsight.save(collect_moments(llama.model, llama.anatomy.gate, mask, groups, first))
            tracer.stop()
    assert torch.equal(gathered[0][0], gathered[5][0])
    assert torch.allclose(gathered[0], gathered[5], rtol=1e-5)
    with torch.no_grad(), llama.model.trace(ids, attention_mask=torch.ones_like(ids)) as tracer:
        alone = nnsight.save(collect_moments(llama.model, llama.anatomy.gate, mask, torch.eye(4)))
        tracer.stop()
    assert torch.equal(gathered[0][0, 0], alone[0, 0] + alone[0, 2])
    assert torch.equal(gathered[0][0, 1], alone[0, 1])


def test_a_server_that_runs_blocks_under_autocast_counts_exactly(llama):
    """As NDIF does with bfloat16 deployments: matrix products of ours must not become half precision too."""
    random = torch.Generator().manual_seed(1)
    ids, mask = torch.randint(6, 64, (4, 700), generator=random), torch.ones(4, 700)
    mask[0, 300:] = 0
    late = torch.zeros(4, 700)
    late[:, -1] = 1
    model, sites, groups = llama.model, llama.anatomy.gate, torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        with model.trace(ids) as tracer:
            seen = nnsight.save([])
            for site in sites:
                seen.append(read_activation(model, site).clone())
            tracer.stop()
        with model.trace(ids) as tracer:
            grouped = nnsight.save(collect_moments(model, sites, mask, groups))
            tracer.stop()
        with model.trace(ids) as tracer:
            paired, dtype = collect_contrasts(model, [[site] for site in sites], [mask, late], [(0, 0), (0, 1)])
            paired, dtype = nnsight.save(paired), nnsight.save(dtype)
            tracer.stop()
    fired = torch.stack(
        [((activation > 0) & (mask > 0).unsqueeze(-1)).sum(1) for activation in seen]
    )  # [layer, row, n]
    assert fired.max() > 256  # more than bfloat16 can hold exactly
    assert seen[0].dtype == getattr(torch, dtype)
    for half, rows in enumerate((slice(0, 2), slice(2, 4))):
        assert torch.equal(grouped[0, half].long(), fired[:, rows].sum(1))
        assert torch.equal(paired[0, 3 * half].long(), fired[:, rows].sum(1))
    d = fired[:, :2] / mask.sum(1)[:2, None] - fired[:, 2:] / mask.sum(1)[2:, None]
    assert torch.allclose(paired[0, 6], d.sum(1), atol=1e-6)
    assert torch.allclose(paired[0, 7], d.square().sum(1), atol=1e-6)
    last = torch.stack([activation[:, -1].float() for activation in seen])  # the other choice: one token a row
    d = last[:, :2] - last[:, 2:]
    assert torch.equal(paired[1, 0].long(), (last[:, :2] > 0).sum(1))
    assert torch.allclose(paired[1, 8], d.sum(1), atol=1e-6)
    assert torch.allclose(paired[1, 9], d.square().sum(1), atol=1e-6)


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40),
    st.sampled_from(["float32", "float16", "bfloat16"]),
)
@settings(max_examples=200, deadline=None)
def test_sortable_bits_keep_the_order_and_come_back(numbers, dtype):
    values = torch.tensor(numbers).to(getattr(torch, dtype))
    keys = sortable_bits(values)
    order = keys.argsort(stable=True)
    assert (values[order].float().diff().nan_to_num(nan=0.0) >= 0).all()  # inf − inf
    assert torch.equal(from_sortable_bits(keys, values.dtype), values)
    assert (keys >= 0).all()


def test_digits_are_counted_only_behind_their_prefix():
    activation = torch.tensor([[[0.5], [0.75], [2.0], [0.5]]])
    mask = torch.tensor([[1, 1, 1, 0]])
    top = count_digits(activation, mask, torch.zeros(1, dtype=torch.int64), shift=16, bits=16)
    assert top.sum() == 3
    prefix = (sortable_bits(torch.tensor([0.5])) >> 16).long()
    low = count_digits(activation, mask, prefix, shift=0, bits=16)
    assert low.sum() == int(top[0, prefix])  # the masked second 0.5 is not among them


@pytest.mark.parametrize("name", ["nnvalue.traces", *MODULES, "nnvalue.models.batching"])
def test_docstring_examples_run(name, llama):
    """As a person would type them, with an open model at hand."""
    ids = torch.tensor([[7, 8, 9], [10, 11, 12]])
    helpers = {helper: getattr(nnvalue.traces, helper) for helper in nnvalue.traces.__all__}
    at_hand = {
        **helpers, "torch": torch, "nnsight": nnsight, "model": llama.model, "ids": ids,
        "mask": torch.ones_like(ids), "sites": llama.anatomy.gate, "width": llama.anatomy.width,
    }  # fmt: skip
    results = doctest.testmod(importlib.import_module(name), extraglobs=at_hand)
    assert results.failed == 0
    assert results.attempted > 0


def test_every_public_helper_has_an_example():
    for name in nnvalue.traces.__all__:
        assert ">>>" in getattr(nnvalue.traces, name).__doc__, name


def test_what_does_not_count_has_no_influence_not_even_nan():
    activation = torch.tensor([[[1.0], [float("nan")], [float("inf")], [-2.0]]])
    sums = per_neuron_sums(activation, torch.tensor([[1, 0, 0, 1]]))
    assert sums.flatten().tolist() == [1.0, -1.0, 5.0]
    assert per_neuron_sums(activation, torch.tensor([[1, 1, 0, 0]]))[1].isnan().all()  # a counted NaN is not hidden


def test_counts_are_exact_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        fired, _, _ = per_neuron_sums(torch.ones(1, 701, 2), torch.ones(1, 701))
    assert fired.flatten().tolist() == [701, 701]


def test_helpers_import_nothing_that_a_server_may_lack():
    allowed = {"__future__", "collections", "typing", "torch", "nnsight", "nnvalue.traces"}
    for path in Path(nnvalue.traces.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            for name in names:
                assert any(name == ok or name.startswith(ok + ".") for ok in allowed), f"{path.name} imports {name}"
