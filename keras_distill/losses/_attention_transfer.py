"""Attention transfer: where the channels of a map are large."""

from typing import Any

import keras
from keras import ops

from keras_distill import _kinds
from keras_distill._registration import register
from keras_distill.losses._feature_pairs import feature_pair, flat, unit

Tensor = Any


def attention_transfer(
    teacher_feature: Tensor, student_feature: Tensor
) -> Tensor:
    """The squared difference of normalised attention maps.

    Formula: `mean_j (Q_j(f) / |Q(f)| - Q_j(g) / |Q(g)|)^2` over the positions
    `j`, where `Q_j(f) = sum_c |f_jc|^2`: the activation-based attention of
    Zagoruyko and Komodakis 2017, eq. (1) with p = 2 and (2). As in the code of
    the authors the distance is squared, and a mean.

    Args:
        teacher_feature: `f`, shape `(batch, ..., channels)`.
        student_feature: `g`, same shape but for the channels, of which it may
            have any number.

    Returns:
        Loss of each example, shape `(batch,)`, at least float32.

    Raises:
        ValueError: If the shapes differ in more than channels, or there is one
            position only.

    Example:

    >>> f, g = [[[1.0, 0.0], [0.0, 0.0]]], [[[0.0], [3.0]]]
    >>> float(kd.losses.attention_transfer(f, g)[0])
    1.0
    """
    f, g = feature_pair(teacher_feature, student_feature, slice(-1))
    _require_positions(f.shape)
    squares = ops.square(_attention(f) - _attention(g))
    # Keras takes means of float64 in float32.
    count = ops.cast(ops.shape(squares)[-1], squares.dtype)
    return ops.sum(squares, axis=-1) / count


def _require_positions(shape: tuple) -> None:
    if len(shape) < 3 or all(size == 1 for size in shape[1:-1]):
        raise ValueError(
            "Attention is large at some positions and small at others. "
            f"Received: features of shape {tuple(shape)}, of one position. "
            "Take layers that return (batch, ..., channels) of several "
            "positions, or kd.losses.CosineDistance() for vectors."
        )


def _attention(feature: Tensor) -> Tensor:
    """Shape `(batch, positions)`, of length 1."""
    return unit(flat(ops.sum(ops.square(feature), axis=-1)))


@register
class AttentionTransfer(keras.losses.Loss):
    """Attention transfer: maps of a network agree in where they are large.

    Formula: `mean_j (Q_j(f) / |Q(f)| - Q_j(g) / |Q(g)|)^2` over the positions
    `j`, where `Q_j` sums the squares of the channels; Zagoruyko and Komodakis
    2017, eq. (1) and (2); see `kd.losses.attention_transfer`. Maps of any
    number of channels are compared without a projector. A difference of unit
    vectors, spread over all positions, is small: the paper's weight, in its
    code, is 1000 for each of three or four maps.

    Args:
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_feature, student_feature: Shape `(batch, ..., channels)`, of
          any number of channels each.
        - sample_weight: Optional weights that broadcast to `(batch,)`.

    Returns:
        The mean over examples, or what `reduction` asks for.

    Raises:
        ValueError: When called, if the shapes differ in more than channels.

    Example:

    >>> f, g = [[[1.0, 0.0], [0.0, 0.0]]], [[[0.0], [3.0]]]
    >>> float(kd.losses.AttentionTransfer()(f, g))
    1.0
    """

    compares = _kinds.VALUES
    per_position = False

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, teacher_feature: Tensor, student_feature: Tensor) -> Tensor:
        return attention_transfer(teacher_feature, student_feature)
