"""A survey on the stand-in server: the table of a local run, whatever its settings are."""

import numpy as np

from nnvalue.causal import Setting, prompt_settings, survey
from nnvalue.dataset import role_of
from nnvalue.steering import NeuronSteering


def test_a_survey_is_that_of_a_local_run(organism, remote, edition, tmp_path):
    edits = [("add", layer, n, 2.0) for layer in (2, 4) for n in range(20)]
    settings = [
        *prompt_settings(edition, ("power",)),
        Setting.of("last token", NeuronSteering.from_edits(edits)),
        Setting.of("every token", NeuronSteering.from_edits(edits, scope="all")),
    ]
    roles = [role_of(row) for row in edition.roles][:2]
    how = {"roles": roles, "dataset": edition, "split": "locate", "pairs": 1}
    here = survey(organism, settings, **how)
    there = survey(remote, settings, out=tmp_path / "there", **how)
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-3)
    np.testing.assert_allclose(there.mass, here.mass, atol=1e-4)
    assert np.abs(here.scores[3] - here.scores[4]).max() > 0.05
    assert not (tmp_path / "there.work").exists()
    assert all(value.is_meta for value in remote.model._module.parameters())
