"""Other divergences of the softmax: reverse, and between both."""

import math
from typing import Any

from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._registration import register
from keras_distill.losses._logits import kl_divergence, pair
from keras_distill.losses._tempered import (
    Number,
    NumberedLoss,
    TemperedLoss,
    a_temperature,
)

Tensor = Any


def reverse_kl(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float = 1.0
) -> Tensor:
    """Divergence of the student from the teacher: it seeks single modes.

    Formula: `T^2 KL(softmax(z/T) || softmax(v/T))`, Gu et al. 2024 (MiniLLM,
    arXiv 2306.08543), section 2.1, at `T = 1`; `T^2` as in `soft_targets`.

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

    >>> loss = kd.losses.reverse_kl([[2.0, 0.0]], [[0.0, 0.0]])
    >>> round(float(loss[0]), 4)
    0.4338
    """
    log_p, log_q, t = _tempered(teacher_logits, student_logits, temperature)
    return t**2 * kl_divergence(log_q, log_p)


def jensen_shannon(
    teacher_logits: Tensor,
    student_logits: Tensor,
    teacher_share: float = 0.5,
    temperature: float = 1.0,
) -> Tensor:
    """Generalised Jensen-Shannon divergence, between both directions of KL.

    Formula: `T^2 (b KL(p_T || m) + (1-b) KL(q_T || m))` with the mixture `m = b
    p_T + (1-b) q_T`, Agarwal et al. 2024 (GKD, arXiv 2306.13649), section 2, at
    `T = 1`; `T^2` as in `soft_targets`. For small `b` it tends to `b` times
    `KL(p || q)`, for `b` near 1 to `1 - b` times `KL(q || p)`, and it never
    exceeds `T^2 log 2`.

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.
        teacher_share: The paper's `beta`, between 0 and 1.
        temperature: `T`, greater than 0, applied to both. Of both numbers, the
            value of a scalar tensor is not checked.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        TypeError: If a number is no real number.
        ValueError: If the shapes differ, if `temperature` is not finite and
            greater than 0, or `teacher_share` not between 0 and 1.

    Example:

    >>> loss = kd.losses.jensen_shannon([[2.0, 0.0]], [[0.0, 0.0]])
    >>> round(float(loss[0]), 4)
    0.0895
    """
    log_p, log_q, t = _tempered(teacher_logits, student_logits, temperature)
    share = _validation.number_of(log_p, "teacher_share", teacher_share, _share)
    log_share, log_rest = _logs(share)
    # log m - log p and log m - log q, whichever of both is larger.
    odds = log_rest + log_q - log_share - log_p
    from_p = log_share + ops.softplus(odds)
    from_q = log_rest + ops.softplus(-odds)
    parts = share * ops.exp(log_p) * from_p
    parts = parts + (1 - share) * ops.exp(log_q) * from_q
    return -(t**2) * ops.sum(parts, axis=-1)


def _tempered(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Any
) -> tuple:
    """Both log-softmax at the temperature, and that."""
    v, z = pair(teacher_logits, student_logits)
    t = _validation.temperature_of(v, temperature)
    log_p = transforms.log_probabilities(v, t)
    return log_p, transforms.log_probabilities(z, t), t


def _logs(share: Any) -> tuple:
    """`log b` and `log(1 - b)`; of a number not in float32."""
    if ops.is_tensor(share):
        return ops.log(share), ops.log1p(-share)
    return math.log(share), math.log1p(-share)


def _share(name: str, value: Any) -> float:
    fix = "Pass a number above 0 and below 1, such as 0.5."
    number = _validation.finite_number(name, value, fix)
    if not 0 < number < 1:
        raise ValueError(
            f"`{name}` must be between 0 and 1, and neither. Received: "
            f"{name}={value!r}. {fix}"
        )
    return number


@register
class ReverseKL(TemperedLoss):
    """Reverse KL divergence, of the student from the teacher.

    Formula: `T^2 KL(softmax(z/T) || softmax(v/T))`, Gu et al. 2024 (MiniLLM,
    arXiv 2306.08543), section 2.1; see `kd.losses.reverse_kl`. A student too
    small for all that the teacher says keeps to its most probable answers, as
    is wanted of text; `SoftTargets` has it cover all of them.

    Args:
        temperature: `T`, greater than 0, applied to teacher and student, 1 in
            the paper; an attribute that may be set at any moment. In a
            Distiller it may be one of `keras.optimizers.schedules`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, in nats, or what `reduction` asks for.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0, or, when
            called, if the shapes differ.

    Example:

    >>> loss = kd.losses.ReverseKL()
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.4338
    """

    default_weights = (0.1, 0.9)

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, reduction, name, dtype)

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return reverse_kl(teacher_logits, student_logits, self.temperature)


@register
class JensenShannon(NumberedLoss):
    """Generalised Jensen-Shannon divergence, between both directions of KL.

    Formula: `T^2 (b KL(p_T || m) + (1-b) KL(q_T || m))` with `m = b p_T + (1-b)
    q_T`, Agarwal et al. 2024 (GKD, arXiv 2306.13649), section 2; see
    `kd.losses.jensen_shannon`. It is bounded, so that single examples of which
    the student is far off do not rule the others.

    Args:
        teacher_share: The paper's `beta`, between 0 and 1; the paper tries 0.1,
            0.5 and 0.9.
        temperature: `T`, greater than 0, applied to teacher and student, 1 in
            the paper. Both are attributes that may be set at any moment, in a
            Distiller to one of `keras.optimizers.schedules`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, in nats, or what `reduction` asks for.

    Raises:
        TypeError: If a number is no real number.
        ValueError: If `temperature` is not finite and greater than 0, if
            `teacher_share` is not between 0 and 1, or, when called, if the
            shapes differ.

    Example:

    >>> loss = kd.losses.JensenShannon(teacher_share=0.5)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.0895
    """

    compares = _kinds.CLASSES
    default_weights = (0.1, 0.9)
    numbers = ("teacher_share", "temperature")
    teacher_share = Number(_share)
    temperature = a_temperature()

    def __init__(
        self,
        teacher_share: float = 0.5,
        temperature: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.teacher_share = teacher_share
        self.temperature = temperature

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        numbers = {name: getattr(self, name) for name in self.numbers}
        return jensen_shannon(teacher_logits, student_logits, **numbers)
