"""Published scales through the readout: answers of known people, scores worked by hand from the scoring sheets."""

import re

import numpy as np
import pytest

from nnvalue import measure
from nnvalue.errors import ArtifactError, DatasetError, InvalidInputError, UnknownNameError
from nnvalue.models import options
from nnvalue.readout import scale
from nnvalue.values import load_framework
from nnvalue.values.forms import forms
from tests.readout.questionnaires import answer_by, item_file

TEN = tuple(load_framework().values)


def number_of(prompt):
    return int(re.search(r"item number (\d+)\.", prompt.user)[1])


def person(usual, **rest):
    """Who answers `usual`, but as said of some numbers."""
    other = {number: likeness for likeness, numbers in rest.items() for number in numbers}
    return lambda prompt: float_or_int(other.get(number_of(prompt), usual))


def float_or_int(likeness):
    return {"six": 6, "five": 5, "one": 1, "seven": 7, "against": -1}.get(likeness, likeness)


@pytest.mark.parametrize(
    ("name", "who", "mrat", "apart"),
    [
        # 14 items at 3, three at 6, two at 5, two at 1: 72 over 21 items.
        ("pvq21", person(3, six=(3, 8, 19), five=(12, 18), one=(2, 17)), 72 / 21,
         {"universalism": 6, "benevolence": 5, "power": 1}),
        # 37 items at 3, three at 6.
        ("pvq40", person(3, six=(2, 17, 39)), 129 / 40, {"power": 6}),
        # 51 items at 3, the three of face at 6, the three of caring at 1.
        ("pvqrr57", person(3, six=(9, 24, 49), one=(11, 25, 47)), 174 / 57, {"face": 6, "benevolence_caring": 1}),
        # Face counts for the mean alone, and caring is half of benevolence.
        ("pvqrr57_ten", person(3, six=(9, 24, 49), one=(11, 25, 47)), 174 / 57, {"benevolence": 2}),
        # The eleven unscored items at 7, power against the person, 42 items at 3.
        ("svs57", person(3, seven=(2, 6, 7, 10, 14, 19, 21, 23, 28, 42, 48), against=(3, 12, 27, 46)), 199 / 57,
         {"power": -1}),
        ("twivi20", person(3, six=(2, 12)), 66 / 20, {"tradition": 6}),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_a_person_worked_by_hand(name, who, mrat, apart, tmp_path, monkeypatch):
    """A key on another value, an order not turned round, a mean over scored items only: each gives other numbers."""
    answer_by(monkeypatch, who)
    found = measure(instrument=f"{name}={item_file(tmp_path, name)}")
    scores = dict(zip(found.values, found.scores[0], strict=True))
    for value, score in apart.items():
        assert scores.pop(value) == pytest.approx(score - mrat)
    assert list(scores.values()) == pytest.approx([3 - mrat] * len(scores))
    assert found.readout["mean_answer"]["neutral"] == pytest.approx(mrat)
    for order in ("rising", "falling"):
        assert found.parts[f"order {order}"] == pytest.approx(found.scores)
    assert set(found.parts) == {"order rising", "order falling"}  # one keying has no parts
    assert found.outcomes["failed"] == 0
    assert found.values == tuple(load_framework(found.framework).values)


def test_a_liking_for_low_numbers_is_no_value(tmp_path, monkeypatch):
    """Read in one order alone, somebody who always says 2 would be like no portrait, or like all of them."""
    answer_by(monkeypatch, lambda prompt: [0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    found = measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21')}")
    assert found.scores == pytest.approx(np.zeros((1, 10)))
    assert found.readout["mean_answer"]["neutral"] == pytest.approx(3.5)


def test_missing_items_are_listed_counted_and_not_guessed(tmp_path, monkeypatch):
    """A missing answer that counts as zero, or that nobody is told of."""
    asked = answer_by(monkeypatch, person(3, six=(3, 8, 19), five=(12, 18), one=(2, 17)))
    found = measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21', leave_out=(3, 10, 21))}")
    scores = dict(zip(found.values, found.scores[0], strict=True))
    mrat = (72 - 6 - 3 - 3) / 18
    assert found.readout["mean_answer"]["neutral"] == pytest.approx(mrat)
    assert scores["universalism"] == pytest.approx(6 - mrat)
    assert np.isnan(scores["hedonism"])
    assert found.outcomes == {"answered": 36, "refused": 0, "failed": 6}
    assert len(asked) == 36
    assert dict(zip(found.values, found.n[0], strict=True)) == {**dict.fromkeys(TEN, 4), "hedonism": 0}
    assert "3 of 21 items have no text and count as failed: pvq21-3, pvq21-10, pvq21-21." in found.readout["warnings"]


def test_an_answer_is_the_mean_over_what_the_options_carry(tmp_path, monkeypatch):
    """Not divided by the options' mass, an answer would sink with it; in one order 1 counts 1, in the other 6."""
    answer_by(monkeypatch, lambda prompt: [0.3, 0.0, 0.0, 0.0, 0.0, 0.1])
    found = measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21')}")
    by_order = {row["order"]: row["score"] for row in found.answers}
    assert by_order == pytest.approx({"rising": (0.3 + 0.6) / 0.4, "falling": (0.3 * 6 + 0.1) / 0.4}, rel=1e-6)
    assert found.readout["option_mass"]["neutral"] == pytest.approx(0.4)
    assert found.answers[0]["shares"] == pytest.approx([0.3, 0, 0, 0, 0, 0.1])


def test_an_item_of_which_one_order_fails_does_not_count(tmp_path, monkeypatch):
    """Kept with its other order alone, the model's liking for numbers would stand in for its values."""

    def mumble(prompt):
        if number_of(prompt) == 4 and "1 (quite unlike you)" in prompt.user:
            return [0.04, 0.0, 0.0, 0.0, 0.0, 0.0]
        return 6 if number_of(prompt) == 4 else 3

    answer_by(monkeypatch, mumble)
    found = measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21')}")
    assert found.outcomes == {"answered": 41, "refused": 0, "failed": 1}
    achievement = found.values.index("achievement")
    assert found.scores[0, achievement] == pytest.approx(0)  # item 13 alone, and all others, are 3
    assert found.n[0, achievement] == 2
    assert any("1 of 42 answers have failed" in said for said in found.readout["warnings"])
    failed = [row for row in found.answers if row["outcome"] == "failed"]
    assert [(row["item"], row["order"], row["score"]) for row in failed] == [("pvq21-4", "rising", None)]
    assert failed[0]["mass"] == pytest.approx(0.04)


def test_nothing_but_failures_is_no_profile_of_zeros(tmp_path, monkeypatch):
    answer_by(monkeypatch, lambda prompt: None)
    found = measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21')}", out=tmp_path / "out")
    assert np.isnan(found.scores).all()
    assert np.isnan(found.low).all()
    assert found.outcomes == {"answered": 0, "refused": 0, "failed": 42}
    assert found.readout["yes_saying"] == {"neutral": None}


def test_jsonl_files_are_read_too(tmp_path, monkeypatch):
    answer_by(monkeypatch, person(3))
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(f'{{"number": {n}, "text": "This is item number {n}."}}' for n in range(1, 21)))
    assert measure(instrument=f"twivi20={path}").readout["instrument"]["items"] == 20


def test_texts_of_a_published_scale_are_kept_nowhere(tmp_path, monkeypatch):
    """They belong to their authors, and a profile is made to be shared."""
    answer_by(monkeypatch, person(3))
    measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21')}", out=tmp_path / "out").to_pandas()
    assert not any(b"This is item" in path.read_bytes() for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("number,words\n1,a\n", "line 2: the column 'text' is missing"),
        ("number,text\n1,a\n1,b\n", "line 3: item 1 was given before"),
        ("number,text\n22,a\n", "numbers its items from 1 to 21, '22' given"),
        ("number,text\none,a\n", "'one' given"),
        ("number,text\n1,\n", "line 2: item 1 has no text"),
        ("number,text\n", "has no item"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_line(tmp_path, lines, message):
    (tmp_path / "f.csv").write_text(lines)
    with pytest.raises(DatasetError, match=message):
        measure(instrument=f"pvq21={tmp_path / 'f.csv'}")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"instrument": "pvq21"}, InvalidInputError, "belong to their authors.*pvq21=items.csv"),
        ({"instrument": "pvq12=x.csv"}, UnknownNameError, "did you mean pvq21"),
        ({"instrument": "pvq21=none.csv"}, DatasetError, "no file none.csv"),
        ({"instrument": "pvq21=none.txt"}, DatasetError, "must end in .csv, .jsonl, .parquet"),
        ({"instrument": "portrait"}, UnknownNameError, "did you mean portraits"),
        ({"split": "train"}, UnknownNameError, "no split 'train'"),
        ({"form": "essay"}, UnknownNameError, "no answer form 'essay'"),
        ({"form": "similarity"}, InvalidInputError, "replies to nothing"),
        ({"dataset": "moral_foundations", "framework": "schwartz"}, DatasetError, "no portraits of schwartz"),
        ({"voices": {}}, InvalidInputError, "nobody to ask"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(given, error, message):
    with pytest.raises(error, match=message):
        measure(**given)


def test_a_form_of_another_scale_is_refused(tmp_path):
    """1 … 6 in the place of −1 … 7 would be scored without a word."""
    with pytest.raises(InvalidInputError, match="does not count from -1 to 7"):
        measure(instrument=f"svs57={item_file(tmp_path, 'svs57')}", form="rating")
    with pytest.raises(InvalidInputError, match="does not count from 1 to 6"):
        measure(instrument=f"pvq21={item_file(tmp_path, 'pvq21')}", form="importance")


def test_a_finished_run_is_found_again_and_another_is_not_overwritten(tmp_path, monkeypatch):
    asked = answer_by(monkeypatch, lambda prompt: 4)
    first = measure(pairs=1, out=tmp_path / "out")
    count = len(asked)
    again = measure(pairs=1, out=tmp_path / "out")
    assert len(asked) == count
    assert again.scores.tolist() == first.scores.tolist()
    with pytest.raises(ArtifactError, match="other settings"):
        measure(pairs=2, out=tmp_path / "out")
    assert measure(pairs=2, out=tmp_path / "out", overwrite=True).asked == 2 * count
    assert not (tmp_path / "out.work").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("")
    with pytest.raises(ArtifactError, match="is no profile"):
        measure(pairs=1, out=tmp_path / "mine")


def test_a_stopped_run_goes_on_where_it_was(organism, tmp_path, monkeypatch):
    """A kill costs one batch; what comes of it in the end is the same, to the byte."""
    settings = {"model": organism, "pairs": 1, "batch_tokens": 400}

    def stop(stage, done, total):
        if done > 10:
            raise KeyboardInterrupt

    batches = []
    trace = options.options_of_batches
    monkeypatch.setattr(
        options, "options_of_batches", lambda model, some, backend: batches.append(some) or trace(model, some, backend)
    )
    with pytest.raises(KeyboardInterrupt):
        measure(**settings, out=tmp_path / "out", progress=stop)
    stopped = len(batches)
    measure(**settings, out=tmp_path / "out")
    both = len(batches)
    whole = measure(**settings, out=tmp_path / "whole")
    assert 0 < stopped < both == len(batches) - both
    for name in ("profile.json", "scores.safetensors", "answers.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert whole.outcomes["failed"] == 0


def test_forms_beyond_portraits_have_orders_that_mirror_each_other():
    """An order whose scores were not turned round would count a liking for one option as a value."""
    for name in ("agreement", "similarity", "importance"):
        rising, falling = forms(name)
        assert rising.options == falling.options
        assert rising.scores == falling.scores[::-1]
        assert rising.scores == tuple(sorted(rising.scores))
    assert forms("importance")[0].scores == (-1, 0, 1, 2, 3, 4, 5, 6, 7)
    assert forms("similarity")[0].ask("a {query} b", "c {portrait} d").count("{") == 2
    assert scale.MIN_MASS == 0.05
