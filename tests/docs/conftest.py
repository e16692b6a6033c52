"""Commands that run in this process silence transformers; other tests hear it again."""

import pytest
from transformers.utils import logging


@pytest.fixture(autouse=True)
def transformers_speaks_again():
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)
    logging.enable_progress_bar()
