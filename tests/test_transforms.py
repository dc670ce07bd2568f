"""The transforms: against the equations, at their limits, in each dtype."""

import backend
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_distill as kd

TEMPERATURES = [0.5, 1.0, 2.0, 10.0]
ORDERS = [0.0, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 10.0]
RANDOM_SHAPES = [(3, 1), (6, 10), (2, 3, 5), (2, 2000)]
SWITCHES = [0.9, 0.99, 1.01, 1.1]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

TEMPERED = [
    kd.transforms.log_probabilities,
    kd.transforms.power_transform,
    kd.transforms.power_sum,
]
BAD_TEMPERATURES = dict.fromkeys(
    [0, -1, float("nan"), float("inf")], ValueError
) | dict.fromkeys(["4", None, True, 1j], TypeError)
BAD_ORDERS = dict.fromkeys([-1, float("nan"), float("inf")], ValueError)
BAD_ORDERS |= dict.fromkeys(["4", None, True, 1j], TypeError)

LITERAL = {
    "log_probabilities": lambda v, t: np.log(reference.softmax(v, t)),
    "power_transform": lambda v, t: reference.power_transform(
        reference.softmax(v), 1 / t
    ),
    "power_sum": lambda v, t: reference.power_sum(reference.softmax(v), 1 / t),
}


def draw(shape=(6, 10), scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(0.0, scale, shape)


def in_dtype(fn, logits, dtype, *args):
    with backend.float64():
        result = fn(ops.convert_to_tensor(logits.astype(dtype)), *args)
        return backend.to_numpy(result)


def near(actual, expected, tolerance):
    scale = max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(actual, expected, 0, tolerance * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("fn", TEMPERED, ids=lambda fn: fn.__name__)
def test_matches_the_equation(fn, temperature, dtype):
    logits = draw()
    actual = in_dtype(fn, logits, dtype, temperature)
    assert actual.dtype == dtype
    near(actual, LITERAL[fn.__name__](logits, temperature), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ORDERS)
def test_renyi_entropy_matches_the_equation(order, dtype):
    logits = draw()
    actual = in_dtype(kd.transforms.renyi_entropy, logits, dtype, order)
    assert actual.dtype == dtype
    expected = reference.renyi_entropy(reference.softmax(logits), order)
    near(actual, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "int32"])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_shape_and_dtype(shape, dtype):
    logits = ops.cast(draw(shape), dtype)
    whole = [kd.transforms.log_probabilities, kd.transforms.power_transform]
    per_row = [kd.transforms.power_sum, kd.transforms.renyi_entropy]
    for fn in whole + per_row:
        result = backend.to_numpy(fn(logits, 2.0))
        assert result.shape == (shape if fn in whole else shape[:-1])
        assert result.dtype == "float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_the_digits_of_the_logits(dtype):
    half = ops.cast(draw(scale=8.0), dtype)
    logits = backend.to_numpy(ops.cast(half, "float32"))
    for fn in TEMPERED:
        actual = backend.to_numpy(fn(half, 4.0))
        near(actual, LITERAL[fn.__name__](logits, 4.0), 1e-5)


def test_log_probabilities_hold_where_the_softmax_underflows():
    log_p = kd.transforms.log_probabilities(np.float32([0.0, -1e4]))
    np.testing.assert_array_equal(backend.to_numpy(log_p), [0.0, -1e4])


@pytest.mark.parametrize("temperature", [1.0, 1.25, 4.0, 10.0])
def test_power_sum_lies_between_one_hot_and_uniform(temperature):
    largest = 10 ** (1 - 1 / temperature)
    bounds = [[0.0] * 10, [0.0] + [-1e4] * 9]
    one = kd.transforms.power_sum(bounds, temperature)
    near(backend.to_numpy(one), np.array([largest, 1.0]), 1e-6)
    value = in_dtype(
        kd.transforms.power_sum, draw((50, 10)), "float64", temperature
    )
    assert np.all(value >= 1 - 1e-12)
    assert np.all(value <= largest + 1e-12)


def test_renyi_entropy_of_order_zero_and_one():
    logits = draw()
    zero = in_dtype(kd.transforms.renyi_entropy, logits, "float64", 0)
    near(zero, np.full(6, np.log(10)), 1e-12)
    one = in_dtype(kd.transforms.renyi_entropy, logits, "float64", 1)
    near(one, reference.shannon_entropy(reference.softmax(logits)), 1e-12)


@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 1e-5), ("float64", 1e-9)]
)
@pytest.mark.parametrize("order", SWITCHES)
def test_renyi_entropy_is_continuous_where_the_formula_changes(
    order, dtype, tolerance
):
    logits = draw((50, 10))
    outer, inner = (
        in_dtype(kd.transforms.renyi_entropy, logits, dtype, float(a))
        for a in (np.nextafter(order, 2 * order - 1), np.nextafter(order, 1.0))
    )
    np.testing.assert_allclose(outer, inner, 0, tolerance)


