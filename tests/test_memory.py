"""What a compiled step keeps of large logits, and that nothing else changes."""

import math

import compilation
import keras
import numpy as np
import pytest
from keras import ops

import keras_distill as kd
from keras_distill._keras import memory
from keras_distill._keras.sample_weights import masking

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="losses are computed again on JAX alone",
)
LOGITS = (8, 512, 32_000)  # Of bfloat16; nothing of that size is ever made.
FROM_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
losses = pytest.mark.parametrize(
    "loss",
    [
        kd.losses.SoftTargets(2.0),
        kd.losses.TTM(2.0),
        kd.losses.TTM(2.0, kd.example_weights.entropy),
        kd.losses.WTTM(2.0),
        kd.losses.LogitMatching(),
        kd.losses.ReverseKL(),
    ],
    ids=lambda loss: loss.name,
)


def copies(function):
    """Of float32, which the value and the gradient need beside the logits."""
    import jax

    logits = jax.ShapeDtypeStruct(LOGITS, "bfloat16")
    labels = jax.ShapeDtypeStruct(LOGITS[:-1], "int32")
    step = jax.jit(jax.value_and_grad(function))
    lowered = step.lower(logits, logits, labels)
    needed = lowered.compile(compilation.OPTIMISED).memory_analysis()
    return needed.temp_size_in_bytes / (4 * math.prod(LOGITS))


@losses
def test_a_loss_of_large_logits_makes_one_copy_at_most(loss):
    assert copies(lambda z, v, y: loss(v, z)) < 1.01


def test_so_does_a_sum_of_losses():
    both = [kd.losses.SoftTargets(2.0), kd.losses.ReverseKL()]
    loss = kd.losses.Sum(both)
    assert copies(lambda z, v, y: loss(v, z)) < 1.01


@losses
def test_a_step_with_labels_makes_one_copy_more_than_labels_do(loss):
    labels_alone = copies(lambda z, v, y: FROM_LOGITS(y, z))
    both = copies(lambda z, v, y: loss(v, z) + FROM_LOGITS(y, z))
    assert both < labels_alone + 1.01 <= 4.02


@pytest.fixture
def soon_large(monkeypatch):
    """Logits of a few kilobytes count as large."""
    monkeypatch.setattr(memory, "_LARGE", 2**10)


def some_logits(*shape):
    """A pair that is just large enough, float32."""
    classes = math.ceil(memory._LARGE / math.prod(shape))
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, *shape, classes)).astype("float32")


FUNCTIONS = {
    "soft_targets": (
        kd.losses.SoftTargets(2.0),
        lambda v, z, _: kd.losses.soft_targets(v, z, 2.0),
    ),
    "wttm": (
        kd.losses.WTTM(2.0),
        lambda v, z, _: kd.losses.wttm(v, z, 2.0),
    ),
    "dkd": (kd.losses.DKD(), kd.losses.dkd),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_gradient_are_those_of_the_function(soon_large, name):
    import jax

    loss, function = FUNCTIONS[name]
    (v, z), y = some_logits(64), np.arange(64) % 16
    targets = (v, y) if getattr(loss, "uses_labels", False) else v

    def expected(z):
        return ops.mean(function(v, z, y))

    found, gradient = jax.jit(jax.value_and_grad(lambda z: loss(targets, z)))(z)
    value, slope = jax.jit(jax.value_and_grad(expected))(z)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-9)


def test_small_logits_are_kept(soon_large):
    import jax

    loss = kd.losses.SoftTargets(2.0)

    def step(z):
        return str(jax.make_jaxpr(jax.grad(lambda z: loss(z * 0, z)))(z))

    small, large = np.ones((4, 5), "float32"), some_logits(6)[0]
    assert "remat" not in step(small) and "remat" in step(large)


def test_a_mask_and_weights_count_in_what_is_computed_again(soon_large):
    import jax

    v, z = some_logits(3, 4)
    rng = np.random.default_rng(1)
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], "bool")
    weight = rng.uniform(size=(3, 4)).astype("float32")
    loss = kd.losses.SoftTargets(2.0)

    def masked(z):
        z = ops.convert_to_tensor(z)
        masking().set_keras_mask(z, mask)
        return loss(v, z, weight)

    def expected(z):
        found = kd.losses.soft_targets(v, z, 2.0) * weight * mask
        return ops.sum(found) / mask.sum()

    found, gradient = jax.jit(jax.value_and_grad(masked))(z)
    value, slope = jax.jit(jax.value_and_grad(expected))(z)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-7)
