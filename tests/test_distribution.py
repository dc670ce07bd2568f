"""Two devices log and learn what one does."""

import devices
import numpy as np
import pytest

LOGS = {"loss", "hard_loss", "soft_loss", "accuracy"}
SCHEDULED = {"hard_loss_weight", "temperature"}
WORKER = "distribution_worker.py"
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
    return devices.results(WORKER, backend)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("teacher", ["inside", "outside"])
def test_two_devices_log_what_one_does(results, teacher):
    one, two = results["one"], results[teacher]
    assert one["logs"].keys() == LOGS | SCHEDULED | {"val_loss", "val_accuracy"}
    assert two["logs"].keys() == one["logs"].keys()
    for name, values in one["logs"].items():
        assert_close(two["logs"][name], values)


@pytest.mark.parametrize("teacher", ["inside", "outside"])
def test_two_devices_learn_what_one_does(results, teacher):
    one, two = results["one"], results[teacher]
    assert_close(two["weights"], one["weights"])


def test_a_teacher_from_outside_is_moved_to_all_devices_once():
    """On JAX, where alone its values are data."""
    found = devices.results(WORKER, "jax")["moved"]
    assert found["devices"] == [2] * 8
    assert found["same"] == [True, False, *[True] * 6]
    assert found["bias"] == [1.0] * 16


def test_the_first_step_on_two_devices_is_looked_at_as_a_whole(results):
    assert "not finite. Received: 24 of 24 values" in results["refused"]


def test_callbacks_find_on_two_devices_what_they_find_on_one(results):
    one, two = (results[f"watched, {n}"] for n in ("one", "two"))
    assert {"val_kl", "divergence", "hard_gradient_norm"} < one.keys()
    assert two.keys() == one.keys()
    for name, values in one.items():
        assert_close(two[name], values)


def test_a_loss_of_whole_batches_sees_all_of_one_or_says_so(backend, results):
    one, two = (results[f"whole batches, {n}"] for n in ("one", "two"))
    if backend == "jax":
        assert_close(two, one)
    else:
        assert "DIST compares the examples of a batch" in two
        assert "Received: 2 replicas" in two


def test_two_devices_take_another_loss_while_they_train():
    """On JAX, where alone a step is made for a state."""
    results = devices.results(WORKER, "jax")
    one, two = (results[f"second loss, {n}"] for n in ("one", "two"))
    assert one.keys() == {"loss", "soft_loss", "a_soft_loss", "b_soft_loss"}
    assert two.keys() == one.keys()
    for name, values in one.items():
        assert_close(two[name], values)


def test_uneven_replicas_log_the_mean_over_examples():
    """On TensorFlow, which alone has them."""
    results = devices.results(WORKER, "tensorflow")
    # Keras's gradient is then the mean of the two replicas' means, so that one
    # device learns something else: the logs must agree in epoch 1 only.
    one, two = results["uneven one"], results["uneven two"]
    for name in LOGS:
        assert_close(two["logs"][name][0], one["logs"][name][0])
    assert one["evaluated"].keys() == {"loss", "accuracy"}
    for name, value in one["evaluated"].items():
        assert_close(two["evaluated"][name], value)
