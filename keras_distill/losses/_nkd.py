"""Normalised knowledge distillation: the other classes by themselves."""

from typing import Any

from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._label_masks import label_mask
from keras_distill._registration import register
from keras_distill.losses._labelled import LabelledLoss
from keras_distill.losses._logits import pair, without
from keras_distill.losses._tempered import (
    Number,
    NumberedLoss,
    a_temperature,
)

Tensor = Any


def nkd(
    teacher_logits: Tensor,
    student_logits: Tensor,
    labels: Tensor,
    nontarget_weight: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    """Soft targets of the label's class, and of the others among themselves.

    Formula: `-p_y log q_y - g T^2 sum_{i != y} o(v/T)_i log o(z/T)_i`, Yang et
    al. 2023 (arXiv 2303.13005), section 3, where `o` is the softmax of the
    classes other than the label's. It is a cross-entropy, not a divergence: its
    minimum is not 0, and lies where the student is sure of the label.

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.
        labels: Class numbers, shape `(...)` or `(..., 1)`, or one-hot, shape
            `(..., classes)`, of which the largest share counts. Where a label
            is no class, as -1, the loss is 0.
        nontarget_weight: The paper's `gamma`, at least 0.
        temperature: `T` of the second part, greater than 0. Of both numbers,
            the value of a scalar tensor is not checked.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        TypeError: If a number is no real number.
        ValueError: If the shapes do not fit together, if `temperature` is not
            finite and greater than 0, or `nontarget_weight` not finite and at
            least 0.

    Example:

    >>> loss = kd.losses.nkd([[2.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]], [0])
    >>> round(float(loss[0]), 4)
    1.7706
    """
    v, z = pair(teacher_logits, student_logits)
    t = _validation.temperature_of(v, temperature)
    gamma = _validation.number_of(
        v, "nontarget_weight", nontarget_weight, _validation.weight
    )
    target = label_mask(labels, v)
    log_p, log_q = map(transforms.log_probabilities, (v, z))
    of_label = ops.where(target, -ops.exp(log_p) * log_q, 0.0)
    v_others, z_others = (
        ops.log_softmax(without(logits / t, target)) for logits in (v, z)
    )
    others = -ops.exp(v_others) * ops.where(target, 0.0, z_others)
    labelled = ops.cast(ops.any(target, axis=-1), v.dtype)
    others = gamma * t**2 * ops.sum(others, axis=-1)
    return ops.sum(of_label, axis=-1) + labelled * others


@register
class NKD(LabelledLoss, NumberedLoss):
    """Normalised distillation: the other classes among themselves.

    Formula: `-p_y log q_y - g T^2 sum_{i != y} o(v/T)_i log o(z/T)_i`, Yang et
    al. 2023 (arXiv 2303.13005), section 3; see `kd.losses.nkd`. As in `DKD`
    what the teacher says of the other classes has a weight of its own; the
    label's class counts as in a cross-entropy, times the teacher's trust in it.

    The loss uses labels: a Distiller gives it those of the data, and a call of
    one's own passes them beside the teacher's logits. A Distiller's default
    weights are the paper's 1 and 1.

    Args:
        nontarget_weight: The paper's `gamma`, at least 0.
        temperature: `T` of the second part, greater than 0, 1 in the paper.
            Both are attributes that may be set at any moment, in a Distiller to
            one of `keras.optimizers.schedules`.
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
        TypeError: If a number is no real number, or, when called, if the
            targets are no pair.
        ValueError: If `temperature` is not finite and greater than 0, if
            `nontarget_weight` is not finite and at least 0, or, when called, if
            the shapes do not fit together.

    Example:

    >>> loss = kd.losses.NKD()
    >>> teacher_logits, labels = [[2.0, 0.0, 1.0]], [0]
    >>> round(float(loss((teacher_logits, labels), [[0.0, 0.0, 0.0]])), 4)
    1.7706
    """

    compares = _kinds.CLASSES
    uses_labels = True
    numbers = ("nontarget_weight", "temperature")
    default_weights = (1.0, 1.0)
    nontarget_weight = Number(_validation.weight)
    temperature = a_temperature()

    def __init__(
        self,
        nontarget_weight: float = 1.5,
        temperature: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.nontarget_weight = nontarget_weight
        self.temperature = temperature

    def call(self, targets: tuple, student_logits: Tensor) -> Tensor:
        teacher_logits, labels = targets
        numbers = {name: getattr(self, name) for name in self.numbers}
        return nkd(teacher_logits, student_logits, labels, **numbers)
