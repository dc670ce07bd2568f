"""Relational distillation: distances and angles between the examples."""

from typing import Any

from keras import ops

from keras_distill import _kinds, _validation
from keras_distill._registration import register
from keras_distill.losses._feature_pairs import feature_pair, flat
from keras_distill.losses._of_batches import LossOfBatches
from keras_distill.losses._tempered import Number, NumberedLoss

Tensor = Any

# Of the mean square distance: below it a distance is rounding, and counts 0.
_ROUNDING = 1e-6


def rkd(
    teacher_feature: Tensor,
    student_feature: Tensor,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Tensor:
    """Distances and angles between the examples of a batch.

    Formula: `lambda_D mean_ij h(d_ij(f), d_ij(g)) + lambda_A mean_ijk
    h(cos_ijk(f), cos_ijk(g))`, Park et al. 2019, eq. (4) to (9), where `h` is
    the Huber loss of difference at 1, `d_ij` the distance of examples `i` and
    `j` over the mean of those that are not 0, and `cos_ijk` the cosine of the
    angle at `j`, 0 where two of three examples are the same. As in the code of
    the authors the means are over all pairs and triples, with those of an
    example and itself, which count 0.

    Args:
        teacher_feature: `f`, shape `(batch, ...)`.
        student_feature: `g`, shape `(batch, ...)` of as many examples; the
            rest need not agree.
        distance_weight: The paper's `lambda_D`, at least 0.
        angle_weight: The paper's `lambda_A`, at least 0. Angles take memory for
            the cube of the batch. Of this and of the other weight, the value of
            a scalar tensor is not checked.

    Returns:
        One loss for the batch, a scalar, at least float32.

    Raises:
        TypeError: If a weight is no real number.
        ValueError: If the features are of different numbers of examples, or a
            weight is not finite and at least 0.

    Example:

    >>> f, g = [[0.0], [1.0], [3.0]], [[0.0, 0.0], [2.0, 0.0], [6.0, 0.0]]
    >>> round(float(kd.losses.rkd(f, g)), 4)  # The same, twice as large.
    0.0
    """
    f, g = feature_pair(teacher_feature, student_feature, slice(1))
    d_f, cos_f = _relations(flat(f))
    d_g, cos_g = _relations(flat(g))
    weights = [
        _validation.number_of(g, name, value, _validation.weight)
        for name, value in (
            ("distance_weight", distance_weight),
            ("angle_weight", angle_weight),
        )
    ]
    return weights[0] * _huber(d_f, d_g) + weights[1] * _huber(cos_f, cos_g)


def _relations(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Distances over their mean, shape `(n, n)`, and cosines, `(n, n, n)`.

    Both from products `p_ij` of the vectors, which take no memory for their
    length: `d_ij^2 = p_ii + p_jj - 2 p_ij`, and the angle at `j` between `i`
    and `k` has `(p_ik - p_ij - p_jk + p_jj) / (d_ij d_jk)`. Relations do not
    change with origin and scale: those of `_centred` lose the fewest digits.
    """
    count = ops.cast(ops.shape(vectors)[0], vectors.dtype)
    vectors = _centred(vectors, count)
    p = vectors @ ops.transpose(vectors)  # `ops.matmul` is float32 on torch.
    own = ops.diagonal(p)
    squares = own[:, None] + own[None, :] - 2 * p
    apart = squares > _ROUNDING * ops.sum(own) / count
    d = ops.sqrt(ops.where(apart, squares, 1.0))
    products = p[:, None, :] - p[:, :, None] - p[None] + own[None, :, None]
    both = apart[:, :, None] & apart[None]
    cos = ops.where(both, products / (d[:, :, None] * d[None]), 0.0)
    d = ops.where(apart, d, 0.0)
    pairs, total = ops.sum(ops.cast(apart, d.dtype)), ops.sum(d)
    return d * pairs / ops.where(pairs > 0, total, 1.0), cos


def _centred(vectors: Tensor, count: Tensor) -> Tensor:
    """With mean 0 and numbers up to 1; of the scale no gradient is missing."""
    vectors = vectors - ops.sum(vectors, axis=0) / count
    size = ops.stop_gradient(ops.max(ops.abs(vectors)))
    return vectors / ops.where(size > 0, size, 1.0)


def _huber(one: Tensor, other: Tensor) -> Tensor:
    """The mean of Park et al. 2019, eq. (6)."""
    size = ops.abs(one - other)
    values = ops.where(size <= 1.0, 0.5 * ops.square(size), size - 0.5)
    # Not the whole numbers of a shape, whose product may be too large.
    for length in ops.shape(values):
        values = values / ops.cast(length, values.dtype)
    return ops.sum(values)


@register
class RKD(LossOfBatches, NumberedLoss):
    """Relational distillation: the examples lie to each other as the teacher's.

    Formula: `lambda_D mean_ij h(d_ij(f), d_ij(g)) + lambda_A mean_ijk
    h(cos_ijk(f), cos_ijk(g))`, Park et al. 2019, eq. (4) to (9); see
    `kd.losses.rkd`. Features of any shape are compared without a projector. The
    default weights are those that other libraries take for classification.

    It compares the examples of a batch: with sample weights, masks or replicas
    of TensorFlow it is refused; on JAX the batch is that of all devices.

    Args:
        distance_weight: The paper's `lambda_D`, at least 0.
        angle_weight: The paper's `lambda_A`, at least 0. Angles take memory for
            the cube of the batch. Both are attributes that may be set at any
            moment, in a Distiller to one of `keras.optimizers.schedules`.
        reduction: As in `keras.losses.Loss`; there is one value to reduce.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_feature, student_feature: Shape `(batch, ...)` each.

    Returns:
        One loss for the batch.

    Raises:
        TypeError: If a weight is no real number.
        ValueError: If a weight is not finite and at least 0, or, when called,
            if the features are of different numbers of examples, or there are
            sample weights.

    Example:

    >>> f, g = [[0.0], [1.0], [3.0]], [[0.0, 0.0], [2.0, 0.0], [6.0, 0.0]]
    >>> round(float(kd.losses.RKD()(f, g)), 4)  # The same, twice as large.
    0.0
    """

    compares = _kinds.VALUES
    per_position = False
    numbers = ("distance_weight", "angle_weight")
    distance_weight = Number(_validation.weight)
    angle_weight = Number(_validation.weight)

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def call(self, teacher_feature: Tensor, student_feature: Tensor) -> Tensor:
        numbers = {name: getattr(self, name) for name in self.numbers}
        return rkd(teacher_feature, student_feature, **numbers)
