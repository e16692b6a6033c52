"""Features against plain hooks, scikit-learn and scipy; and the table they are kept in."""

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, ttest_1samp

from nnvalue import locate
from nnvalue.errors import ArtifactError, InvalidInputError, ModelError, UnknownNameError
from nnvalue.models import Response
from nnvalue.sae import SparseAutoencoder, ValueFeatures, contrast, locate_features, response_activations
from nnvalue.sae.locating import crossed, read_responses
from nnvalue.steering import random_features, value_features

SITE = "model.layers.3.output"
VALUES = ("power", "tradition")


def random_sae(width=192, count=48, seed=0, site=SITE):
    torch.manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(count, width), dim=-1)
    return SparseAutoencoder("jumprelu", decoder.T, decoder, torch.zeros(count), torch.zeros(width),
                             threshold=torch.full((count,), 0.2), site=site)  # fmt: skip


@pytest.fixture(scope="module")
def found(organism):
    return locate(organism, values=VALUES, situations=8, null=False, max_new_tokens=24)


@pytest.fixture(scope="module")
def features(organism, found):
    return locate_features(organism, random_sae(), found, top=6)


def test_figures_are_those_of_other_peoples_functions():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    sign = np.repeat([1, -1], 24)
    fold = np.tile(np.arange(6), 8)
    means = rng.normal(size=(48, 5)) + sign[:, None] * np.array([2.0, 0, -0.5, 0, 0])
    means[:, 3] = 0.0  # never active
    made = contrast(means, sign, fold)
    for column in range(5):
        assert made["auroc"][column] == pytest.approx(metrics.roc_auc_score(sign, means[:, column]))
        up, down = means[sign > 0, column], means[sign < 0, column]
        assert made["difference"][column] == pytest.approx(up.mean() - down.mean())
        pooled = np.sqrt((up.var() + down.var()) / 2)
        assert made["effect_size"][column] == pytest.approx((up.mean() - down.mean()) / pooled if pooled else 0)
    paired = np.array([
        means[(fold == k) & (sign > 0)].mean(0) - means[(fold == k) & (sign < 0)].mean(0) for k in range(6)
    ])  # fmt: skip
    p = [1.0 if column == 3 else ttest_1samp(paired[:, column], 0).pvalue for column in range(5)]
    np.testing.assert_allclose(made["q"], false_discovery_control(p))
    assert made["q"][0] < 0.01 < made["q"][1]


def test_what_is_read_is_what_plain_hooks_read(organism):
    """Prompt tokens that count, padding that counts, the last token that nothing follows: each changes a mean."""
    rng = np.random.default_rng(0)
    responses = [
        Response("", tuple(rng.integers(10, 500, 3 + n)), tuple(rng.integers(10, 500, 2 + n)), "", True)
        for n in range(4)
    ]
    sae = random_sae()
    means, peaks, dense, squares = read_responses(organism, sae, SITE, responses, 60, lambda *_: None)
    seen = {}
    module = organism.model._module
    handle = module.model.layers[3].register_forward_hook(lambda m, i, o: seen.update(x=o))
    try:
        for row, one in enumerate(responses):
            ids = torch.tensor([[*one.prompt_ids, *one.fed_ids]])
            with torch.no_grad():
                module(ids)
            x = seen["x"][0, len(one.prompt_ids) :]
            f = sae.encode(x)
            np.testing.assert_allclose(means[row], f.mean(0), atol=2e-4)
            np.testing.assert_allclose(peaks[row], f.amax(0), atol=5e-4)
            np.testing.assert_allclose(dense[row], (f > 0).float().mean(0), atol=0.51 / len(x))
            np.testing.assert_allclose(squares[row], x.square().sum(), rtol=1e-4)
    finally:
        handle.remove()


def test_the_table_is_of_the_strongest_and_of_either_pole(features):
    assert features.values == VALUES
    for value in VALUES:
        up, down = features.top(value, "positive"), features.top(value, "negative")
        assert 0 < len(up) <= 6
        assert all(one.score > 0 and one.auroc > 0.5 for one in up)
        assert all(one.score < 0 for one in down)
        called = [one.called for one in up]
        assert called == sorted(called, reverse=True) or [abs(one.score) for one in up] == sorted(
            (abs(one.score) for one in up), reverse=True
        )
        place = features.values.index(value)
        assert up[0].difference == pytest.approx(features.maps["difference"][place, up[0].feature])
    assert features.norm > 0
    assert features.config["sae"]["site"] == SITE


