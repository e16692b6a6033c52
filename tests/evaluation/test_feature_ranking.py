"""Features ranked by what they do: a planted one that moves a value's items comes first."""

import numpy as np
import torch

from nnvalue.evaluation import rank_features
from nnvalue.readout import measure, read_questionnaire
from nnvalue.sae import SparseAutoencoder, ValueFeatures
from nnvalue.sae.features import COLUMNS, MAPS
from nnvalue.sae.locating import sae_facts
from nnvalue.steering import feature_steering

SITE = "model.layers.3.output"


def planted(organism):
    """A table of six random features, three a pole, of the value power."""
    torch.manual_seed(3)
    decoder = torch.nn.functional.normalize(torch.randn(12, 192), dim=-1)
    sae = SparseAutoencoder("standard", decoder.T, decoder, torch.zeros(12), torch.zeros(192), site=SITE)
    columns = {name: np.zeros(6, dtype=kind) for name, kind in COLUMNS.items()}
    columns["pole"][:] = [1, 1, 1, -1, -1, -1]
    columns["feature"][:] = [0, 1, 2, 3, 4, 5]
    columns["score"][:] = [3, 2, 1, -3, -2, -1]
    maps = {name: np.zeros((1, 12), dtype=np.float32) for name in MAPS}
    config = {"model": organism.identity(), "sae": sae_facts(sae, SITE)}
    return ValueFeatures(("power",), columns, maps, 30.0, config), sae


def test_the_effect_is_that_of_measure_and_orders_the_table(organism, edition):
    found, sae = planted(organism)
    ranked = rank_features(organism, found, sae, edition, pairs=2)
    items = read_questionnaire("portraits", dataset=edition, split="locate", pairs=2)

    def score(steering):
        profile = measure(organism, items, steering=steering)
        rows = [row for row in profile.answers if row["value"] == "power"]
        sides = [np.mean([row["score"] for row in rows if row["keying"] == pole]) for pole in ("positive", "negative")]
        return (sides[0] - sides[1]) / 2

    plain = score(None)
    for row in ranked:
        steering = feature_steering(sae, [row.feature], [30.0])
        sign = 1 if row.pole == "positive" else -1
        assert abs(row.causal - sign * (score(steering) - plain)) < 2e-3
        assert abs(row.score) == abs(np.float32(row.causal))
    for pole in ("positive", "negative"):
        effects = [row.causal for row in ranked if row.pole == pole]
        assert effects == sorted(effects, reverse=True)
    assert {row.feature for row in ranked} == set(range(6))
    assert ranked.config["ranking"]["ranked_by"] == "causal"
