import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nnvalue.artifacts import Journal
from nnvalue.dataset import build_contrasts, from_rows
from nnvalue.errors import ArtifactError, InvalidInputError, UnknownNameError
from nnvalue.findings import ValueNeurons
from nnvalue.locator import Moments, Threshold, TopK, cohens_d, collect, gather_contrasts, locate
from nnvalue.models import Response, encode_prompt, generation, open_model
from tests import tiny

SMALL = {"values": ("power", "tradition"), "situations": 12, "max_new_tokens": 32, "batch_tokens": 900, "null": False}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def finished(organism, tmp_path_factory):
    out = tmp_path_factory.mktemp("located") / "run"
    locate(organism, out=out, **SMALL)
    return out


@pytest.fixture(scope="module")
def published(organism, tmp_path_factory):
    """By the paper's method, which reads each prompt's own response and nothing else."""
    out = tmp_path_factory.mktemp("published") / "run"
    locate(organism, out=out, **SMALL, method="firing_difference")
    return out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(organism, finished, tmp_path):
    locate(organism, out=tmp_path / "again", **SMALL)
    assert contents(tmp_path / "again") == contents(finished)
    other = locate(organism, **SMALL, seed=1)
    assert list(other) != list(ValueNeurons.load(finished))


def test_a_result_is_whole_and_leaves_nothing_behind(finished):
    assert set(contents(finished)) == {
        "README.md",
        "config.json",
        "manifest.json",
        "neurons.safetensors",
        "responses.parquet",
    }
    assert [path.name for path in finished.parent.iterdir()] == ["run"]


def test_saved_equals_in_memory(organism, finished):
    loaded, made = ValueNeurons.load(finished), locate(organism, **SMALL)
    assert list(loaded) == list(made)
    assert (loaded.delta == made.delta).all()


def test_responses_are_kept_as_a_dataset(published):
    found = ValueNeurons.load(published)
    table = found.response_table()
    assert len(table) == 2 * 2 * 12
    tokens = sum(row["counted_tokens"] for row in table if row["value"] == "power" and row["pole"] == "positive")
    assert tokens == found.config["counts"]["power"]["tokens"]["positive"]
    assert all(row["text"] and row["finished"] for row in table)


def test_a_finished_result_is_given_back_without_work(organism, finished, monkeypatch):
    monkeypatch.setattr(generation, "generate_batches", lambda *_: pytest.fail("generated again"))
    assert list(locate(organism, out=finished, **SMALL)) == list(ValueNeurons.load(finished))


def test_a_result_of_other_settings_is_not_replaced_unless_asked(organism, finished, tmp_path):
    before = contents(finished)
    with pytest.raises(ArtifactError, match="result of other settings"):
        locate(organism, out=finished, **{**SMALL, "situations": 3})
    assert contents(finished) == before
    locate(organism, out=tmp_path / "x", **{**SMALL, "values": ("power",), "situations": 3})
    locate(organism, out=tmp_path / "x", overwrite=True, **{**SMALL, "values": ("power",), "situations": 4})
    assert ValueNeurons.load(tmp_path / "x").config["counts"]["power"]["situations"] == 4


