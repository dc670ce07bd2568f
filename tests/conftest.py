"""What every test shares: a fixed seed, and no state left from test to test."""

import gc
import itertools
import pathlib
import sys

import compilation
import keras
import pytest

_TESTS = itertools.count(1)
# For `benchmarks`; last, so that an installed keras_distill comes first.
sys.path.append(str(pathlib.Path(__file__).parent.parent))


def pytest_configure():
    compilation.hurry()  # JAX looks at its flags when it is first used.
    gc.set_threshold(100_000, 20, 100_000)


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=False)
    if next(_TESTS) % 50 == 0:
        _collect()


def _collect():
    """Looks for garbage among what is new, and not through all again.

    TensorFlow keeps the graphs of steps that a `fit` has traced, also of plain
    Keras models: millions of objects, of which Python would look at each, again
    and again, in a fifth of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Tests that share a fixture of their module run in one process of xdist.

    Such a fixture trains, or starts processes, and is else made in each.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if _shares_a_fixture(item):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


def _shares_a_fixture(item):
    found = item._fixtureinfo.name2fixturedefs.values()
    return any(definitions[-1].scope == "module" for definitions in found)
