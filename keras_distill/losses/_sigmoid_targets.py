"""Soft targets of labels that do not exclude each other."""

from typing import Any

from keras_distill import _kinds, _validation
from keras_distill._registration import register
from keras_distill.losses._logits import bernoulli_divergence, mean, pair
from keras_distill.losses._tempered import TemperedLoss

Tensor = Any


def sigmoid_targets(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float
) -> Tensor:
    """Divergence of tempered sigmoids, the mean over labels.

    Formula: `T^2/L sum_l KL(B(sigmoid(v_l/T)) || B(sigmoid(z_l/T)))` with the
    Bernoulli distribution `B`: Hinton et al. 2015, section 2, for labels of
    which each is a distribution of its own (derived). With `L = 1` it is
    `soft_targets` of the logits `(0, v)` and `(0, z)`. The mean over labels is
    that of `keras.losses.BinaryCrossentropy`.

    Args:
        teacher_logits: Logits `v` before a sigmoid, shape `(..., labels)`.
        student_logits: Logits `z` before a sigmoid, same shape.
        temperature: `T`, greater than 0, applied to both; the value of a scalar
            tensor is not checked.

    Returns:
        Loss in nats per example, shape `(...)`, at least float32.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If the shapes differ, or `temperature` is not finite and
            greater than 0.

    Example:

    >>> loss = kd.losses.sigmoid_targets([[2.0, 0.0]], [[0.0, 0.0]], 2.0)
    >>> round(float(loss[0]), 4)
    0.2219
    """
    teacher_logits, student_logits = pair(teacher_logits, student_logits)
    temperature = _validation.temperature_of(teacher_logits, temperature)
    divergence = bernoulli_divergence(
        teacher_logits / temperature, student_logits / temperature
    )
    return temperature**2 * mean(divergence)


@register
class SigmoidTargets(TemperedLoss):
    """Soft targets of a multi-label head, or of one unit for two classes.

    Formula: `T^2/L sum_l KL(B(sigmoid(v_l/T)) || B(sigmoid(z_l/T)))`, Hinton et
    al. 2015, section 2, for labels that do not exclude each other; see
    `kd.losses.sigmoid_targets`. It goes beside
    `keras.losses.BinaryCrossentropy(from_logits=True)`, on the logits before
    the sigmoid: `kd.as_logits` removes one. Metrics are those of logits, such
    as `keras.metrics.BinaryAccuracy(threshold=0.0)`: by `"accuracy"` Keras
    understands the most probable one of several labels.

    The default weights of a Distiller are those of `SoftTargets`, 0.1 and 0.9:
    both losses are means over labels, and `T^2` keeps the size of the gradient
    as it does there.

    Args:
        temperature: `T`, greater than 0, applied to teacher and student; an
            attribute that may be set at any moment. In a Distiller it may be
            one of `keras.optimizers.schedules`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Logits before a sigmoid, shape
          `(..., labels)`.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples and labels, in nats, or what `reduction` asks
        for.

    Raises:
        TypeError: If `temperature` is no real number.
        ValueError: If `temperature` is not finite and greater than 0, or, when
            called, if the shapes differ.

    Example:

    >>> loss = kd.losses.SigmoidTargets(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.2219
    """

    compares = _kinds.LABELS
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
        return sigmoid_targets(teacher_logits, student_logits, self.temperature)
