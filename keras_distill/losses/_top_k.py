"""Losses that take a teacher's k largest logits, never made into all of them.

The classes that are not stored have one logit, so that a sum over them is one
of its terms times their number, with the mean of the student's logits there.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_distill import _attached, _validation, transforms
from keras_distill.losses import _logits

Tensor = Any


class TopK(NamedTuple):
    """A teacher's logits that differ, and how many classes have each."""

    logits: Tensor  # (..., k + 1), of which the last is that of the others.
    counts: Tensor  # (k + 1,)
    indices: Tensor  # (..., k)
    others: int  # How many classes are not stored, for which there is one.

    def log_probabilities(self, temperature: Any) -> Tensor:
        """Log of the softmax over all classes, in the shape of `logits`."""
        logits = self.logits / temperature
        logits = logits - ops.max(logits, axis=-1, keepdims=True)
        return logits - ops.log(self.sum(ops.exp(logits)))[..., None]

    def means(self, values: Tensor) -> Tensor:
        """Of values of all classes, those of classes that are alike."""
        stored = ops.take_along_axis(values, self.indices, axis=-1)
        if not self.others:
            return stored
        rest = ops.sum(values, axis=-1) - ops.sum(stored, axis=-1)
        mean = rest[..., None] / self.others
        return ops.concatenate([stored, mean], axis=-1)

    def sum(self, values: Tensor) -> Tensor:
        """Over all classes."""
        return ops.sum(self.counts * values, axis=-1)


def pair(teacher_logits: Any, student_logits: Tensor) -> tuple:
    """Both as `_logits.pair` gives them, or the teacher's as `TopK`."""
    if not isinstance(teacher_logits, _attached.TopKLogits):
        return _logits.pair(teacher_logits, student_logits)
    z = transforms.at_least_float32(student_logits)
    indices = ops.cast(teacher_logits.indices, "int32")
    shape = (*indices.shape[:-1], teacher_logits.classes)
    _validation.same_shape(shape, z.shape)
    logits, counts = _attached.distinct(teacher_logits, z.dtype)
    logits = ops.stop_gradient(logits)
    return TopK(logits, counts, indices, teacher_logits.others), z


def kl_divergence(v: Any, z: Tensor, v_t: Any, z_t: Any) -> Tensor:
    """`KL(softmax(v/v_t) || softmax(z/z_t))` of such a pair."""
    if not isinstance(v, TopK):
        log_p = transforms.log_probabilities(v, v_t)
        log_q = transforms.log_probabilities(z, z_t)
        return _logits.kl_divergence(log_p, log_q)
    log_p, z = v.log_probabilities(v_t), z / z_t
    # A common offset is taken out before anything is rounded.
    largest = ops.stop_gradient(ops.max(z, axis=-1, keepdims=True))
    powers = ops.sum(ops.exp(z - largest), axis=-1, keepdims=True)
    log_q = (v.means(z) - largest) - ops.log(powers)
    return v.sum(ops.exp(log_p) * (log_p - log_q))


def power_sum(v: Any, temperature: Any) -> Tensor:
    """As `kd.transforms.power_sum`."""
    if not isinstance(v, TopK):
        return transforms.power_sum(v, temperature)
    return v.sum(ops.exp(v.log_probabilities(1.0) / temperature))


def best(v: Any) -> Tensor:
    """The class of the largest logit, shape `(..., 1)`."""
    if isinstance(v, TopK):  # Which is the first, whatever its rounding.
        return v.indices[..., :1]
    return ops.argmax(v, axis=-1)[..., None]
