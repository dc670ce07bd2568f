"""What `_numpy` computes, against plain Python and closed forms."""

import math

import numpy as np
import pytest

from keras_distill._numpy import logsumexp, newton, softmax

pytestmark = pytest.mark.once

INF = np.inf
ROWS = {
    "plain": [0.5, -1.0, 2.0, 0.0],
    "equal": [3.0, 3.0, 3.0, 3.0],
    "high": [1000.0, 999.0, 0.0, -1000.0],
    "low": [-1000.0, -1001.0, -2000.0, -1003.0],
    "far apart": [1e300, 0.0, -1e300, 5.0],
    "without a class": [1.0, -INF, 0.0, -INF],
    "one class": [-INF, 7.0, -INF, -INF],
}
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def sum_of_exponentials(row):
    """Over the largest term, added up exactly."""
    return math.fsum(math.exp(value - max(row)) for value in row)


@each_row
def test_softmax(row):
    expected = [
        math.exp(value - max(row)) / sum_of_exponentials(row) for value in row
    ]
    np.testing.assert_allclose(softmax(np.array(row)), expected, rtol=1e-14)


@each_row
def test_logsumexp(row):
    expected = max(row) + math.log(sum_of_exponentials(row))
    np.testing.assert_allclose(logsumexp(np.array(row)), expected, rtol=1e-14)


@pytest.mark.parametrize(
    "row, expected",
    [([-INF, -INF], -INF), ([INF, 1000.0], INF), ([INF, -INF], INF)],
)
def test_logsumexp_without_a_finite_maximum(row, expected):
    # Beside a plain row, and as an error where NumPy would warn.
    found = logsumexp(np.array([row, [0.0, 0.0]]))
    np.testing.assert_array_equal(found, [expected, math.log(2)])


def test_nan_stays():
    assert np.isnan(logsumexp(np.array([np.nan, 0.0])))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_the_last_axis_and_the_dtype(shape, dtype):
    logits = np.random.default_rng(0).normal(size=shape).astype(dtype)
    p, total = softmax(logits), logsumexp(logits)
    assert p.shape == shape and total.shape == shape[:-1]
    assert p.dtype == total.dtype == dtype
    tolerance = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, rtol=tolerance)
    expected = np.logaddexp.reduce(logits.astype("float64"), axis=-1)
    np.testing.assert_allclose(total, expected, atol=tolerance)


# Newton's method.


def quadratic(matrix, center):
    def value(x):
        return (x - center) @ matrix @ (x - center) / 2

    def derivatives(x):
        return matrix @ (x - center), matrix

    return value, derivatives


def test_one_step_is_enough_for_a_quadratic_function():
    matrix, center = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([5.0, -7.0])
    function = quadratic(matrix, center)
    x, gradient = newton(*function, np.zeros(2), 1e-12, steps=1)
    np.testing.assert_allclose(x, center, rtol=1e-14)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)


def exponential(a):
    """Of the value `sum(exp(x) - a x)`, the minimum is at `log a`."""

    def value(x):
        return np.sum(np.exp(x) - a * x)

    def derivatives(x):
        return np.exp(x) - a, np.diag(np.exp(x))

    return value, derivatives


def test_a_minimum_of_closed_form():
    a = np.array([0.1, 1.0, 100.0])
    x, gradient = newton(*exponential(a), np.zeros(3), 1e-10, steps=100)
    np.testing.assert_allclose(x, np.log(a), atol=1e-9)
    assert np.max(np.abs(gradient)) <= 1e-10


def test_steps_that_go_too_far_are_halved():
    # For log cosh the plain method moves ever further from 0 beyond 1.09.
    def value(x):
        return np.sum(np.logaddexp(x, -x))

    def derivatives(x):
        return np.tanh(x), np.diag(1 - np.tanh(x) ** 2)

    start = np.array([2.0, -3.0])
    x, _ = newton(value, derivatives, start, 1e-12, steps=30)
    np.testing.assert_allclose(x, 0.0, atol=1e-12)


def test_a_step_is_taken_where_its_gain_is_below_the_rounding_of_the_value():
    value, derivatives = exponential(np.array([2.0]))
    start = np.log([2.0]) + 1e-9

    def rounded(x):
        # 1e-15 of the value, which hides that it falls.
        return 1e6 + value(x) + (0.0 if np.array_equal(x, start) else 1e-9)

    x, _ = newton(rounded, derivatives, start, 1e-15, steps=3)
    np.testing.assert_allclose(x, np.log(2), rtol=0, atol=1e-15)


def test_each_entry_of_the_gradient_has_its_tolerance():
    a = np.array([1.0, 1e-6])
    start = np.log(a) + 1e-3
    loose, gradient = newton(*exponential(a), start, 2e-3, steps=100)
    np.testing.assert_array_equal(loose, start)
    tolerance = np.array([2e-3, 1e-12])
    assert abs(gradient[1]) > tolerance[1]
    x, gradient = newton(*exponential(a), start, tolerance, steps=100)
    assert np.all(np.abs(gradient) <= tolerance)
    np.testing.assert_allclose(x, np.log(a), atol=1e-5)


def test_too_few_steps_are_seen_by_the_gradient():
    a, start = np.array([100.0]), np.zeros(1)
    x, gradient = newton(*exponential(a), start, 1e-10, steps=2)
    np.testing.assert_array_equal(gradient, np.exp(x) - a)
    assert np.abs(gradient) > 1e-10


def test_no_step_is_taken_from_the_minimum():
    start = np.log([3.0])
    x, _ = newton(*exponential(np.array([3.0])), start, 1e-10, steps=0)
    np.testing.assert_array_equal(x, start)
