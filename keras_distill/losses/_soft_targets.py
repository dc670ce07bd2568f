"""Soft targets at a temperature: Hinton et al. 2015."""

from typing import Any

from keras_distill import _validation, transforms
from keras_distill._registration import register
from keras_distill.losses._logits import kl_divergence, pair
from keras_distill.losses._tempered import TemperedLoss

Tensor = Any


def soft_targets(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float
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
    temperature = _validation.temperature_of(teacher_logits, temperature)
    log_p = transforms.log_probabilities(teacher_logits, temperature)
    log_q = transforms.log_probabilities(student_logits, temperature)
    return temperature**2 * kl_divergence(log_p, log_q)


@register
class SoftTargets(TemperedLoss):
    """Soft targets at a temperature, for `kd.Distiller` or on their own.

    Formula: `T^2 KL(softmax(v/T) || softmax(z/T))`, Hinton et al. 2015,
    section 2; see `kd.losses.soft_targets`.

    Args:
        temperature: `T`, greater than 0, applied to teacher and student; an
            attribute that may be set at any moment. In a Distiller it may be
            one of `keras.optimizers.schedules`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        teacher_logits, student_logits: Unnormalised logits, shape
            `(..., classes)`.
        sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, in nats, or what `reduction` asks for.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0, or, when
            called, if the shapes differ.

    Example:

    >>> loss = kd.losses.SoftTargets(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.4438
    """

    default_weights = (0.1, 0.9)

    def __init__(
        self,
        temperature: float,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, reduction, name, dtype)

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return soft_targets(teacher_logits, student_logits, self.temperature)
