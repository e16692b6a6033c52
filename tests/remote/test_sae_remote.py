"""Features on the stand-in server, where nnvalue is not installed: found, steered by and read as in a local run."""

import numpy as np
import pytest
import torch

from nnvalue import locate
from nnvalue.models import next_token_logits
from nnvalue.prompts import Prompt
from nnvalue.sae import active_at, locate_features, response_activations
from nnvalue.steering import feature_steering
from tests.sae.test_locating import SITE, random_sae

CLOSE = 2e-3


def test_steering_is_that_of_a_local_run(organism, remote):
    prompts = [Prompt(f"p{n}", None, f"What do you do by your values on day {n}?") for n in range(3)]
    for settings in ({}, {"mode": "clamp"}, {"mode": "scale", "scope": "all"}, {"scope": {"text": " your values"}}):
        steering = feature_steering(random_sae(), [3, 7], [9.0, 4.0], **settings)
        here, there = (next_token_logits(one, prompts, steering=steering) for one in (organism, remote))
        torch.testing.assert_close(there, here, atol=CLOSE, rtol=1e-3)
        assert (here - next_token_logits(organism, prompts)).abs().max() > 0.01


def test_what_a_steering_sends_grows_with_its_features_and_not_with_the_dictionary(organism, remote, monkeypatch):
    """The bytes of the request itself, as they leave this machine."""
    sizes = []
    from nnvalue.models import jobs

    original = jobs.HandIn.__call__

    def weighed(self, tracer=None):
        try:
            original(self, tracer)
        finally:
            sizes.append(len(self.payload))

    monkeypatch.setattr(jobs.HandIn, "__call__", weighed)
    prompts = [Prompt("p", None, "What do you do?")]
    for count, features in ((48, 2), (960, 2), (960, 40)):
        steering = feature_steering(random_sae(count=count), range(features), [1.0] * features, mode="clamp")
        next_token_logits(remote, prompts, steering=steering)
    few, same, many = sizes
    assert abs(same - few) < 0.1 * few
    row = 2 * 4 * 192  # an encoder and a decoder row
    assert 30 * row < many - same < 60 * row


def test_features_are_found_there_as_here(organism, remote):
    found = locate(organism, values=("power",), situations=4, null=False, max_new_tokens=16)
    here = locate_features(organism, random_sae(), found, top=4)
    found_there = type(found)(
        found.values, found.columns, found.maps, {**found.config, "model": remote.identity()}, found.responses
    )  # fmt: skip
    there = locate_features(remote, random_sae(), found_there, top=4)
    for name in here.maps:
        np.testing.assert_allclose(there.maps[name], here.maps[name], atol=0.05, rtol=0.02)
    assert there.norm == pytest.approx(here.norm, rel=1e-3)


def test_activations_and_words_are_read_there(organism, remote):
    from nnvalue.models import Response

    said = [Response("", (11, 12, 13), (21, 22, 23, 24), "", True)]
    torch.testing.assert_close(
        response_activations(remote, said, SITE), response_activations(organism, said, SITE), atol=CLOSE, rtol=1e-3
    )  # fmt: skip
    prompt = Prompt("p", None, "What do you do by your values?")
    here, there = (active_at(one, random_sae(), prompt, " your values", top=3) for one in (organism, remote))
    assert [feature for feature, _ in here] == [feature for feature, _ in there]