@pytest.mark.parametrize("step", [-1e-6, 1e-6])
def test_renyi_entropy_is_continuous_at_one(step):
    logits = draw((50, 10))
    one = in_dtype(kd.transforms.renyi_entropy, logits, "float64", 1.0)
    beside = in_dtype(
        kd.transforms.renyi_entropy, logits, "float64", 1.0 + step
    )
    # dH_a/da at a = 1 is -var_p(log p)/2; log p spans less than 20 here, so
    # the variance is at most 100 and one step moves H by 50e-6 at most.
    assert np.all(step * (beside - one) < 0)
    near(beside, one, 50e-6)


def test_renyi_entropy_falls_with_the_order_and_keeps_its_bounds():
    logits = draw((50, 10))
    orders = [*ORDERS, 0.995, 1.0, 1.005]
    values = np.array(
        [
            in_dtype(kd.transforms.renyi_entropy, logits, "float64", order)
            for order in sorted(orders)
        ]
    )
    assert np.all(np.diff(values, axis=0) <= 1e-12)
    assert np.all(values >= 0)
    assert np.all(values <= np.log(10) + 1e-12)


@pytest.mark.parametrize("order", [0.0, 0.25, 0.995, 1.0, 1.005, 2.0])
def test_renyi_entropy_of_huge_logits_is_finite(order):
    signs = np.sign(draw((4, 5)))
    logits = (1e4 * signs).astype("float32")
    value, gradient = backend.value_and_grad(
        lambda x: ops.sum(kd.transforms.renyi_entropy(x, order)), logits
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("order", [0.0, 0.25, 0.995, 1.0, 1.005, 2.0, 90.0])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_order_may_be_a_scalar_tensor_and_traced(order, scale):
    logits = (scale * draw()).astype("float32")

    def found(order):
        return backend.value_and_grad(
            lambda x: ops.sum(kd.transforms.renyi_entropy(x, order)), logits
        )

    tensor = ops.convert_to_tensor(order, "float32")
    for one, other in zip(found(tensor), found(order), strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 1e-5)
    traced = backend.compiled(kd.transforms.renyi_entropy)
    value = backend.to_numpy(traced(logits, tensor))
    np.testing.assert_allclose(np.sum(value), found(order)[0], 1e-4, 1e-5)


@pytest.mark.parametrize("temperature", [0.5, 0.995, 1.005, 2.0, 10.0])
def test_renyi_gradient(temperature):
    logits = draw()
    with backend.float64():
        _, gradient = backend.value_and_grad(
            lambda x: ops.sum(
                kd.transforms.renyi_entropy(x, 1.0 / temperature)
            ),
            logits,
        )
    near(gradient, reference.renyi_gradient(logits, temperature), 1e-10)


@pytest.mark.parametrize("shift", [-1e3, 1e3])
@pytest.mark.parametrize("fn", [*TEMPERED, kd.transforms.renyi_entropy])
def test_shift_of_the_logits_changes_nothing(fn, shift):
    # Multiples of 1/256 below 2^11 are exact in float32, so the sum with the
    # shift is exact, and so is the division by a power of two.
    logits = np.round(draw() * 256) / 256
    still = in_dtype(fn, logits, "float32", 2.0)
    moved = in_dtype(fn, logits + shift, "float32", 2.0)
    near(moved, still, 1e-5)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(RANDOM_SHAPES),
    scale=st.floats(0.01, 100.0),
    temperature=st.floats(0.5, 20.0),
)
def test_any_logits(seed, shape, scale, temperature):
    classes = shape[-1]
    logits = draw(shape, scale, seed).astype("float32")
    p = backend.to_numpy(kd.transforms.power_transform(logits, temperature))
    # Adding up `classes` rounded numbers in any order is off by at most
    # eps (classes - 1), and the exponentials by a few eps each.
    eps = np.finfo("float32").eps
    np.testing.assert_allclose(p.sum(-1), 1.0, 0, eps * (classes + 8))
    entropy = backend.to_numpy(kd.transforms.renyi_entropy(logits, 0.5))
    weight = backend.to_numpy(kd.transforms.power_sum(logits, 2.0))
    # U_{1/2} = exp(H_{1/2} / 2), so the two agree to rounding. The two
    # logsumexp of size max|v| + log(classes) are each rounded to eps of that.
    size = np.max(np.abs(logits)) + np.log(classes) + 1.0
    np.testing.assert_allclose(weight, np.exp(entropy / 2), rtol=4 * eps * size)
    assert np.all(entropy >= -8 * eps * size)
    assert np.all(entropy <= np.log(classes) + 8 * eps * size)


@pytest.mark.parametrize("value", BAD_TEMPERATURES, ids=repr)
@pytest.mark.parametrize("fn", TEMPERED, ids=lambda fn: fn.__name__)
def test_bad_temperature_is_named(fn, value):
    with pytest.raises(BAD_TEMPERATURES[value], match="temperature") as error:
        fn([[0.0, 1.0]], value)
    assert f"temperature={value!r}" in str(error.value)


@pytest.mark.parametrize("value", BAD_ORDERS, ids=repr)
def test_bad_order_is_named(value):
    with pytest.raises(BAD_ORDERS[value], match="order") as error:
        kd.transforms.renyi_entropy([[0.0, 1.0]], value)
    assert f"order={value!r}" in str(error.value)
