"""Whatever is trained, many devices log and learn what one does."""

import devices
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("devices"),
    devices.needs("jax", "tensorflow"),
]
WORKER = "devices_worker.py"
DEVICES = {"jax": 4, "tensorflow": 2}
CASES = [
    "every loss",
    "sample_weight",
    "class_weight",
    "Ensemble",
    "SpecialistEnsemble",
    "schedules",
    "features",
    "mixed_bfloat16",
    "cache of arrays",
    "cache of top-k logits",
    "cache of a PyDataset",
    "cache of tf.data",
]


@pytest.fixture(scope="module", params=DEVICES)
def results(request, tmp_path_factory):
    count, folder = DEVICES[request.param], tmp_path_factory.mktemp("caches")
    return devices.results(WORKER, request.param, folder, devices=count)


def test_these_are_all(results):
    assert list(results["one"]) == list(results["many"]) == CASES


@pytest.mark.parametrize("case", CASES)
def test_many_devices_log_and_learn_what_one_does(results, case):
    one, many = results["one"][case], results["many"][case]
    assert many["logs"].keys() == one["logs"].keys() >= {"loss", "soft_loss"}
    # Half precision rounds each device's part of a sum.
    tolerance = 1e-3 if case == "mixed_bfloat16" else 1e-5
    for name, values in one["logs"].items():
        np.testing.assert_allclose(
            many["logs"][name], values, rtol=tolerance, atol=tolerance
        )
    np.testing.assert_allclose(
        many["weights"], one["weights"], rtol=0, atol=tolerance
    )
