"""What every test shares: a fixed seed, and no state left from test to test."""

import pathlib
import sys

import keras
import pytest

# For `benchmarks`; last, so that an installed keras_distill comes first.
sys.path.append(str(pathlib.Path(__file__).parent.parent))


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=False)
