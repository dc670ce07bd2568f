"""The cosine between features: their direction, not their length."""

from typing import Any

import keras
from keras import ops

from keras_distill import _kinds
from keras_distill._registration import register
from keras_distill.losses._feature_pairs import feature_pair, unit

Tensor = Any


def cosine_distance(teacher_feature: Tensor, student_feature: Tensor) -> Tensor:
    """One less the cosine of the angle between two features.

    Formula: `1 - f.g / (|f| |g|)`, half the squared distance of the two after
    each has been scaled to length 1. Where one is zero it is 1.

    Args:
        teacher_feature: `f`, shape `(batch, ..., channels)`.
        student_feature: `g`, same shape.

    Returns:
        Loss from 0 to 2 of each position, shape `(batch, ...)`, at least
        float32.

    Raises:
        ValueError: If the shapes differ.

    Example:

    >>> float(kd.losses.cosine_distance([[2.0, 0.0]], [[0.0, 5.0]])[0])
    1.0
    """
    f, g = feature_pair(teacher_feature, student_feature, slice(None))
    return 1.0 - ops.sum(unit(f) * unit(g), axis=-1)


@register
class CosineDistance(keras.losses.Loss):
    """The angle between features, whatever their length.

    Formula: `1 - f.g / (|f| |g|)`; see `kd.losses.cosine_distance`. Keras's
    `CosineSimilarity` is 1 less, and has the same gradient.

    Args:
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_feature, student_feature: Shape `(batch, ..., channels)`.
        - sample_weight: Optional weights that broadcast to `(batch, ...)`.

    Returns:
        The mean over examples and positions, or what `reduction` asks for.

    Raises:
        ValueError: When called, if the shapes differ.

    Example:

    >>> float(kd.losses.CosineDistance()([[2.0, 0.0]], [[0.0, 5.0]]))
    1.0
    """

    compares = _kinds.VALUES

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, teacher_feature: Tensor, student_feature: Tensor) -> Tensor:
        return cosine_distance(teacher_feature, student_feature)
