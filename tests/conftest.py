"""What every test shares: a fixed seed, and no state left from test to test."""

import keras
import pytest


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=False)
