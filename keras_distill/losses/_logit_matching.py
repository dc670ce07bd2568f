"""Logit matching: soft targets at a high temperature."""

from typing import Any

from keras import ops

from keras_distill import _kinds
from keras_distill._registration import register
from keras_distill.losses._logits import mean, pair
from keras_distill.losses._recomputed import RecomputedLoss

Tensor = Any


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
    teacher_logits, student_logits = pair(teacher_logits, student_logits)
    difference = student_logits - teacher_logits
    zero_mean = difference - mean(difference)[..., None]
    return 0.5 * mean(ops.square(zero_mean))


@register
class LogitMatching(RecomputedLoss):
    """Logit matching, the high-temperature limit of `kd.losses.SoftTargets`.

    Formula: `1/(2N) sum_i ((z_i - mean z) - (v_i - mean v))^2`, Hinton et al.
    2015, eq. (4); see `kd.losses.logit_matching`.

    Args:
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, or what `reduction` asks for.

    Raises:
        ValueError: When called, if the shapes differ.

    Example:

    >>> float(kd.losses.LogitMatching()([[3.0, 1.0]], [[0.0, 0.0]]))
    0.5
    """

    compares = _kinds.CLASSES
    searched = True
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
