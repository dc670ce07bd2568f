"""Soft targets at a temperature: Hinton et al. 2015."""

from typing import Any

from keras_distill import _validation
from keras_distill._registration import register
from keras_distill.losses._top_k import kl_divergence, pair
from keras_distill.losses._weighed import (
    ExampleWeight,
    WeighedLoss,
    weighed,
)

Tensor = Any


def soft_targets(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float,
    example_weight: ExampleWeight | None = None,
) -> Tensor:
    """Cross-entropy with tempered soft targets, less the targets' entropy.

    Formula: `T^2 KL(softmax(v/T) || softmax(z/T))`, Hinton et al. 2015,
    section 2. The gradient is that of `T^2` times the cross-entropy with the
    soft targets, and the value is zero where the student equals the teacher.

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.
        temperature: `T`, greater than 0, applied to both; the value of a scalar
            tensor is not checked.
        example_weight: A function of `(teacher_logits, temperature)`, as those
            of `kd.example_weights`, that gives each distribution's weight.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If the shapes differ, or `temperature` is not finite and
            greater than 0.

    Example:

    >>> loss = kd.losses.soft_targets([[2.0, 0.0]], [[0.0, 0.0]], 2.0)
    >>> round(float(loss[0]), 4)
    0.4438
    """
    teacher_logits, student_logits = pair(teacher_logits, student_logits)
    t = _validation.temperature_of(student_logits, temperature)
    losses = t**2 * kl_divergence(teacher_logits, student_logits, t, t)
    return weighed(losses, teacher_logits, t, example_weight)


@register
class SoftTargets(WeighedLoss):
    """Soft targets at a temperature, for `kd.Distiller` or on their own.

    Formula: `T^2 KL(softmax(v/T) || softmax(z/T))`, Hinton et al. 2015,
    section 2, for each example times its weight, if there is one; see
    `kd.losses.soft_targets`. The default weights of a Distiller are 0.1 and
    0.9, but with an `example_weight` there is no default.

    Args:
        temperature: `T`, greater than 0, applied to teacher and student; an
            attribute that may be set at any moment. In a Distiller it may be
            one of `keras.optimizers.schedules`.
        example_weight: What each example weighs, one of `kd.example_weights` or
            a function of one's own, as described there; None if all weigh the
            same.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`; a pair `(teacher_logits, labels)` first where the
          `example_weight` takes labels.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, in nats, or what `reduction` asks for.

    Raises:
        TypeError: If `temperature` is no real number, or `example_weight` no
            function.
        ValueError: If `temperature` is not finite and greater than 0, or, when
            called, if the shapes differ, or weights have another one.

    Example:

    >>> loss = kd.losses.SoftTargets(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.4438
    """

    searched = True
    _losses = staticmethod(soft_targets)

    def __init__(
        self,
        temperature: float,
        example_weight: ExampleWeight | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, example_weight, reduction, name, dtype)

    @property
    def default_weights(self) -> tuple[float, float | None]:
        return 0.1, 0.9 if self.example_weight is None else None
