"""Hard labels: the teacher's most probable class alone."""

from typing import Any

from keras import ops

from keras_distill import _kinds, transforms
from keras_distill._registration import register
from keras_distill.losses._recomputed import RecomputedLoss
from keras_distill.losses._top_k import best, pair

Tensor = Any


def hard_labels(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Cross-entropy with the teacher's most probable class.

    Formula: `-log softmax(z)_k` with `k = argmax_i v_i`, Touvron et al. 2021
    (DeiT, arXiv 2012.12877), eq. (3).

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`. Of
            equal ones the first counts.
        student_logits: Unnormalised logits `z`, same shape.

    Returns:
        Loss in nats per distribution, shape `(...)`, at least float32.

    Raises:
        ValueError: If the shapes differ.

    Example:

    >>> loss = kd.losses.hard_labels([[2.0, 0.0]], [[0.0, 0.0]])
    >>> round(float(loss[0]), 4)
    0.6931
    """
    v, z = pair(teacher_logits, student_logits)
    log_q = transforms.log_probabilities(z)
    return -ops.take_along_axis(log_q, best(v), axis=-1)[..., 0]


@register
class HardLabels(RecomputedLoss):
    """Cross-entropy with the teacher's most probable class.

    Formula: `-log softmax(z)_k` with `k = argmax_i v_i`, Touvron et al. 2021
    (DeiT, arXiv 2012.12877), eq. (3); see `kd.losses.hard_labels`. It is what
    is left of soft targets at temperature 0, and the baseline that they have to
    beat: labels for data without any, and free of mistakes that the teacher
    does not make.

    Args:
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
        ValueError: When called, if the shapes differ.

    Example:

    >>> loss = kd.losses.HardLabels()
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.6931
    """

    compares = _kinds.CLASSES
    takes_top_k = True
    default_weights = (0.5, 0.5)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return hard_labels(teacher_logits, student_logits)