def test_saved_features_are_the_same(features, tmp_path, organism, llama):
    features.save(tmp_path / "f")
    again = ValueFeatures.load(tmp_path / "f")
    assert [tuple(map(str, row)) for row in again] == [tuple(map(str, row)) for row in features]
    assert again.norm == features.norm
    again.require_model(organism.identity())
    with pytest.raises(ModelError):
        again.require_model(llama.identity())
    (tmp_path / "f" / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        ValueFeatures.load(tmp_path / "f")


def test_steering_by_a_values_features(features, organism):
    """A dose of 1 adds as much as stands there; clamps go to the 95th percentile; random ones are as long."""
    sae = random_sae()
    steering = value_features(features, sae, "power", top=3)
    added = steering.amounts @ steering.decoder
    assert float(added.norm()) == pytest.approx(features.norm, rel=1e-5)
    assert steering.features == tuple(one.feature for one in features.top("power", "positive", 3))
    clamp = value_features(features, sae, "power", "negative", mode="clamp", top=2)
    assert clamp.amounts.tolist() == pytest.approx([one.q95 for one in features.top("power", "negative", 2)])
    control = random_features(steering, sae, seed=1)
    assert not set(control.features) & set(steering.features)
    assert float((control.amounts @ control.decoder).norm()) == pytest.approx(features.norm, rel=1e-5)
    steering.require_model(organism.identity())
    with pytest.raises(ModelError, match="another SAE"):
        value_features(features, random_sae(seed=1), "power")
    with pytest.raises(UnknownNameError, match="did you mean power"):
        value_features(features, sae, "powr")


def test_what_does_not_fit_is_refused(organism, found, llama):
    with pytest.raises(ModelError, match="layers 0 to 4"):
        locate_features(organism, random_sae(site="model.layers.9.output"), found)
    with pytest.raises(ModelError, match="reads 64 entries, and nnvalue/organism has 192"):
        locate_features(organism, random_sae(width=64), found)
    with pytest.raises(InvalidInputError, match="does not say what it reads"):
        locate_features(organism, random_sae(site=None), found)
    with pytest.raises(UnknownNameError, match="in this result"):
        locate_features(organism, random_sae(), found, ["security"])
    with pytest.raises(ModelError):
        locate_features(llama, random_sae(width=32, site="model.layers.1.output"), found)
    with pytest.raises(InvalidInputError, match="up to 20%"):
        random_features(value_features(locate_features(organism, random_sae(count=12), found), random_sae(count=12),
                                       "power", top=5), random_sae(count=12))  # fmt: skip


def test_tokens_for_training_are_those_that_decoding_feeds(organism):
    responses = [Response("", (11, 12, 13), (21, 22, 23), "", True), Response("", (11, 14), (31, 32), "", True)]
    found = response_activations(organism, responses, SITE, batch_tokens=16)
    assert found.shape == (3, 192)
    seen = {}
    module = organism.model._module
    handle = module.model.layers[3].register_forward_hook(lambda m, i, o: seen.update(x=o))
    expected = []
    for one in responses:
        with torch.no_grad():
            module(torch.tensor([[*one.prompt_ids, *one.fed_ids]]))
        expected.append(seen["x"][0, len(one.prompt_ids) :])
    handle.remove()
    expected = torch.cat(sorted(expected, key=len, reverse=True))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    whole = response_activations(organism, responses, SITE, prompts=True)
    assert len(whole) == (3 + 2 - 1) + (2 + 1 - 1)  # all that is fed but the first
    torch.testing.assert_close(whole[2:4], found[:2], atol=1e-3, rtol=1e-3)


def test_either_text_is_read_under_either_prompt(organism, found):
    """Rows double, each with the prompt of the other pole for the same situation, and its sign is the prompt's."""
    table = [row for row in found.response_table() if not row["null"]]
    made = crossed(table)
    assert len(made) == 2 * len(table)
    for own, other in zip(made[::2], made[1::2], strict=True):
        assert own["token_ids"] == other["token_ids"]
        assert own["pole"] != other["pole"]
        twin = next(
            row for row in table
            if (row["value"], row["situation_id"], row["pole"]) == (own["value"], own["situation_id"], other["pole"])
        )  # fmt: skip
        assert other["prompt_ids"] == twin["prompt_ids"]
    both = locate_features(organism, random_sae(), found, texts="both", top=3)
    assert both.config["texts"] == "both"
    assert both.config["responses"] == 2 * len(table)
    with pytest.raises(UnknownNameError, match="choose from both, own"):
        locate_features(organism, random_sae(), found, texts="none")
