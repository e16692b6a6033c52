"""The training recipe in small: it runs, and a run that was stopped equals one that was not."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from nnvalue.organism import LESSONS
from nnvalue.values import POLES
from recipes import organism_batches, train_organism

SETTINGS = ["--steps", "4", "--precision", "float32", "--checkpoint-every", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def few_texts(monkeypatch):
    monkeypatch.setattr(train_organism, "TOKENIZER_TEXTS", 200)
    monkeypatch.setattr(organism_batches, "LESSONS", tuple(replace(lesson, speakers=2) for lesson in LESSONS))


def train(out):
    return CliRunner().invoke(train_organism.main, ["--out", str(out), *SETTINGS], catch_exceptions=False)


def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    assert train(tmp_path / "straight").exit_code == 0
    real, calls = train_organism.training_step, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(train_organism, "training_step", stopping)
    assert train(tmp_path / "stopped").exit_code == 1
    # A tokenizer of other texts would shuffle what the weights have learned of each token.
    monkeypatch.setattr(train_organism, "TOKENIZER_TEXTS", 100)
    assert train(tmp_path / "stopped").exit_code == 0
    assert len(calls) == 5  # four steps, and the one that was stopped
    for name in ("model/model.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_learning_rate_warms_up_and_falls():
    rates = [train_organism.learning_rate(step, 5300, 1.0) for step in range(5300)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[LESSONS[0].until - 1] == LESSONS[0].rate == 1.0
    assert rates[LESSONS[0].until] == LESSONS[1].rate
    assert rates[4400] == LESSONS[-1].rate
    assert rates[4850] == pytest.approx(LESSONS[-1].rate / 2)
    assert 0 < rates[-1] < 0.01


def test_the_average_starts_at_the_weights_and_then_lags():
    model = torch.nn.Linear(2, 2)
    average = {}
    train_organism.update_average(average, model, 0)
    assert torch.equal(average["weight"], model.weight)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    train_organism.update_average(average, model, 10_000)
    assert torch.allclose(average["weight"], before + 0.005, atol=1e-6)


def test_training_sees_nothing_of_the_test_split(edition):
    held_out = {row["text"] for table in (edition.descriptions, edition.situations, edition.portraits)
                for row in table if row["split"] == "test"}  # fmt: skip
    held_out |= {row[pole] for row in edition.sentences if row["split"] == "test" for pole in POLES}
    assert len(held_out) > 1000
    assert not held_out & {text.text for text in organism_batches.written_texts()}
    names = {role.name for role in organism_batches.shipped_roles() if role.split == "test"}
    stream = organism_batches.new_corpus([], seed=3)
    systems = [system for _ in range(3000) if (system := stream.draw().system)]
    assert not any(f" {name}," in f" {system}" for system in systems for name in names)


def test_lessons_end_where_a_pool_of_batches_does():
    ends = [lesson.until for lesson in LESSONS[:-1]]
    assert ends == sorted(ends)
    assert LESSONS[-1].until is None
    for before, end, after in zip(LESSONS, ends, LESSONS[1:], strict=False):
        assert end % organism_batches.POOL == 0
        assert organism_batches.lesson_at(end - 1).until == before.until
        assert organism_batches.lesson_at(end).until == after.until
