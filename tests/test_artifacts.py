import json
import os
import random
import signal
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnvalue import artifacts
from nnvalue.artifacts import (
    Journal,
    read_folder,
    read_json,
    read_tensors,
    tensor_bytes,
    write_folder,
    write_json,
    write_tensors,
)
from nnvalue.errors import ArtifactError

TENSORS = {"a": torch.arange(300.0).reshape(30, 10), "b": torch.tensor([1, 2, 3]), "empty": torch.zeros(0)}


def test_tensors_and_facts_come_back(tmp_path):
    write_tensors(tmp_path / "t.safetensors", TENSORS, {"step": 3})
    tensors, facts = read_tensors(tmp_path / "t.safetensors")
    assert facts == {"step": 3}
    assert set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_equal_content_gives_equal_bytes_in_whatever_order():
    backwards = dict(reversed(TENSORS.items()))
    assert tensor_bytes(TENSORS, {"x": 1, "y": 2}) == tensor_bytes(backwards, {"y": 2, "x": 1})
    assert artifacts.canonical_json({"b": 1, "a": "é"}) == artifacts.canonical_json({"a": "é", "b": 1})


def test_every_damaged_bit_of_a_tensor_file_is_noticed(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS, {"step": 3})
    good = path.read_bytes()
    rng = random.Random(0)
    for _ in range(400):
        bad = bytearray(good)
        if rng.random() < 0.3:
            bad = bad[: rng.randrange(len(bad))]
        else:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            tensors, facts = read_tensors(path)
        except ArtifactError:
            continue
        # What still loads must be unharmed: a flipped bit in the header's padding, for example.
        assert facts == {"step": 3}
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_in_one_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("x") / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not a tensor file of nnvalue"):
        read_tensors(path)


