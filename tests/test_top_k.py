"""Losses from a teacher's k largest logits, without all of them."""

import math

import backend
import compilation
import keras
import models
import numpy as np
import pytest
import reference
from keras import ops

import keras_distill as kd
from keras_distill import _attached
from keras_distill.cache import _records

X, Y = models.data(10)
SHAPE = (2, 3, 7)
LOSSES = {
    "soft_targets": (kd.losses.SoftTargets, reference.soft_targets),
    "ttm": (kd.losses.TTM, reference.ttm),
    "wttm": (kd.losses.WTTM, reference.wttm),
}
GRADIENTS = {
    "soft_targets": reference.soft_targets_gradient,
    "ttm": reference.gradient_20,
    "wttm": lambda v, z, t: (
        reference.power_sum_weight(v, t)[..., None]
        * reference.gradient_20(v, z, t)
    ),
}
each_loss = pytest.mark.parametrize("name", LOSSES)
jax_alone = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="only JAX says what it plans"
)


def logits(seed, shape=SHAPE, scale=3.0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=shape).astype("float32")


def top_k(values, k, dtype="float32"):
    """Logits as a cache of the k largest gives them."""
    layout = _records.Layout(values.shape[1:], dtype, k)
    checks = np.zeros(len(values), "uint32")
    return layout.decode(layout.encode(values.astype("float32"), checks))


def spread(values, k):
    """Of the others each has the logarithm of their mean exponential."""
    order = np.argsort(-values, axis=-1)
    others = np.take_along_axis(values.astype("float64"), order[..., k:], -1)
    result = values.astype("float64")
    mean = np.log(np.exp(others).mean(axis=-1, keepdims=True))
    np.put_along_axis(result, order[..., k:], mean, axis=-1)
    return result


def assert_same_loss(loss, v, z, t=1.0, atol=1e-6):
    """Value and gradient, from k logits and from all, with weights.

    Logarithms of 2 nats are rounded to 3e-7, then multiplied with `t**2`.
    """
    weights = np.linspace(0.0, 2.0, z[..., 0].size, dtype="float32")
    weights = weights.reshape(z.shape[:-1])
    found, expected = (
        backend.value_and_grad(lambda z, v=v: loss(v, z, weights), z)
        for v in (v, _attached.dense(v))
    )
    value = {"rtol": 1e-6, "atol": 3e-7 * t**2}
    np.testing.assert_allclose(found[0], expected[0], **value)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=atol)


@pytest.mark.parametrize(("k", "t"), [(1, 0.5), (3, 2.0), (6, 20.0), (7, 1.0)])
@each_loss
def test_a_loss_is_that_of_all_logits(name, k, t):
    loss, v, z = LOSSES[name][0](t), logits(0), logits(1)
    assert loss.takes_top_k
    assert_same_loss(loss, top_k(v, k), z, t)
    assert_same_loss(loss, top_k(v[0], k, "float16"), z[0], t)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_so_are_sums_and_hard_labels(k):
    both = [kd.losses.TTM(2.0), kd.losses.HardLabels()]
    for loss in (kd.losses.Sum(both, [0.5, 2.0]), kd.losses.HardLabels()):
        assert loss.takes_top_k
        assert_same_loss(loss, top_k(logits(0), k), logits(1))


class OfOnesOwn(keras.losses.Loss):
    """Knows nothing of them."""

    compares = "classes"


def test_a_sum_takes_what_each_of_its_losses_takes():
    forward, own = kd.losses.SoftTargets(2.0), OfOnesOwn()
    assert not kd.losses.Sum([forward, own]).takes_top_k
    assert not kd.losses.Sum([forward, kd.losses.DIST()]).takes_top_k


@pytest.mark.parametrize("t", [1.0, 3.0])
@pytest.mark.parametrize("k", [2, 7])
@each_loss
def test_values_are_those_of_the_equations(name, k, t):
    make, equation = LOSSES[name]
    v, z = logits(2), logits(3)
    expected = equation(spread(v, k) if k < 7 else v, z, t).mean()
    found = make(t)(top_k(v, k), z)
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-6)


@each_loss
def test_a_vocabulary(name):
    v, z = logits(4, (4, 50_000)), logits(5, (4, 50_000))
    loss, equation = LOSSES[name][0](2.0), LOSSES[name][1]
    found = backend.value_and_grad(lambda z: loss(top_k(v, 64), z), z)
    expected, slope = (
        f(spread(v, 64), z, 2.0) for f in (equation, GRADIENTS[name])
    )
    np.testing.assert_allclose(found[0], expected.mean(), rtol=2e-6)
    np.testing.assert_allclose(found[1], slope / 4, rtol=2e-6, atol=2e-8)


