"""Features on two devices are those on one."""

import devices
import numpy as np
import pytest

LOGS = {"loss", "hard_loss", "soft_loss", "feature_loss"}
SCHEDULED = "hidden_feature_weight"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("distribution"),
    devices.needs("jax", "tensorflow"),
]


@pytest.fixture(scope="module", params=["jax", "tensorflow"])
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def results(backend):
    return devices.results("feature_worker.py", backend)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_two_devices_log_and_learn_what_one_does(results):
    one, two = results["one"], results["two"]
    names = LOGS | {SCHEDULED}
    assert one["logs"].keys() == names | {f"weighed_{n}" for n in names}
    for name, values in one["logs"].items():
        assert_close(two["logs"][name], values)
    assert len(one["weights"]) == 4 * 9 + 3 * 5 + 16 * 5
    assert_close(two["weights"], one["weights"])


def test_examples_are_compared_with_all_or_not_at_all(backend, results):
    one, two = results["relations, one"], results["relations, two"]
    if backend == "tensorflow":
        assert "RKD compares the examples of a batch" in two
        assert "Received: 2 replicas" in two
        return
    assert one.keys() == two.keys() == LOGS | {SCHEDULED}
    for name, value in one.items():
        assert_close(two[name], value)
