"""The dustbin's row of a specialist's head: NumPy in float64, no model.

A specialist that copies the rows of its special classes agrees with the
generalist on all but one number per example: the mass `P` that the generalist
gives to the other classes. The log-odds of the dustbin against the special
classes are `w . h + b - logsumexp(special logits)` for features `h`, and should
be `log(P / (1 - P))`, so that `w . h + b` would have to be the log-sum-exp of
the other logits. That is no linear function of `h` unless there is one other
class.

- With features to hand, the row minimises the mean KL(generalist's collapsed
  distribution || specialist's), which is convex: a logistic regression on soft
  labels `P` with the special classes' log-sum-exp as an offset.
- Without, it is the mean of the others' rows, with the log of their number
  added to the bias: by Jensen's inequality the greatest lower bound of the
  log-sum-exp that weighs the others alike; exact where their logits are equal.
"""

import numpy as np

from keras_distill._numpy import logsumexp, newton

Array = np.ndarray

# Pulls the row to the one without features, in units of their spread: it only
# decides what the examples leave open.
_RIDGE = 1e-6
_STEPS, _TOLERANCE = 100, 1e-8


def mean_row(kernel: Array, bias: Array, others: Array) -> tuple[Array, float]:
    """The row without features, from a `(features, classes)` kernel."""
    number = np.log(len(others))
    return kernel[:, others].mean(axis=1), bias[others].mean() + number


def fitted_row(
    kernel: Array, bias: Array, others: Array, features: Array
) -> tuple[Array, float]:
    """The row that comes nearest on features of shape `(n, features)`."""
    logits = features @ kernel + bias
    offset = logsumexp(np.delete(logits, others, axis=1))
    log_odds = logsumexp(logits[:, others]) - offset
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    design = np.c_[(features - mean) / spread, np.ones(len(features))]
    w, b = mean_row(kernel, bias, others)
    start = np.append(w * spread, b + mean @ w)
    found = _logistic(design, _sigmoid(log_odds), -offset, start)
    w = found[:-1] / spread
    return w, found[-1] - mean @ w


def _logistic(design: Array, p: Array, offset: Array, start: Array) -> Array:
    """Minimises `mean(softplus(u) - p u) + ridge`, `u = design x + offset`."""
    ridge = _RIDGE * np.ones_like(start)

    def value(x: Array) -> float:
        u = design @ x + offset
        return np.mean(np.logaddexp(0, u) - p * u) + ridge @ (x - start) ** 2

    def derivatives(x: Array) -> tuple[Array, Array]:
        mean = _sigmoid(design @ x + offset)
        weight = mean * (1 - mean) / len(p)
        gradient = design.T @ (mean - p) / len(p) + 2 * ridge * (x - start)
        hessian = (design * weight[:, None]).T @ design + np.diag(2 * ridge)
        return gradient, hessian

    return newton(value, derivatives, start, _TOLERANCE, _STEPS)[0]


def _sigmoid(u: Array) -> Array:
    return np.exp(-np.logaddexp(0, -u))