@each_loss
def test_confident_logits_of_both(name):
    v, z = 50 * logits(0), 50 * logits(1)
    assert_same_loss(LOSSES[name][0](2.0), top_k(v, 3), z, atol=2e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_numbers_of_classes_are_not_rounded_to_the_dtype_of_a_loss(dtype):
    v, z = logits(0, (3, 5000)), logits(1, (3, 5000))
    loss = kd.losses.HardLabels(dtype=dtype)
    found = backend.to_numpy(loss(top_k(v, 1), z))
    expected = kd.losses.HardLabels()(top_k(v, 1), z)
    np.testing.assert_allclose(found, backend.to_numpy(expected), rtol=1e-2)


def test_another_number_of_classes_is_refused():
    loss = kd.losses.SoftTargets(2.0)
    with pytest.raises(ValueError, match=r"logits.shape=\(2, 3, 7\), student"):
        loss(top_k(logits(0), 2), logits(1)[..., :6])


# In a Distiller.


class Seen(keras.losses.Loss):
    """Notes what it gets."""

    compares = "classes"

    def __init__(self, takes_top_k):
        super().__init__()
        self.takes_top_k, self.seen = takes_top_k, []

    def __call__(self, targets, outputs, sample_weight=None):
        self.seen.append(type(targets) is _attached.TopKLogits)
        return ops.mean(ops.square(outputs))


@pytest.mark.parametrize("takes", [True, False])
def test_a_loss_says_whether_it_takes_them(takes):
    loss = Seen(takes)
    model = kd.Distiller(None, models.linear(), loss, hard_loss_weight=0)
    model.compile("sgd", run_eagerly=True)
    v = models.logits(models.linear(seed=2), X)
    models.fit(model, kd.WithTeacherLogits(X, top_k(v, 2)))
    assert loss.seen and set(loss.seen) == {takes}


@pytest.mark.parametrize(
    "loss",
    [
        kd.losses.TTM(2.0, kd.example_weights.confidence),
        kd.losses.Sum([kd.losses.TTM(2.0), kd.losses.DIST()]),
        kd.losses.ReverseKL(2.0),
        kd.losses.WTTM(2.0),
    ],
    ids=lambda loss: loss.name,
)
def test_training_is_that_from_all_logits(loss):
    v = models.logits(models.linear(seed=2), X)
    kept = top_k(v, 2)
    runs = []
    for given in (kept, backend.to_numpy(_attached.dense(kept))):
        model = kd.Distiller(
            None,
            models.linear(),
            loss,
            hard_loss_weight=0.5,
            soft_loss_weight=2.0,
        )
        model.compile("sgd", models.CROSSENTROPY)
        pair = kd.WithTeacherLogits(X, given)
        logs = models.fit(model, pair, Y, epochs=2, batch_size=5)
        runs.append((logs["soft_loss"], models.snapshot(model.student)))
    (found, weights), (expected, others) = runs
    assert found == pytest.approx(expected, rel=1e-6)
    models.assert_same(weights, others, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_that_from_all_logits(policy):
    student = models.with_policy(policy, models.linear)
    kept = top_k(50 * models.logits(models.linear(seed=2), X), 2, "float16")
    losses = []
    for given in (kept, backend.to_numpy(_attached.dense(kept))):
        loss = kd.losses.SoftTargets(2.0)
        model = kd.Distiller(None, student, loss, hard_loss_weight=0)
        model.compile(keras.optimizers.SGD(0.0))
        logs = models.fit(model, kd.WithTeacherLogits(X, given))
        losses.append(logs["soft_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


NOT_LOGITS = {
    "nan": (lambda v: v._replace(logits=v.logits * np.nan), "are not finite"),
    "nan in the rest": (
        lambda v: v._replace(log_rest={"3": v.log_rest["3"] * np.nan}),
        "are not finite",
    ),
    "probabilities": (
        lambda v: top_k(
            reference.softmax(models.logits(models.linear(), X)), 2
        ),
        "probabilities where logits are expected",
    ),
}


@pytest.mark.parametrize("name", NOT_LOGITS)
def test_what_are_no_logits_is_refused(name):
    change, message = NOT_LOGITS[name]
    kept = top_k(models.logits(models.linear(seed=2), X), 2)
    loss = kd.losses.SoftTargets(2.0)
    model = kd.Distiller(None, models.linear(), loss, hard_loss_weight=0)
    model.compile("sgd")
    with pytest.raises(ValueError, match=message):
        models.fit(model, kd.WithTeacherLogits(X, change(kept)))


# What it is for.

LARGE = (8, 128, 32_000)


def copies(loss, dtype):
    """Of float32, which value and gradient need beside student's logits."""
    import jax

    def array(dtype, *shape):
        return jax.ShapeDtypeStruct(shape, dtype)

    *batch, classes = LARGE
    kept = _attached.TopKLogits(
        array("float16", *batch, 64),
        array("int32", *batch, 64),
        {str(classes): array("float32", *batch)},
    )
    step = jax.jit(jax.value_and_grad(loss))
    lowered = step.lower(array(dtype, *LARGE), kept, array("int32", *batch))
    needed = compilation.optimised(lowered).memory_analysis()
    return needed.temp_size_in_bytes / (4 * math.prod(LARGE))


@pytest.mark.slow
@jax_alone
@each_loss
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_step_makes_no_copy_of_large_logits(name, dtype):
    loss = LOSSES[name][0](2.0)
    assert copies(lambda z, v, y: loss(v, z), dtype) < 0.2


@pytest.mark.slow
@jax_alone
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_labels_beside_it_need_the_memory_of_its_gradient(dtype):
    loss = kd.losses.SoftTargets(2.0)
    labels = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    alone = copies(lambda z, v, y: labels(y, z), dtype)
    both = copies(lambda z, v, y: labels(y, z) + loss(v, z), dtype)
    assert both < alone + 1.05
