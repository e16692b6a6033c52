"""Shared fixtures. Nothing here reaches a network."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from nnsight import CONFIG

from nnvalue.dataset import load_valueinsight
from nnvalue.models import open_model
from tests import tiny

CONFIG.APP.DEBUG = False  # nnsight turns it on when it sees pytest's -v
torch.set_num_threads(1)  # the models are tiny, and the machine may be shared


@pytest.fixture(scope="session")
def subjects():
    """One opened tiny model a family."""
    return {family: open_model(tiny.model(family), tokenizer=tiny.tokenizer()) for family in tiny.FAMILIES}


@pytest.fixture(params=tiny.FAMILIES)
def subject(request, subjects):
    return subjects[request.param]


@pytest.fixture
def llama(subjects):
    return subjects["llama"]


@pytest.fixture(scope="session")
def organism():
    return open_model()


@pytest.fixture(scope="session")
def edition():
    return load_valueinsight()
