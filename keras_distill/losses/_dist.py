"""DIST: correlations of probabilities instead of their divergence."""

from typing import Any

from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._registration import register
from keras_distill.losses._logits import pair, root
from keras_distill.losses._of_batches import LossOfBatches
from keras_distill.losses._tempered import (
    Number,
    NumberedLoss,
    a_temperature,
)

Tensor = Any
_EPSILON = 1e-8  # In the denominator of a correlation, as the authors have it.


def dist(
    teacher_logits: Tensor,
    student_logits: Tensor,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """One minus the correlation of probabilities, of examples and of classes.

    Formula: `T^2 (b mean_i (1 - r(P_i, Q_i)) + g mean_c (1 - r(P^c, Q^c)))`,
    Huang et al. 2022 (arXiv 2205.10536), section 3, where `r` is
    Pearson's correlation, `P` and `Q` are the tempered probabilities of teacher
    and student, `P_i` those of one example and `P^c` those of one class over
    the batch.

    Args:
        teacher_logits: Unnormalised logits `v`, shape `(..., classes)`. All
            positions are examples of one batch.
        student_logits: Unnormalised logits `z`, same shape.
        inter_weight: The paper's `beta`, of examples, at least 0.
        intra_weight: The paper's `gamma`, of classes, at least 0.
        temperature: `T`, greater than 0, applied to both. Of the three numbers,
            the value of a scalar tensor is not checked.

    Returns:
        One number for the batch, at least float32.

    Raises:
        TypeError: If a number is no real number.
        ValueError: If the shapes differ, if `temperature` is not finite and
            greater than 0, or a weight not finite and at least 0.

    Example:

    >>> v = [[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    >>> z = [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0]]
    >>> round(float(kd.losses.dist(v, z)), 4)
    1.7956
    """
    v, z = pair(teacher_logits, student_logits)
    t = _validation.temperature_of(v, temperature)
    beta = _weight_of(v, "inter_weight", inter_weight)
    gamma = _weight_of(v, "intra_weight", intra_weight)
    p, q = (_rows(transforms.power_transform(x, t)) for x in (v, z))
    inter = _dissimilarity(p, q)
    intra = _dissimilarity(ops.transpose(p), ops.transpose(q))
    return t**2 * (beta * inter + gamma * intra)


def _weight_of(logits: Tensor, name: str, value: Any) -> Any:
    return _validation.number_of(logits, name, value, _validation.weight)


def _rows(probabilities: Tensor) -> Tensor:
    return ops.reshape(probabilities, (-1, ops.shape(probabilities)[-1]))


def _dissimilarity(p: Tensor, q: Tensor) -> Tensor:
    """One minus Pearson's correlation, the mean over rows."""
    p, q = _centred(p), _centred(q)
    norms = ops.sum(p * p, axis=-1) * ops.sum(q * q, axis=-1)
    correlation = ops.sum(p * q, axis=-1) / (root(norms) + _EPSILON)
    count = ops.cast(ops.shape(p)[0], p.dtype)
    return 1.0 - ops.sum(correlation) / count


def _centred(rows: Tensor) -> Tensor:
    count = ops.cast(ops.shape(rows)[-1], rows.dtype)
    return rows - ops.sum(rows, axis=-1, keepdims=True) / count


@register
class DIST(LossOfBatches, NumberedLoss):
    """One minus the correlation of probabilities, of examples and of classes.

    Formula: `T^2 (b mean_i (1 - r(P_i, Q_i)) + g mean_c (1 - r(P^c, Q^c)))`
    with Pearson's correlation `r`, Huang et al. 2022 (arXiv 2205.10536),
    section 3; see `kd.losses.dist`. A correlation asks of the student which
    classes are more probable than others, not how probable: less than a
    divergence does, where the teacher is much stronger.

    It compares the examples of a batch, so it takes neither sample weights nor
    masks, trains on one replica of TensorFlow alone, and depends on the batch
    size. On JAX devices it sees the whole batch.

    Args:
        inter_weight: The paper's `beta`, of examples, at least 0.
        intra_weight: The paper's `gamma`, of classes, at least 0.
        temperature: `T`, greater than 0, applied to teacher and student. The
            three are attributes that may be set at any moment, in a Distiller
            to one of `keras.optimizers.schedules`. The defaults are those of
            the authors' code.
        reduction: As in `keras.losses.Loss`; of one number all are alike.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`.

    Returns:
        One number for the batch.

    Raises:
        TypeError: If a number is no real number.
        ValueError: If `temperature` is not finite and greater than 0, if a
            weight is not finite and at least 0, or, when called, if the shapes
            differ, or for sample weights, a mask or replicas.

    Example:

    >>> v = [[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    >>> z = [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0]]
    >>> round(float(kd.losses.DIST()(v, z)), 4)
    1.7956
    """

    compares = _kinds.CLASSES
    numbers = ("inter_weight", "intra_weight", "temperature")
    default_weights = (1.0, 1.0)
    inter_weight = Number(_validation.weight)
    intra_weight = Number(_validation.weight)
    temperature = a_temperature()

    def __init__(
        self,
        inter_weight: float = 1.0,
        intra_weight: float = 1.0,
        temperature: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.temperature = temperature

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        numbers = {name: getattr(self, name) for name in self.numbers}
        return dist(teacher_logits, student_logits, **numbers)