def test_a_place_that_is_taken_is_refused_before_any_work(organism, tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("mine")
    monkeypatch.setattr(generation, "generate_batches", lambda *_: pytest.fail("worked"))
    with pytest.raises(ArtifactError, match="no result of locating"):
        locate(organism, out=tmp_path, overwrite=True, **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_unfinished_work_of_other_settings_is_refused(organism, tmp_path):
    with Journal(tmp_path / "run.work", {"other": 1}) as journal:
        journal.put_json("unit", 1)
    with pytest.raises(ArtifactError, match="unfinished work with other settings"):
        locate(organism, out=tmp_path / "run", **SMALL)
    locate(organism, out=tmp_path / "run", overwrite=True, **{**SMALL, "values": ("power",), "situations": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_stored_responses_are_enough_to_count_again(organism, published):
    """The ids are kept: the statistics come back without generating anything."""
    from nnvalue.locator import gather_contrasts
    from nnvalue.models import Response

    found = ValueNeurons.load(published)
    poles = {"positive": [], "negative": []}
    folds = []
    for row in found.response_table():
        if row["value"] == "power":
            ids = tuple(row["prompt_ids"]), tuple(row["token_ids"])
            poles[row["pole"]].append(Response(row["situation_id"], *ids, row["text"], row["finished"]))
            folds += [row["fold"]] if row["pole"] == "positive" else []
    again = gather_contrasts(organism, *poles.values(), folds, "gate")
    assert (again.positive.firing_rate().float().numpy() == found.maps["firing_positive"][0]).all()
    assert (again.negative.firing_rate().float().numpy() == found.maps["firing_negative"][0]).all()


@pytest.mark.parametrize("name", ["situations", "folds", "max_new_tokens", "batch_tokens"])
def test_numbers_below_one_are_refused_before_any_work(tmp_path, name):
    with pytest.raises(InvalidInputError, match=f"{name} must be at least 1, 0 given"):
        locate(out=tmp_path / "run", **{name: 0})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_goes_on_and_repeats_no_finished_batch(organism, finished, tmp_path, monkeypatch):
    """Interrupted again and again at random batches; every batch is computed once in all."""
    rng = random.Random(0)
    calls = {"finished": 0, "left": 0}

    def interrupting(real):
        def call(*arguments):
            if calls["left"] == 0:
                calls["left"] = rng.randint(1, 6)
                raise KeyboardInterrupt
            calls["left"] -= 1
            calls["finished"] += 1
            return real(*arguments)

        return call

    for module, name in ((generation, "generate_batches"), (collect, "sum_contrasts"), (collect, "sum_digits")):
        monkeypatch.setattr(module, name, interrupting(getattr(module, name)))
    runs = 0
    while not (tmp_path / "run").exists():
        runs += 1
        calls["left"] = rng.randint(1, 6)
        try:
            locate(organism, out=tmp_path / "run", **SMALL)
        except KeyboardInterrupt:
            continue
    interrupted_calls = calls["finished"]
    assert runs > 3
    assert contents(tmp_path / "run") == contents(finished)
    calls.update(finished=0, left=10**9)
    locate(organism, out=tmp_path / "straight", **SMALL)
    assert interrupted_calls == calls["finished"]


def test_killed_at_random_moments_the_result_is_the_same(finished, tmp_path):
    command = [
        sys.executable, "-m", "nnvalue", "locate", "--value", "power", "--value", "tradition", "--situations", "12",
        "--max-new-tokens", "32", "--batch-tokens", "900", "--no-null", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    rng = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kept: dict[str, int] = {}
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 120
        seen = len(list(tmp_path.glob("run.work/*")))
        # Wait until it has got further, then strike at a random moment after that.
        while process.poll() is None and len(list(tmp_path.glob("run.work/*"))) <= seen and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "run").exists()  # it was struck while unfinished
        units = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("run.work/*-responses-*.json")}
        assert kept.items() <= units.items()  # what was finished before was not done again
        kept = units
    assert kept
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    assert contents(tmp_path / "run") == contents(finished)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_group_pools_the_counts_of_its_members(organism):
    found = locate(organism, **{**SMALL, "values": ("self_enhancement", "achievement", "power")})
    counts = found.config["counts"]
    assert counts["self_enhancement"]["situations"] == 24
    for pole in ("positive", "negative"):
        n = [counts[value]["tokens"][pole] for value in ("achievement", "power")]
        rates = found.maps[f"firing_{pole}"]
        pooled = (rates[1].astype("float64") * n[0] + rates[2].astype("float64") * n[1]) / sum(n)
        assert counts["self_enhancement"]["tokens"][pole] == sum(n)
        assert abs(rates[0] - pooled).max() < 1e-6


def test_the_published_rule_and_the_other_site(organism):
    settings = {**SMALL, "values": ("power",), "method": "firing_difference"}
    found = locate(organism, **settings, selection=Threshold(0.3, 0), site="down_in")
    assert len(found)
    assert (abs(found.columns["delta"]) >= 0.3).all()
    assert len(found) == int((abs(found.delta) >= 0.3).sum())


@pytest.fixture(scope="module")
def prompted(organism, edition):
    """Statistics of two values' prompts at their last token, by the collector alone."""
    made = {}
    for value in ("power", "tradition"):
        contrasts = build_contrasts(edition, value, situations=12)
        responses = [
            [
                Response("", encode_prompt(organism.tokenizer, getattr(contrast, pole)), (), "", False)
                for contrast in contrasts
            ]
            for pole in ("positive", "negative")
        ]
        folds = [contrast.fold for contrast in contrasts]
        made[value] = gather_contrasts(organism, *responses, folds, "down_in", "last_prompt")
    return made


def test_methods_that_read_prompts_generate_nothing_and_score_as_defined(organism, prompted, monkeypatch):
    monkeypatch.setattr("nnvalue.locator.gathering.generate_responses", lambda *_, **__: pytest.fail("it generated"))
    found = locate(organism, **SMALL, method="effect_size", selection=TopK(20))
    for number, (value, moments) in enumerate(prompted.items()):
        expected = cohens_d(moments.positive, moments.negative).float().numpy()
        assert np.allclose(found.maps["score"][number], expected, atol=1e-5)
        best = np.abs(expected).max()
        assert abs(found.top(value, n=1)[0].score) == pytest.approx(best, abs=1e-5)
        assert len(found.indices(value, "positive")) == len(found.indices(value, "negative")) == 20
        assert found.config["counts"][value]["tokens"] == {"positive": 12, "negative": 12}
    assert {found.config["settings"][name] for name in ("method", "site", "tokens")} == {
        "effect_size", "down_in", "last_prompt",
    }  # fmt: skip
    assert not any(row["text"] for row in found.response_table())


def test_contrastive_runs_on_what_it_leaves_out(organism, prompted, edition):
    found = locate(organism, **SMALL, method="contrastive")
    gap = prompted["power"].positive.mean() - prompted["power"].negative.mean()
    score = torch.from_numpy(found.maps["score"][0])
    kept = score != 0
    assert not kept[:2].any()
    assert torch.allclose(score[kept], gap[kept].float(), atol=1e-5)
    assert 0 < (~kept[2:]).sum() < 2 * 60  # of each layer fewer than 50 can be loud on nearly every prompt


def test_lape_compares_the_values_of_a_run(organism):
    """A neuron belongs to a value that it fires for; the same value among others is another question."""
    found = locate(organism, **SMALL, method="lape")
    assert found.maps["score"].shape[0] == 2
    assert (found.maps["score"] != 0).any()


def test_lape_of_one_value_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("nnvalue.locator.pipeline.open_model", lambda *_: pytest.fail("opened a model"))
    with pytest.raises(InvalidInputError, match="two at least; 1 given"):
        locate(values=("power",), method="lape")


def test_a_method_may_be_asked_for_elsewhere(organism, prompted):
    found = locate(organism, **SMALL, method="firing_difference", site="down_in", tokens="last_prompt")
    expected = prompted["power"].positive.firing_rate() - prompted["power"].negative.firing_rate()
    assert np.allclose(found.maps["score"][0], expected.float())


def test_a_threshold_belongs_to_the_firing_difference():
    with pytest.raises(InvalidInputError, match="does not fit the scores of mean_difference"):
        locate(method="mean_difference", selection=Threshold())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_architecture_goes_through(subjects, family, edition):
    found = locate(subjects[family], values=("power",), situations=6, max_new_tokens=6, dataset=edition)
    assert found.config["model"]["family"] == family
    assert found.maps["firing_positive"].shape == (1, tiny.LAYERS, tiny.WIDTH)


def test_a_framework_without_circle_or_groups_goes_through(llama, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nvalues: [{name: thrift}]\n")
    base = {"value": "thrift", "facet": "f", "split": "locate"}
    descriptions = [
        {**base, "id": f"{pole}{n}", "pole": pole, "pair": n, "text": f"w{n} w{k}"}
        for n in range(2)
        for k, pole in enumerate(("positive", "negative"), start=5)
    ]
    situations = [{**base, "id": f"s{n}", "core": f"c{n}", "domain": "d", "text": f"w{n} w9"} for n in range(4)]
    found = locate(
        llama,
        framework=str(path),
        situations=None,
        max_new_tokens=4,
        null=False,
        dataset=from_rows("mine", descriptions, situations),
    )
    assert found.values == ("thrift",)
    assert found.config["settings"]["framework"] == "mine"
    with pytest.raises(UnknownNameError, match="no value 'power'"):
        locate(llama, framework=str(path), values=("power",))


def test_wrong_names_are_refused_before_a_model_is_opened(monkeypatch):
    monkeypatch.setattr("nnvalue.locator.pipeline.open_model", lambda *_: pytest.fail("opened a model"))
    with pytest.raises(UnknownNameError, match="did you mean tradition"):
        locate(values=("traditoin",))


def test_one_name_instead_of_a_tuple_is_refused():
    with pytest.raises(InvalidInputError, match=r"write values=\('power',\)"):
        locate(values="power")


def test_moments_pool_folds_side_by_side():
    parts = [Moments(torch.zeros(n), *torch.zeros(3, n, 1, 3)) for n in (2, 3)]
    parts[1].tokens[0] = 5
    pooled = Moments.pooled(parts)
    assert pooled.tokens.tolist() == [0, 0, 5, 0, 0]
    assert pooled.fired.shape == (5, 1, 3)


def test_an_organism_in_another_dtype_is_another_result(finished):
    subject = open_model(dtype=torch.bfloat16)
    assert subject.identity()["dtype"] == "bfloat16"
    with pytest.raises(ArtifactError, match="other settings"):
        locate(subject, out=finished, **SMALL)


def test_no_difference_is_a_finding_and_not_an_error(llama, tmp_path):
    """The tiny model knows none of the descriptions' words, so both poles are the same to it."""
    base = {"value": "power", "facet": "f", "split": "locate"}
    descriptions = [
        {**base, "id": f"{pole}{n}", "pole": pole, "pair": n, "text": f"{pole}{n} wholly unheard"}
        for n in range(4)
        for pole in ("positive", "negative")
    ]
    situations = [{**base, "id": f"s{n}", "core": f"c{n}", "domain": "d", "text": f"w{n} w9"} for n in range(4)]
    mine = from_rows("mine", descriptions, situations)
    locate(llama, values=("power",), situations=4, max_new_tokens=6, dataset=mine, out=tmp_path / "none")
    found = ValueNeurons.load(tmp_path / "none")
    assert len(found) == 0
    assert found.top("power") == []
    assert found.by_layer("power").tolist() == [0] * tiny.LAYERS
    assert not found.delta.any()
    assert not found.maps["called"].any()
