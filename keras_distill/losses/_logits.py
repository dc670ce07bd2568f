"""What the losses share: a pair of logits, and two divergences."""

from typing import Any

from keras import ops

from keras_distill import _validation, transforms

Tensor = Any

# In the place of a logit: its exponential is 0, and the difference of two of
# them is, which of infinities is not.
_NO_LOGIT = -1e30


def pair(teacher_logits: Tensor, student_logits: Tensor) -> tuple:
    """Both in at least float32, of one shape, the teacher's as constants."""
    teacher_logits = transforms.at_least_float32(teacher_logits)
    student_logits = transforms.at_least_float32(student_logits)
    _validation.same_shape(teacher_logits.shape, student_logits.shape)
    return ops.stop_gradient(teacher_logits), student_logits


def without(logits: Tensor, classes: Tensor) -> Tensor:
    """Logits of which those classes have no probability where it is true."""
    return ops.where(classes, _NO_LOGIT, logits)


def mean(values: Tensor) -> Tensor:
    """Over the last axis. Keras takes means of float64 in float32."""
    count = ops.cast(ops.shape(values)[-1], values.dtype)
    return ops.sum(values, axis=-1) / count


def root(values: Tensor) -> Tensor:
    """Square roots; that of 0 has the gradient 0, not an infinite one."""
    positive = values > 0
    ones = ops.ones_like(values)
    roots = ops.sqrt(ops.where(positive, values, ones))
    return ops.where(positive, roots, ops.zeros_like(values))


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """`sum_i p_i (log p_i - log q_i)` over the last axis."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def bernoulli_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """`p log(p/q) + (1-p) log((1-p)/(1-q))` of each sigmoid by itself."""
    on = ops.log_sigmoid(p_logits) - ops.log_sigmoid(q_logits)
    off = ops.log_sigmoid(-p_logits) - ops.log_sigmoid(-q_logits)
    return ops.sigmoid(p_logits) * on + ops.sigmoid(-p_logits) * off
