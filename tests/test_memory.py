"""What a compiled step keeps of large logits, and that nothing else changes."""

import math

import compilation
import keras
import numpy as np
import pytest
from keras import ops

import keras_distill as kd
from keras_distill._keras import memory, pieces
from keras_distill._keras.numbers import having
from keras_distill._keras.sample_weights import masking

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="losses are computed again on JAX alone",
)
# Of bfloat16; nothing of that size is ever made.
TOKENS, ROWS = (8, 512, 32_000), (256, 32_000)
FROM_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
LOSSES = (
    kd.losses.SoftTargets(2.0),
    kd.losses.TTM(2.0),
    kd.losses.TTM(2.0, kd.example_weights.entropy),
    kd.losses.WTTM(2.0),
    kd.losses.LogitMatching(),
    kd.losses.ReverseKL(),
    kd.losses.JensenShannon(),
    kd.losses.DKD(),
    kd.losses.NKD(),
    kd.losses.Sum([kd.losses.SoftTargets(2.0), kd.losses.ReverseKL()]),
)


def named(value):
    return getattr(value, "name", str(value))


losses = pytest.mark.parametrize("loss", LOSSES, ids=named)


def of(loss, z, v, y):
    """The loss, with the labels where it uses them."""
    return loss((v, y) if getattr(loss, "uses_labels", False) else v, z)


def copies(function, shape):
    """Of float32, which the value and the gradient need beside the logits."""
    import jax

    logits = jax.ShapeDtypeStruct(shape, "bfloat16")
    labels = jax.ShapeDtypeStruct(shape[:-1], "int32")
    step = jax.jit(jax.value_and_grad(function))
    lowered = step.lower(logits, logits, labels)
    needed = compilation.optimised(lowered).memory_analysis()
    return needed.temp_size_in_bytes / (4 * math.prod(shape))


@pytest.mark.slow
@losses
def test_a_loss_of_large_logits_makes_no_copy(loss):
    assert copies(lambda z, v, y: of(loss, z, v, y), TOKENS) < 0.5


# Of the losses that needed least, and most, before they came in pieces.
extremes = pytest.mark.parametrize(
    "loss",
    [kd.losses.LogitMatching(), kd.losses.JensenShannon(), kd.losses.NKD()],
    ids=named,
)


@pytest.mark.slow
@extremes
def test_nor_does_one_of_fewer_rows(loss):
    assert copies(lambda z, v, y: of(loss, z, v, y), ROWS) < 1.0


@pytest.mark.slow
@extremes
def test_a_step_with_labels_makes_little_more_than_labels_do(loss):
    labels_alone = copies(lambda z, v, y: FROM_LOGITS(y, z), TOKENS)
    both = copies(lambda z, v, y: of(loss, z, v, y) + FROM_LOGITS(y, z), TOKENS)
    # Half a copy is the gradient in bfloat16, to which the labels' is added.
    assert both < 4.0 < labels_alone + 1.01


@pytest.fixture
def soon_large(monkeypatch):
    """Logits of a few kilobytes count as large, and are divided."""
    monkeypatch.setattr(memory, "_LARGE", 2**10)
    monkeypatch.setattr(pieces, "_SMALLEST_ON_CPU", 2**7)


def some_logits(*shape):
    """A pair that is just large enough, float32."""
    classes = math.ceil(memory._LARGE / math.prod(shape))
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, *shape, classes)).astype("float32")


def value_and_gradient(monkeypatch, large, step, *arguments):
    import jax

    monkeypatch.setattr(memory, "_LARGE", 2**10 if large else 2**30)
    return jax.jit(lambda *a: jax.value_and_grad(step)(*a))(*arguments)


def require_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        scale = float(ops.max(ops.abs(other)))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(
    ("shape", "loss"),
    [((3, 8), loss) for loss in LOSSES]
    + [(shape, kd.losses.DKD()) for shape in [(64,), (13,), (1, 2, 37)]],
    ids=named,
)
def test_value_and_gradient_are_the_same(soon_large, monkeypatch, loss, shape):
    v, z = some_logits(*shape)
    y = np.arange(math.prod(shape)).reshape(shape) % 16

    def step(z):
        return of(loss, z, v, y)

    large, small = (
        value_and_gradient(monkeypatch, large, step, z)
        for large in (True, False)
    )
    require_equal(large, small)


