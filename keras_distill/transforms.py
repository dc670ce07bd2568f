"""Distributions and entropies of logits, computed in log space.

A softmax in half or single precision rounds small probabilities to zero, and
no later step can bring them back. Everything here starts from logits, works
with their log-softmax, and computes in at least float32.
"""

from typing import Any

import keras
from keras import ops

from keras_distill import _validation
from keras_distill._registration import register

__all__ = [
    "log_probabilities",
    "power_sum",
    "power_transform",
    "renyi_entropy",
]

Tensor = Any


def at_least_float32(x: Tensor) -> Tensor:
    """Returns `x` as a tensor of float32, or of float64 where it is that."""
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return x if dtype == "float64" else ops.cast(x, "float32")


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log of the softmax of `logits / temperature`.

    Formula: `log p_T = v/T - logsumexp(v/T)`, Hinton et al. 2015, eq. (1).

    Args:
        logits: Unnormalised logits, shape `(..., classes)`.
        temperature: Softmax temperature `T`, greater than 0; the value of a
            scalar tensor is not checked.

    Returns:
        Natural-log probabilities, shape of `logits`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0.

    Example:

    >>> tuple(kd.transforms.log_probabilities([[0.0, 0.0]]).shape)
    (1, 2)
    """
    logits = _with_classes(logits)
    temperature = _validation.temperature_of(logits, temperature)
    return ops.log_softmax(logits / temperature, axis=-1)


def power_transform(logits: Tensor, temperature: float) -> Tensor:
    """Power transform of the distribution that the logits stand for.

    Formula: `p_i^gamma / sum_j p_j^gamma` with `gamma = 1/T`, which equals
    `softmax(v/T)`; Zheng and Yang 2024, eq. (7)-(9).

    Args:
        logits: Unnormalised logits, shape `(..., classes)`.
        temperature: `T = 1/gamma`, greater than 0; the value of a scalar
            tensor is not checked.

    Returns:
        Probabilities that sum to 1, shape of `logits`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0.

    Example:

    >>> p = kd.transforms.power_transform([[2.0, 0.0]], temperature=2.0)
    >>> [round(float(x), 4) for x in p[0]]
    [0.7311, 0.2689]
    """
    return ops.exp(log_probabilities(logits, temperature))


@register
def power_sum(logits: Tensor, temperature: float) -> Tensor:
    """Power sum of the distribution at temperature 1: WTTM's sample weight.

    Formula: `U_gamma(p) = sum_j p_j^gamma` with `p = softmax(v)` and
    `gamma = 1/T`; Zheng and Yang 2024, eq. (22). Computed as
    `exp(logsumexp(gamma log p))`. For `T > 1` it lies between
    1 (one-hot) and `classes^(1-gamma)` (uniform): the less certain the
    teacher, the larger.

    Args:
        logits: Unnormalised logits, shape `(..., classes)`.
        temperature: `T = 1/gamma`, greater than 0; the value of a scalar
            tensor is not checked.

    Returns:
        One number per distribution, shape `logits.shape[:-1]`, at least
        float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0.

    Example:

    >>> float(kd.transforms.power_sum([0.0, 0.0, 0.0, 0.0], temperature=2.0))
    2.0
    """
    logits = _with_classes(logits)
    gamma = 1.0 / _validation.temperature_of(logits, temperature)
    return ops.exp(_log_power_sum(logits, gamma))


def renyi_entropy(logits: Tensor, order: float) -> Tensor:
    """Renyi entropy of the distribution that the logits stand for, in nats.

    Formula: `H_a(p) = log(sum_j p_j^a) / (1 - a)`, and the Shannon entropy at
    `a = 1`; Zheng and Yang 2024, section 4. TTM is soft-target distillation
    plus `(T-1) H_{1/T}` of the student, eq. (15).

    Args:
        logits: Unnormalised logits, shape `(..., classes)`.
        order: `a`, at least 0; the value of a scalar tensor is not checked. The
            paper's order is `1/temperature`.

    Returns:
        Entropy in nats between 0 and `log(classes)`, shape
        `logits.shape[:-1]`, at least float32.

    Raises:
        TypeError: If `order` is no real number.
        ValueError: If `order` is negative or not finite.

    Example:

    >>> round(float(kd.transforms.renyi_entropy([1.0, 1.0], order=0.5)), 4)
    0.6931
    """
    logits = _with_classes(logits)
    order = _validation.number_of(logits, "order", order, _order)
    near, far = _renyi_entropy_near_shannon, _renyi_entropy_far_from_shannon
    if not ops.is_tensor(order):
        return (near if abs(1.0 - order) < 0.1 else far)(logits, order)
    # Each formula gets an order at which its value and gradient are finite.
    is_near, one = ops.abs(1.0 - order) < 0.1, ops.ones_like(order)
    found_near = near(logits, ops.where(is_near, order, one))
    found_far = far(logits, ops.where(is_near, 0.5 * one, order))
    return ops.where(is_near, found_near, found_far)


def _order(name: str, value: Any) -> float:
    fix = "Pass 1 for the Shannon entropy, 0.5 for T = 2."
    return _validation.at_least_zero(name, value, fix)


def _with_classes(logits: Tensor) -> Tensor:
    logits = at_least_float32(logits)
    _validation.not_scalar(logits)
    return logits


def _log_power_sum(logits: Tensor, gamma: float) -> Tensor:
    # A common offset is taken out before anything is rounded; it has no
    # gradient. This makes no array of the log-softmax.
    largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    logits = logits - largest
    powers = ops.sum(ops.exp(gamma * logits), axis=-1)
    return ops.log(powers) - gamma * ops.log(ops.sum(ops.exp(logits), axis=-1))


def _renyi_entropy_far_from_shannon(logits: Tensor, order: Any) -> Tensor:
    return _log_power_sum(logits, order) / (1.0 - order)


def _renyi_entropy_near_shannon(logits: Tensor, order: Any) -> Tensor:
    # log(sum p^a)/(1-a) is 0/0 at a = 1. With s = a - 1,
    # sum p^a = 1 + sum p (e^{s log p} - 1), so log1p and expm1 keep the
    # digits. The exponent is capped where p itself is zero in float64.
    log_p = ops.log_softmax(logits, axis=-1)
    p, s = ops.exp(log_p), order - 1.0
    shannon = -ops.sum(p * log_p, axis=-1)
    if not ops.is_tensor(s):
        return shannon if s == 0.0 else _renyi_entropy_of(log_p, p, s)
    is_shannon = s == 0.0
    away = ops.where(is_shannon, ops.ones_like(s), s)
    return ops.where(is_shannon, shannon, _renyi_entropy_of(log_p, p, away))


def _renyi_entropy_of(log_p: Tensor, p: Tensor, s: Any) -> Tensor:
    exponent = ops.clip(s * log_p, -100.0, 20.0)
    excess = ops.sum(p * ops.expm1(exponent), axis=-1)
    return -ops.log1p(excess) / s
