"""`locate` with its A/A null, against the same worked out step by step."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from nnvalue.dataset import build_contrasts, from_rows
from nnvalue.errors import ArtifactError, DatasetError, InvalidInputError
from nnvalue.findings import ValueNeurons
from nnvalue.findings_card import significance_in_words
from nnvalue.locator import TopK, compare_methods, comparison_table, gather_contrasts, locate
from nnvalue.locator.significance import paired_test, q_values
from nnvalue.models import generate_responses, generation
from nnvalue.values import POLES

CASE = {"values": ("power",), "situations": 8, "folds": 4, "max_new_tokens": 32}
SMALL = {**CASE, "method": "firing_difference"}


@pytest.fixture(scope="module")
def found(organism):
    return locate(organism, **SMALL)


def arms_of(organism, edition, null_of=None, value="power"):
    """Both arms generated anew, the A/A ones without a thought for what is known already; and the folds."""
    contrasts = build_contrasts(edition, value, situations=8, folds=4, null_of=null_of)
    arms = [
        generate_responses(organism, [getattr(contrast, pole) for contrast in contrasts], max_new_tokens=32)
        for pole in POLES
    ]
    return *arms, [contrast.fold for contrast in contrasts]


def moments_of(organism, edition, null_of=None, value="power"):
    return gather_contrasts(organism, *arms_of(organism, edition, null_of, value), "gate")


def delta(moments):
    return (moments.positive.firing_rate() - moments.negative.firing_rate()).numpy()


@pytest.fixture(scope="module")
def by_hand(organism, edition):
    real = moments_of(organism, edition)
    null = np.concatenate([delta(moments_of(organism, edition, pole)).ravel() for pole in POLES])
    return real, null


def test_called_are_those_beyond_both_test_and_null(found, by_hand):
    """Catches a pole left out, a bar from the real arms, arms that share a description, a test over contrasts."""
    real, null = by_hand
    bar = np.quantile(np.abs(null[null != 0]), 0.95)
    means = real.firing.fold_means()
    q = q_values(paired_test([means])).numpy()
    difference = (real.firing.total.sum(0) / 8).numpy()
    expected = (np.abs(delta(real)) > bar) & (q < 0.05) & (np.sign(delta(real)) == np.sign(difference))
    assert (found.maps["called"][0] == expected).all()
    assert np.allclose(found.maps["q"][0], q)
    facts = found.config["counts"]["power"]["significance"]
    assert facts["bar"] == facts["delta_bar"] == pytest.approx(bar)
    assert facts["called"] == {
        "positive": (expected & (delta(real) > 0)).sum(), "negative": (expected & (delta(real) < 0)).sum(),
    }  # fmt: skip
    assert facts["delta_beyond"] == {
        "0.10": (np.abs(delta(real)) >= 0.1).sum(), "0.03": (np.abs(delta(real)) >= 0.03).sum(),
    }  # fmt: skip
    assert [row.called for row in found] == [bool(expected[row.layer, row.neuron]) for row in found]


def test_called_on_the_same_texts_are_those_beyond_both_test_and_null(organism, edition):
    """The default method. Catches a null whose arms each keep their own text, and a test that does."""
    made = {}
    for null_of in (None, *POLES):
        one, other, folds = arms_of(organism, edition, null_of)
        said = [
            [replace(a, token_ids=b.token_ids) for a, b in zip(*pair, strict=True)]
            for pair in product((one, other), repeat=2)
        ]
        made[null_of] = gather_contrasts(organism, said[0] + said[1], said[2] + said[3], folds + folds, "down_in")
    score = {null_of: (each.positive.mean() - each.negative.mean()).numpy() for null_of, each in made.items()}
    null = np.abs([score[pole] for pole in POLES])
    bar = np.quantile(null[null != 0], 0.95)
    q = q_values(paired_test([made[None].mean.fold_means()])).numpy()
    expected = (
        (np.abs(score[None]) > bar) & (q < 0.05) & (np.sign(score[None]) == np.sign(made[None].mean.mean().numpy()))
    )
    found = locate(organism, **CASE)
    assert found.config["counts"]["power"]["significance"]["bar"] == pytest.approx(bar, rel=1e-5)
    assert np.allclose(found.maps["q"][0], q, rtol=1e-3)
    assert 0 < expected.sum() < expected.size
    assert (found.maps["called"][0] != expected).mean() < 0.001  # sums in another order


def test_the_words_say_what_the_numbers_say(found):
    facts = found.config["counts"]["power"]["significance"]
    first, *warnings = significance_in_words(found)
    assert f"{sum(facts['called'].values()):,} of {found.maps['q'].size:,} (" in first
    assert all(f"{count:,} (|δ| ≥ {bound})" in first for bound, count in facts["delta_beyond"].items())
    assert any("0.03" in sentence for sentence in warnings) == (facts["delta_bar"] > 0.03)
    assert any("0.10" in sentence for sentence in warnings) == (facts["delta_bar"] > 0.10)


def test_the_responses_of_the_null_are_kept_and_marked(found):
    table = found.response_table()
    assert [sum(row["null"] == kind for row in table) for kind in (False, True)] == [16, 16]
    own = {(row["pole"], row["situation_id"]): row["system"] for row in table if not row["null"]}
    assert all(row["system"] != own[row["pole"], row["situation_id"]] for row in table if row["null"])


def test_only_called_neurons_are_selected_where_asked(organism):
    some = locate(organism, **SMALL, only_called=True, selection=TopK(2000))
    assert 0 < len(some) == int(some.maps["called"].sum()) < int((some.maps["score"] != 0).sum())
    assert all(row.called for row in some)


def test_without_the_null_no_neuron_is_called(organism, found):
    plain = locate(organism, **SMALL, null=False)
    assert (plain.maps["score"] == found.maps["score"]).all()
    assert (plain.maps["q"] == found.maps["q"]).all()
    assert not plain.maps["called"].any()
    assert "No neuron is called" in significance_in_words(plain)[0]


def test_what_makes_no_null_is_refused_before_any_work(organism, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "generate_batches", lambda *_: pytest.fail("worked"))
    with pytest.raises(InvalidInputError, match="two folds"):
        locate(organism, values=("power",), situations=1)
    with pytest.raises(InvalidInputError, match="no neuron is called"):
        locate(organism, **SMALL, null=False, only_called=True)
    base = {"value": "power", "facet": "f", "split": "locate"}
    descriptions = [{**base, "id": pole, "pole": pole, "pair": 0, "text": pole} for pole in POLES]
    situations = [{**base, "id": f"s{n}", "core": f"c{n}", "domain": "d", "text": f"text {n}"} for n in range(4)]
    with pytest.raises(DatasetError, match="two descriptions at least"):
        locate(organism, values=("power",), situations=None, dataset=from_rows("mine", descriptions, situations))


def test_methods_are_compared_on_the_same_responses(organism, found, tmp_path, monkeypatch):
    """Catches a reading of another method's, a second generation, a q or a bar that belongs to another score."""
    generated = []
    original = generation.generate_batches
    monkeypatch.setattr(generation, "generate_batches", lambda *given: generated.append(1) or original(*given))
    names = ("firing_difference", "mean_difference", "effect_size", "random", "prompt_difference")
    compared = compare_methods(names, organism, **SMALL, out=tmp_path / "out")
    n_generated, alone = len(generated), locate(organism, **CASE, method="mean_difference")
    assert n_generated == len(generated) - n_generated  # once for all methods
    assert list(compared["firing_difference"]) == list(found)
    assert np.array_equal(compared["mean_difference"].maps["called"], alone.maps["called"])
    assert list(compared["prompt_difference"]) == list(locate(organism, **CASE))  # own and both texts in one run
    assert compared["effect_size"].config["counts"]["power"]["tokens"] == {"positive": 8, "negative": 8}
    saved = {name: ValueNeurons.load(tmp_path / "out" / name) for name in names}
    assert all(list(saved[name]) == list(compared[name]) for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    monkeypatch.setattr(generation, "generate_batches", lambda *_: pytest.fail("worked again"))
    again = compare_methods(names, organism, **SMALL, out=tmp_path / "out")
    assert comparison_table(again) == comparison_table(compared)

    table = comparison_table(compared)
    assert abs(table["methods"]["random"]["split_half_r"]) < 0.1 < table["methods"]["firing_difference"]["split_half_r"]
    assert table["methods"]["random"]["called"] is None
    assert table["overlap"][0][0] == table["overlap"][1][1] == 1.0
    scores = [torch.from_numpy(compared[name].maps["score"][0]).flatten() for name in names]
    assert table["correlation"][0][1] == pytest.approx(float(torch.corrcoef(torch.stack(scores))[0, 1]), abs=1e-5)
    sets = [{(*map(int, pair), pole) for pole in POLES for pair in compared[n].indices("power", pole)} for n in names]
    assert table["overlap"][0][1] == pytest.approx(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))


def test_a_comparison_does_not_overwrite_a_result(organism, found, tmp_path):
    found.save(tmp_path / "one")
    with pytest.raises(ArtifactError, match="result of one method"):
        compare_methods(("random",), organism, **SMALL, out=tmp_path / "one")
    with pytest.raises(InvalidInputError, match="No method"):
        compare_methods((), organism)


def test_what_has_no_test_needs_no_null(organism):
    """`random` of one situation runs, and generates no answer for a null that nothing would use."""
    found = locate(organism, values=("power",), situations=1, method="random", max_new_tokens=8)
    assert len(found.response_table()) == 2
    with pytest.raises(InvalidInputError, match="random has no test"):
        locate(organism, method="random", only_called=True)


def test_a_file_in_the_place_of_a_comparison_is_refused_before_any_work(organism, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("mine")
    monkeypatch.setattr(generation, "generate_batches", lambda *_: pytest.fail("worked"))
    with pytest.raises(ArtifactError, match="is a file"):
        compare_methods(("random",), organism, **SMALL, out=tmp_path / "taken")