def test_a_foreign_safetensors_file_and_a_pickle_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "pickle.safetensors")
    for name in ("foreign", "pickle"):
        with pytest.raises(ArtifactError, match="not a tensor file of nnvalue"):
            read_tensors(tmp_path / f"{name}.safetensors")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"good": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        write_json(path, {"good": 2})
    assert read_json(path) == {"good": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "run", "kind", {"a.txt": b"old"})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ArtifactError, match="No space left"):
        write_folder(tmp_path / "run", "kind", {"a.txt": b"new"})
    monkeypatch.undo()
    assert read_folder(tmp_path / "run", "kind")["a.txt"] == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_killed_while_writing_a_file_is_old_or_new_and_never_half(tmp_path):
    path = tmp_path / "x.json"
    script = (
        "import sys\nfrom pathlib import Path\nfrom nnvalue.artifacts import write_json\n"
        "n = 0\nwhile True:\n    n += 1\n    write_json(Path(sys.argv[1]), {'n': [n] * 20000})\n"
    )
    rng = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        try:
            process.wait(timeout=0.3 + rng.random() * 0.3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if path.exists():
            numbers = json.loads(path.read_text())["n"]
            assert len(numbers) == 20000
            assert len(set(numbers)) == 1
    assert path.exists()


@pytest.fixture
def result(tmp_path):
    write_folder(tmp_path / "run", "kind", {"a.json": b"{}", "b.bin": b"\0" * 50})
    return tmp_path / "run"


def test_a_folder_comes_back_and_is_replaced_as_a_whole(result):
    assert read_folder(result, "kind") == {"a.json": b"{}", "b.bin": b"\0" * 50}
    write_folder(result, "kind", {"c.txt": b"c"})
    assert read_folder(result, "kind") == {"c.txt": b"c"}
    assert sorted(path.name for path in result.iterdir()) == ["c.txt", "manifest.json"]


def test_a_folder_that_is_something_else_is_never_replaced(tmp_path, result):
    for name, files in {"mine": {"thesis.txt": b"x"}, "other": None}.items():
        place = tmp_path / name
        if files is None:
            write_folder(place, "another kind", {"a": b"a"})
        else:
            place.mkdir()
            (place / "thesis.txt").write_bytes(b"x")
        before = {path.name for path in place.iterdir()}
        with pytest.raises(ArtifactError, match="is no kind result"):
            write_folder(place, "kind", {"a.txt": b"new"})
        assert {path.name for path in place.iterdir()} == before


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / "b.bin").unlink(), "incomplete: b.bin"),
        (lambda run: (run / "b.bin").write_bytes(b"\0" * 49 + b"\1"), "b.bin is damaged"),
        (lambda run: (run / "manifest.json").unlink(), "has no manifest.json"),
        (lambda run: (run / "manifest.json").write_text("[1"), "cannot be read as JSON"),
        (lambda run: (run / "manifest.json").write_text("[1]"), "not a manifest"),
        (
            lambda run: (run / "manifest.json").write_text('{"kind": "kind", "sha256": {"../x": "0"}}'),
            "outside its folder",
        ),
        (lambda run: (run / "manifest.json").write_text('{"kind": "song", "sha256": {}}'), "holds a 'song' result"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused_by_name(result, harm, message):
    harm(result)
    with pytest.raises(ArtifactError, match=message):
        read_folder(result, "kind")


def test_the_journal_keeps_units_and_refuses_other_work(tmp_path):
    with Journal(tmp_path / "w", {"seed": 1}) as journal:
        assert not journal.has_json("a")
        journal.put_json("a", [1])
        journal.put_tensors("t", TENSORS)
    (tmp_path / "w" / ".b.json.99.tmp").write_text("half")
    with Journal(tmp_path / "w", {"seed": 1}) as journal:
        assert journal.get_json("a") == [1]
        assert torch.equal(journal.get_tensors("t")["a"], TENSORS["a"])
        assert not (tmp_path / "w" / ".b.json.99.tmp").exists()
    with pytest.raises(ArtifactError, match="unfinished work with other settings"):
        Journal(tmp_path / "w", {"seed": 2})
    journal = Journal(tmp_path / "w", {"seed": 1})
    journal.remove()
    assert not (tmp_path / "w").exists()


def test_units_of_the_journal_are_listed_and_forgotten(tmp_path):
    with Journal(tmp_path / "w", {}) as journal:
        for key in ("a-job-2", "a-job-1", "ab-job-1", "a-2"):
            journal.put_json(key, key)
        assert journal.json_keys("a-job-") == ["a-job-1", "a-job-2"]
        journal.drop_json("a-job-1")
        journal.drop_json("a-job-1")  # already gone
        assert journal.json_keys("a-job-") == ["a-job-2"]


def test_the_journal_throws_other_work_away_only_when_asked(tmp_path):
    with Journal(tmp_path / "w", {"seed": 1}) as journal:
        journal.put_json("a", 1)
    with Journal(tmp_path / "w", {"seed": 2}, discard=True) as journal:
        assert not journal.has_json("a")
    with Journal(tmp_path / "w", {"seed": 3}) as journal:  # no unit is done, so nothing is lost
        journal.put_json("a", 1)
    (tmp_path / "w" / "spec.json").unlink()
    with pytest.raises(ArtifactError, match="unfinished work with other settings"):  # whose units are these?
        Journal(tmp_path / "w", {"seed": 3})


def test_damaged_units_are_noticed_and_say_what_to_remove(tmp_path):
    with Journal(tmp_path / "w", {}) as journal:
        journal.put_json("a", [1, 2])
        journal.put_tensors("t", TENSORS)
        (tmp_path / "w" / "a.json").write_text((tmp_path / "w" / "a.json").read_text().replace("2", "3", 1))
        (tmp_path / "w" / "t.safetensors").write_bytes((tmp_path / "w" / "t.safetensors").read_bytes()[:-3])
        for read in (lambda: journal.get_json("a"), lambda: journal.get_tensors("t")):
            with pytest.raises(ArtifactError, match=r"remove .*w and start again"):
                read()


def test_a_user_s_own_file_in_a_result_is_never_deleted(result):
    (result / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"holds 'notes\.txt', which nnvalue did not write"):
        write_folder(result, "kind", {"c.txt": b"c"})
    assert (result / "notes.txt").read_text() == "mine"
    assert (result / "a.json").exists()


def test_a_kill_between_the_renames_loses_nothing(result):
    result.rename(result.with_name(".run.123.old"))
    result.with_name(".run.123.new").mkdir()
    artifacts.recover_folder(result)
    assert read_folder(result, "kind") == {"a.json": b"{}", "b.bin": b"\0" * 50}
    assert [path.name for path in result.parent.iterdir()] == ["run"]


def test_two_runs_in_one_journal_are_refused(tmp_path):
    with Journal(tmp_path / "w", {}), pytest.raises(ArtifactError, match="Another run is working"):
        Journal(tmp_path / "w", {})
    Journal(tmp_path / "w", {}).close()


def test_a_place_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        Journal(tmp_path / "file" / "w", {})
