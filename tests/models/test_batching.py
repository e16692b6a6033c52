import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnvalue.errors import InvalidInputError
from nnvalue.models import pad_left, plan_batches


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(1, 200))
def test_a_plan_holds_every_text_once_within_the_budget(lengths, budget):
    plan = plan_batches(lengths, budget)
    assert sorted(number for batch in plan for number in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= budget
    assert plan == plan_batches(lengths, budget)


def test_little_of_a_batch_is_padding():
    lengths = [10] * 50 + [100] * 50
    plan = plan_batches(lengths, 1000)
    padded = sum(len(batch) * max(lengths[n] for n in batch) for batch in plan)
    assert padded <= 1.1 * sum(lengths)


def test_padding_is_on_the_left_and_masked():
    ids, mask = pad_left([[5, 6, 7], [8]], pad_id=0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_budget_below_one_token_is_refused():
    with pytest.raises(InvalidInputError, match="at least one token, 0 given"):
        plan_batches([1], 0)
