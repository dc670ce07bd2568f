"""NumPy: functions of logits, in the dtype that they are given, and minima."""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


def logsumexp(logits: Array) -> Array:
    """Log of the sum of exponentials over the last axis; -inf of -inf alone."""
    highest = logits.max(axis=-1)
    # Infinity less infinity would be NaN.
    shift = np.where(np.isfinite(highest), highest, np.zeros_like(highest))
    with np.errstate(divide="ignore", over="ignore"):
        return shift + np.log(np.exp(logits - shift[..., None]).sum(axis=-1))


def newton(
    value: Callable[[Array], float],
    derivatives: Callable[[Array], tuple[Array, Array]],
    start: Array,
    tolerance: float | Array,
    steps: int,
) -> tuple[Array, Array]:
    """Minimises a convex function by Newton's method with a line search.

    Args:
        value: The function.
        derivatives: Its gradient and its Hessian, or what is to serve as one.
        start: Where to begin.
        tolerance: How far from 0 the gradient may be: one number, or one for
            each of its entries.
        steps: The most steps to take.

    Returns:
        The minimum, and the gradient there, which is not within the tolerance
        if there were too few steps.
    """
    x = start
    gradient, hessian = derivatives(x)
    for _ in range(steps):
        if np.all(np.abs(gradient) <= tolerance):
            break
        step = -np.linalg.solve(hessian, gradient)
        x = x + _length(value, x, step) * step
        gradient, hessian = derivatives(x)
    return x, gradient


def _length(value: Callable[[Array], float], x: Array, step: Array) -> float:
    """How far to go along a step: halved until it helps."""
    before, length = value(x), 1.0
    # Near the optimum the gain is below the rounding of the value.
    slack = 1e-14 * (1 + abs(before))
    while value(x + length * step) > before + slack and length > 1e-12:
        length /= 2
    return length
