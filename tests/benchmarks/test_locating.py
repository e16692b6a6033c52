"""The figures of the table of methods, by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import locating
from benchmarks.locating import (
    average_precision,
    figures_of,
    measure_once,
    over_organisms,
    ratios,
    summarise,
)
from nnvalue.locator import LocateConfig, get_method, method_names


def test_average_precision_by_hand():
    """Hits at ranks 1 and 3 of four: (1/1 + 2/3) / 2. A flat score has its hits last: (1/3 + 2/4) / 2."""
    matters = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), matters) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4), matters) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision(np.array([0.0, 3.0, 4.0, 1.0]), matters) == pytest.approx((1 + 2 / 4) / 2)


def test_a_score_equal_to_the_gold_is_perfect_and_another_one_is_chance():
    random = torch.Generator().manual_seed(0)
    gold = {name: torch.randn(2, 1000, generator=random) for name in ("ablation", "indirect", "push")}
    perfect = figures_of(gold["ablation"], gold)
    assert perfect["auprc_ablation"] == perfect["precision_50"] == 1.0
    assert perfect["auprc_push"] < 0.1
    turned = figures_of(-gold["push"], gold)
    assert (turned["auprc_push"], turned["sign_50"]) == (1.0, 0.0)


def test_intervals_are_over_organisms_and_not_over_values():
    """Two organisms at .2 and .4 whatever their values: mean .3, and t(1) = 12.706 × .1."""
    runs = [[{"m": {"v": {"auprc_ablation": x - 0.1}, "w": {"auprc_ablation": x + 0.1}}}] for x in (0.2, 0.4)]
    mean, half = summarise(runs)["m"]["auprc_ablation"]
    assert mean == pytest.approx(0.3)
    assert half == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert over_organisms([0.5, None]) is None


def test_the_best_blind_baseline_is_chosen_for_each_run():
    names = ("blind_sd", "blind_norm", "blind_loudness", "blind_firing_rate")
    run = {name: {"v": {"auprc_ablation": x}} for name, x in zip(names, (0.1, 0.2, 0.05, 0.1), strict=True)}
    measured = [[{**run, "m": {"v": {"auprc_ablation": 0.3}}}, {**run, "m": {"v": {"auprc_ablation": 0.5}}}]]
    assert ratios(measured, "m", names)["v"][0] == pytest.approx((1.5 + 2.5) / 2)


def test_what_was_measured_is_taken_from_the_work_folder_only_if_it_is_of_the_same(organism, tmp_path, monkeypatch):
    """Two data seeds are two measurements, a changed gold is another one, and the same again is none."""
    measured = []
    monkeypatch.setattr(locating, "measure", lambda *_, **settings: measured.append(settings) or {"n": len(measured)})
    gold = tmp_path / "power.safetensors"
    gold.write_bytes(b"one")

    def run(seed):
        return measure_once(tmp_path / "work", organism, tmp_path, seed, values=["power"], situations=4)["n"]

    assert [run(0), run(1), run(0), run(1)] == [1, 2, 1, 2]
    gold.write_bytes(b"another")
    assert [run(0), run(0)] == [3, 3]


RESULTS = Path(locating.__file__).parent / "results" / "locating.json"


def test_the_page_shows_what_was_measured():
    page = (RESULTS.parents[2] / "docs" / "locating.md").read_text(encoding="utf-8")
    assert locating.as_markdown(json.loads(RESULTS.read_text(encoding="utf-8"))) in page


def test_the_default_is_the_one_that_the_table_justifies():
    """The best under the primary gold of those that run everywhere, and above the best blind score in every value."""
    report, default = json.loads(RESULTS.read_text(encoding="utf-8")), LocateConfig().method
    assert (report["organisms"], report["data_seeds"], report["values"]) == (3, 3, 10)
    everywhere = [name for name in method_names() if name in report["table"] and not get_method(name).needs_weights]
    assert default == max(everywhere, key=lambda name: report["table"][name]["auprc_ablation"][0])
    by_value = report["against_the_best_blind"][default].values()
    assert all(mean - half > 1 for mean, half in by_value)
    assert sum(mean >= 1.5 for mean, _ in by_value) > 5
