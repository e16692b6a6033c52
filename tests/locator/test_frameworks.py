"""Nothing assumes ten values on a circle: moral foundations go through the verb, locally and on a server."""

import pytest

from nnvalue import locate
from nnvalue.dataset import load_valueinsight
from nnvalue.errors import InvalidInputError, UnknownNameError
from nnvalue.values import load_framework

SMALL = {"dataset": "moral_foundations", "situations": 3, "folds": 2, "max_new_tokens": 6, "null": False}


def test_a_dataset_brings_its_own_framework(llama):
    """Its values and groups are taken without a word about the framework, and named in the result."""
    found = locate(llama, **SMALL)
    assert found.values == ("care", "fairness", "loyalty", "authority", "sanctity")
    assert found.config["settings"]["framework"] == "moral_foundations"
    assert found.config["dataset"]["sha256"] == load_valueinsight("moral_foundations").fingerprint


def test_a_group_pools_its_members(llama):
    found = locate(llama, values=("binding",), **SMALL)
    assert found.config["counts"]["binding"]["situations"] == 3 * 3


def test_circle_figures_are_said_not_to_be_defined():
    with pytest.raises(InvalidInputError, match="not defined for framework 'moral_foundations': no circle"):
        load_framework("moral_foundations").angle("care")


def test_a_framework_may_be_named_over_the_datasets_own(llama):
    with pytest.raises(UnknownNameError, match="no value 'care'"):
        locate(llama, **SMALL, values=("care",), framework="schwartz")
