"""Distillation losses: pure functions per example, then thin Loss classes.

Each function takes unnormalised logits of shape `(..., classes)` and gives one
number per distribution, shape `(...)`. It computes in log space, in at least
float32, and passes no gradient to the teacher.
"""

from typing import Any

import keras
from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._on_logits import on_logits
from keras_distill._registration import register

__all__ = [
    "LogitMatching",
    "SoftTargets",
    "TTM",
    "WTTM",
    "logit_matching",
    "on_logits",
    "soft_targets",
    "ttm",
    "wttm",
]

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
    teacher_logits, student_logits = _pair(teacher_logits, student_logits)
    temperature = _validation.temperature_of(teacher_logits, temperature)
    log_p = transforms.log_probabilities(teacher_logits, temperature)
    log_q = transforms.log_probabilities(student_logits, temperature)
    return temperature**2 * _kl_divergence(log_p, log_q)


def logit_matching(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Half the mean squared difference of zero-mean logits.

    Formula: `1/(2N) sum_i ((z_i - mean z) - (v_i - mean v))^2`, the limit of
    `soft_targets` for high temperature; Hinton et al. 2015, eq. (4).

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.

    Returns:
        Loss per distribution, shape `(...)`, at least float32.

    Raises:
        ValueError: If the shapes differ.

    Example:

    >>> float(kd.losses.logit_matching([[3.0, 1.0]], [[0.0, 0.0]])[0])
    0.5
    """
    teacher_logits, student_logits = _pair(teacher_logits, student_logits)
    difference = student_logits - teacher_logits
    classes = ops.cast(ops.shape(difference)[-1], difference.dtype)
    mean = ops.sum(difference, axis=-1, keepdims=True) / classes
    return 0.5 * ops.sum(ops.square(difference - mean), axis=-1) / classes


def ttm(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float
) -> Tensor:
    """Transformed teacher matching: temperature on the teacher only.

    Formula: `KL(softmax(v/T) || softmax(z))`, without `T^2`; Zheng and Yang
    2024, eq. (2). By eq. (15) it is soft-target distillation plus a Renyi
    entropy bonus on the student.

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.
        temperature: `T = 1/gamma`, greater than 0, applied to the teacher; the
            value of a scalar tensor is not checked.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If the shapes differ, or `temperature` is not finite and
            greater than 0.

    Example:

    >>> loss = kd.losses.ttm([[2.0, 0.0]], [[1.0, 0.0]], temperature=2.0)
    >>> abs(round(float(loss[0]), 4))
    0.0
    """
    teacher_logits, student_logits = _pair(teacher_logits, student_logits)
    log_p = transforms.log_probabilities(teacher_logits, temperature)
    return _kl_divergence(log_p, transforms.log_probabilities(student_logits))


def wttm(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float
) -> Tensor:
    """Weighted TTM: each example weighs as much as its teacher is uncertain.

    Formula: `U_{1/T}(softmax(v)) KL(softmax(v/T) || softmax(z))` with the power
    sum `U` of the teacher at temperature 1; Zheng and Yang 2024, eq. (23).

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`.
        student_logits: Unnormalised logits `z`, same shape.
        temperature: `T = 1/gamma`, greater than 0, applied to the teacher; the
            value of a scalar tensor is not checked.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If the shapes differ, or `temperature` is not finite and
            greater than 0.

    Example:

    >>> loss = kd.losses.wttm([[2.0, 0.0]], [[0.0, 0.0]], temperature=2.0)
    >>> round(float(loss[0]), 4)
    0.1424
    """
    teacher_logits, student_logits = _pair(teacher_logits, student_logits)
    weight = transforms.power_sum(teacher_logits, temperature)
    return weight * ttm(teacher_logits, student_logits, temperature)


def _pair(teacher_logits: Tensor, student_logits: Tensor) -> tuple:
    teacher_logits = transforms.at_least_float32(teacher_logits)
    student_logits = transforms.at_least_float32(student_logits)
    _validation.same_shape(teacher_logits, student_logits)
    return ops.stop_gradient(teacher_logits), student_logits


def _kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


class _TemperedLoss(keras.losses.Loss):
    """A loss with one hyperparameter, the temperature.

    It may be set at any moment. In a step of a Distiller it is a tensor.
    """

    compares = _kinds.CLASSES
    numbers = ("temperature",)

    def __init__(
        self,
        temperature: float,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = temperature

    @property
    def temperature(self) -> float:
        return self.__dict__["temperature"]

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.__dict__["temperature"] = _validation.temperature(value)

    def get_config(self) -> dict:
        return {**super().get_config(), "temperature": self.temperature}


@register
class SoftTargets(_TemperedLoss):
    """Soft targets at a temperature, for `kd.Distiller` or on their own.

    Formula: `T^2 KL(softmax(v/T) || softmax(z/T))`, Hinton et al. 2015,
    section 2; see `kd.losses.soft_targets`.

    Args:
        temperature: `T`, greater than 0, applied to teacher and student; an
            attribute that may be set at any moment.
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

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return soft_targets(teacher_logits, student_logits, self.temperature)


@register
class LogitMatching(keras.losses.Loss):
    """Logit matching, the high-temperature limit of `kd.losses.SoftTargets`.

    Formula: `1/(2N) sum_i ((z_i - mean z) - (v_i - mean v))^2`, Hinton et al.
    2015, eq. (4); see `kd.losses.logit_matching`.

    Args:
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        teacher_logits, student_logits: Unnormalised logits, shape
            `(..., classes)`.
        sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, or what `reduction` asks for.

    Raises:
        ValueError: When called, if the shapes differ.

    Example:

    >>> float(kd.losses.LogitMatching()([[3.0, 1.0]], [[0.0, 0.0]]))
    0.5
    """

    compares = _kinds.CLASSES
    default_weights = (0.1, 0.9)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return logit_matching(teacher_logits, student_logits)


@register
class TTM(_TemperedLoss):
    """Transformed teacher matching: temperature on the teacher only.

    Formula: `KL(softmax(v/T) || softmax(z))`, Zheng and Yang 2024, eq. (2);
    see `kd.losses.ttm`. The paper gives the labels weight 1 and this term a
    weight `beta`: `hard_loss_weight=1.0, soft_loss_weight=beta`. The default
    `beta` of a Distiller is `0.6 T^2`. The paper tuned five pairs of models on
    100 classes: 7 at T = 3.3, and 33, 45, 100 and 101 at T = 10, which is
    between `0.3 T^2` and `1.0 T^2`, in the median `0.6 T^2`. Tune it for few
    classes.

    Args:
        temperature: `T = 1/gamma`, greater than 0; an attribute that may be
            set at any moment.
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

    >>> loss = kd.losses.TTM(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.1109
    """

    @property
    def default_weights(self) -> tuple[float, float]:
        return 1.0, 0.6 * self.temperature**2

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return ttm(teacher_logits, student_logits, self.temperature)


@register
class WTTM(_TemperedLoss):
    """Weighted TTM: examples weigh as much as the teacher is uncertain.

    Formula: `U_{1/T}(softmax(v)) KL(softmax(v/T) || softmax(z))`, Zheng and
    Yang 2024, eq. (23); see `kd.losses.wttm`. The paper gives the labels weight
    1 and this term a weight `beta`:
    `hard_loss_weight=1.0, soft_loss_weight=beta`. The default `beta` of a
    Distiller is 2: the paper tuned 1.5, 1.5, 2.25, 3 and 4 on 100 classes, and
    1.6 on 1,000, in the median 1.9, with `T` from 1.25 to 10.

    Args:
        temperature: `T = 1/gamma`, greater than 0; an attribute that may be
            set at any moment.
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

    >>> loss = kd.losses.WTTM(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.1424
    """

    default_weights = (1.0, 2.0)

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return wttm(teacher_logits, student_logits, self.temperature)
