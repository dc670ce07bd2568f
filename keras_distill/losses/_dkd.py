"""Decoupled knowledge distillation: the label's class apart from the others."""

from typing import Any

from keras import ops

from keras_distill import _kinds, _validation
from keras_distill._label_masks import label_mask
from keras_distill._registration import register
from keras_distill.losses._labelled import LabelledLoss
from keras_distill.losses._logits import (
    bernoulli_divergence,
    kl_divergence,
    pair,
    without,
)
from keras_distill.losses._tempered import (
    Number,
    NumberedLoss,
    a_temperature,
)

Tensor = Any


def dkd(
    teacher_logits: Tensor,
    student_logits: Tensor,
    labels: Tensor,
    target_weight: float = 1.0,
    nontarget_weight: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Soft targets in two parts: the label's class, and the other classes.

    Formula: `T^2 (alpha KL(b(v/T) || b(z/T)) + beta KL(o(v/T) || o(z/T)))`,
    Zhao et al. 2022, eq. (7), where `b` is the probability of the label's class
    and of all others, and `o` the softmax of the others alone. With `beta` as
    large as the teacher's probability of the others it is `soft_targets`,
    eq. (6).

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.
        labels: Class numbers, shape `(...)` or `(..., 1)`, or one-hot, shape
            `(..., classes)`, of which the largest share counts. Where a label
            is no class, as -1, the loss is 0.
        target_weight: The paper's `alpha`, at least 0.
        nontarget_weight: The paper's `beta`, at least 0, which it tunes for
            each pair of models.
        temperature: `T`, greater than 0, applied to both. Of this and of both
            weights, the value of a scalar tensor is not checked.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` or a weight is no real number.
        ValueError: If the shapes do not fit together, if `temperature` is not
            finite and greater than 0, or a weight not finite and at least 0.

    Example:

    >>> loss = kd.losses.dkd([[2.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]], [0])
    >>> round(float(loss[0]), 4)
    1.2484
    """
    v, z = pair(teacher_logits, student_logits)
    t = _validation.temperature_of(v, temperature)
    alpha = _weight_of(v, "target_weight", target_weight)
    beta = _weight_of(v, "nontarget_weight", nontarget_weight)
    target = label_mask(labels, v)
    v_odds, v_others = _parts(v / t, target)
    z_odds, z_others = _parts(z / t, target)
    parts = alpha * bernoulli_divergence(v_odds, z_odds)
    parts = parts + beta * kl_divergence(v_others, z_others)
    labelled = ops.cast(ops.any(target, axis=-1), v.dtype)
    return t**2 * labelled * parts


def _weight_of(logits: Tensor, name: str, value: Any) -> Any:
    return _validation.number_of(logits, name, value, _validation.weight)


def _parts(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The log odds of the label's class, and the others' log-softmax."""
    of_target = ops.sum(ops.where(target, logits, 0.0), axis=-1)
    others = without(logits, target)
    # Not by a softmax: this loses no digits of 1 - p.
    log_odds = of_target - ops.logsumexp(others, axis=-1)
    return log_odds, ops.log_softmax(others, axis=-1)


@register
class DKD(LabelledLoss, NumberedLoss):
    """Decoupled distillation: the label's class apart from the others.

    Formula: `T^2 (alpha KL(b(v/T) || b(z/T)) + beta KL(o(v/T) || o(z/T)))`,
    Zhao et al. 2022, eq. (7); see `kd.losses.dkd`. Soft targets weigh the
    second part by how unsure the teacher is of the label, which hides what a
    sure teacher knows of the other classes; here it has a weight of its own.

    The loss uses labels: a Distiller gives it those of the data, in their own
    dtype, with weight 0 where the compiled loss has them as `ignore_class`, and
    a call of one's own passes them beside the teacher's logits. A Distiller's
    default weights are the paper's 1 and 1. The paper lets this term grow from
    0 over the first 20 epochs of 240.

    Args:
        target_weight: The paper's `alpha`, at least 0.
        nontarget_weight: The paper's `beta`, at least 0.
        temperature: `T`, greater than 0, applied to teacher and student; not
            the first argument here, as it is of other losses. Each of the three
            is an attribute that may be set at any moment, in a Distiller to one
            of `keras.optimizers.schedules`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - targets: A pair `(teacher_logits, labels)`: unnormalised logits, shape
          `(..., classes)`, and class numbers, shape `(...)` or `(..., 1)`, or
          one-hot in the shape of the logits. Where a label is no class, as
          -1, the loss is 0.
        - student_logits: Unnormalised logits, shape `(..., classes)`.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, in nats, or what `reduction` asks for.

    Raises:
        TypeError: If `temperature` or a weight is no real number, or, when
            called, if the targets are no pair.
        ValueError: If `temperature` is not finite and greater than 0, if a
            weight is not finite and at least 0, or, when called, if the shapes
            do not fit together.

    Example:

    >>> loss = kd.losses.DKD(target_weight=1.0, nontarget_weight=8.0)
    >>> teacher_logits, labels = [[2.0, 0.0, 1.0]], [0]
    >>> round(float(loss((teacher_logits, labels), [[0.0, 0.0, 0.0]])), 4)
    1.2484
    """

    compares = _kinds.CLASSES
    uses_labels = True
    numbers = ("target_weight", "nontarget_weight", "temperature")
    default_weights = (1.0, 1.0)
    target_weight = Number(_validation.weight)
    nontarget_weight = Number(_validation.weight)
    temperature = a_temperature()

    def __init__(
        self,
        target_weight: float = 1.0,
        nontarget_weight: float = 8.0,
        temperature: float = 4.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.target_weight = target_weight
        self.nontarget_weight = nontarget_weight
        self.temperature = temperature

    def call(self, targets: tuple, student_logits: Tensor) -> Tensor:
        teacher_logits, labels = targets
        numbers = {name: getattr(self, name) for name in self.numbers}
        return dkd(teacher_logits, student_logits, labels, **numbers)