@pytest.mark.parametrize("labels", ["int", "column", "one-hot"])
def test_labels_of_each_shape_go_with_their_rows(
    soon_large, monkeypatch, labels
):
    (v, z), y = some_logits(4, 8), np.arange(32).reshape(4, 8)
    y = {
        "int": y,
        "column": y[..., None],
        "one-hot": np.eye(z.shape[-1], dtype="float32")[y],
    }[labels]
    loss = kd.losses.NKD(dtype="bfloat16")  # In which not all labels differ.

    def step(z):
        return ops.cast(loss((v, y + 0), z), "float32")

    large, small = (
        value_and_gradient(monkeypatch, large, step, z)
        for large in (True, False)
    )
    require_equal(large, small)


def test_a_temperature_has_its_gradient(soon_large, monkeypatch):
    v, z = some_logits(3, 8)

    def step(t):
        loss = having(kd.losses.TTM(2.0), {"temperature": t})
        return loss(v, ops.convert_to_tensor(z) * (t / t))

    large, small = (
        value_and_gradient(monkeypatch, large, step, 2.0)
        for large in (True, False)
    )
    require_equal(large, small)


def test_a_gradient_has_a_gradient(soon_large, monkeypatch):
    import jax

    v, z = some_logits(3, 8)
    loss = kd.losses.SoftTargets(2.0)

    def step(z):
        return ops.sum(jax.grad(lambda z: loss(v, z))(z) ** 2)

    large, small = (
        value_and_gradient(monkeypatch, large, step, z)
        for large in (True, False)
    )
    require_equal(large, small)


class Relative(kd.losses.TTM):
    """What no piece of the rows can tell."""

    def call(self, teacher_logits, student_logits):
        losses = super().call(teacher_logits, student_logits)
        return losses**2 / ops.mean(losses)


def share(teacher_logits, temperature):
    """A power sum for the largest of all."""
    sums = kd.transforms.power_sum(teacher_logits, temperature)
    return sums / ops.max(sums)


@pytest.mark.parametrize(
    "loss",
    [
        Relative(2.0),
        kd.losses.TTM(2.0, share),
        kd.losses.Sum([Relative(2.0), kd.losses.SoftTargets(2.0)]),
        kd.losses.Standardized(Relative(2.0)),
    ],
    ids=["call", "example weight", "sum", "standardized"],
)
def test_what_a_user_wrote_sees_all_rows(soon_large, monkeypatch, loss):
    v, z = some_logits(3, 8)

    def step(z):
        return loss(v, z)

    large, small = (
        value_and_gradient(monkeypatch, large, step, z)
        for large in (True, False)
    )
    require_equal(large, small)


def test_rows_come_in_pieces(soon_large):
    """Of the axis that can be divided into most, up to sixteen."""
    import jax

    def rows_at_once(*shape):
        seen = []

        def function(x):
            seen.append(x.shape)
            return ops.sum(x, axis=-1)

        x = np.ones(shape, "float32")
        found = jax.jit(lambda x: pieces.rows(function, [x]))(x)
        np.testing.assert_array_equal(found, np.full(shape[:-1], shape[-1]))
        return seen[0]

    assert rows_at_once(64, 128) == (4, 128)
    assert rows_at_once(8, 64, 128) == (8, 4, 128)
    assert rows_at_once(8, 13, 128) == (8, 1, 128)
    assert rows_at_once(8, 37, 128) == (1, 37, 128)
    assert rows_at_once(37, 128) == (37, 128)
    assert rows_at_once(3, 128) == (1, 128)


def test_small_logits_are_kept(soon_large):
    import jax

    loss = kd.losses.SoftTargets(2.0)

    def step(z):
        return str(jax.make_jaxpr(lambda z: loss(z * 0, z))(z))

    small, large = np.ones((4, 5), "float32"), some_logits(6, 2)[0]
    assert "custom_vjp" not in step(small) and "custom_vjp" in step(large)


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
