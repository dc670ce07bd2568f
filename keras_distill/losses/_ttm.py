"""Transformed teacher matching: temperature on the teacher only."""

from typing import Any

from keras_distill import _schedules, _validation
from keras_distill._registration import register
from keras_distill.losses._top_k import kl_divergence, pair
from keras_distill.losses._weighed import (
    ExampleWeight,
    WeighedLoss,
    weighed,
)

Tensor = Any


def ttm(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float,
    example_weight: ExampleWeight | None = None,
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
        example_weight: A function of `(teacher_logits, temperature)`, as those
            of `kd.example_weights`, that gives each distribution's weight.

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
    teacher_logits, student_logits = pair(teacher_logits, student_logits)
    t = _validation.temperature_of(student_logits, temperature)
    losses = kl_divergence(teacher_logits, student_logits, t, 1.0)
    return weighed(losses, teacher_logits, t, example_weight)


@register
class TTM(WeighedLoss):
    """Transformed teacher matching: temperature on the teacher only.

    Formula: `KL(softmax(v/T) || softmax(z))`, Zheng and Yang 2024, eq. (2), for
    each example times its weight, if there is one; see `kd.losses.ttm`. The
    paper gives the labels weight 1 and this term a weight `beta`:
    `hard_loss_weight=1.0, soft_loss_weight=beta`. The default `beta` of a
    Distiller is `0.6 T^2`. The paper tuned five pairs of models on 100 classes:
    7 at T = 3.3, and 33, 45, 100 and 101 at T = 10, which is between `0.3 T^2`
    and `1.0 T^2`, in the median `0.6 T^2`. On MNIST, speech and CIFAR-10
    (benchmarks/paper/ttm_wttm.md) no other rule was clearly better. Begin with
    T = 4, or with T = 2 where the teacher is often unsure. With a scheduled
    temperature or an `example_weight` there is no default.

    At its minimum the student's probabilities are the teacher's at `T`, so it
    is not sure enough of its answers: before probabilities are used,
    `kd.bias.scale_logits(student, 1 / kd.bias.fit_temperature(student,
    held_out))` calibrates it, and changes no answer.

    Args:
        temperature: `T = 1/gamma`, greater than 0; an attribute that may be
            set at any moment. In a Distiller it may be one of
            `keras.optimizers.schedules`.
        example_weight: What each example weighs, one of `kd.example_weights` or
            a function of one's own, as described there; None if all weigh the
            same.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the computation, float32 unless said otherwise.

    Call arguments:
        - teacher_logits, student_logits: Unnormalised logits, shape
          `(..., classes)`; a pair `(teacher_logits, labels)` first where the
          `example_weight` takes labels.
        - sample_weight: Optional weights that broadcast to `(...)`.

    Returns:
        The mean over examples, in nats, or what `reduction` asks for.

    Raises:
        TypeError: If `temperature` is no real number, or `example_weight` no
            function.
        ValueError: If `temperature` is not finite and greater than 0, or, when
            called, if the shapes differ, or weights have another one.

    Example:

    >>> loss = kd.losses.TTM(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.1109
    """

    searched = True
    _losses = staticmethod(ttm)

    def __init__(
        self,
        temperature: float,
        example_weight: ExampleWeight | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, example_weight, reduction, name, dtype)

    @property
    def default_weights(self) -> tuple[float, float | None]:
        scheduled = _schedules.is_schedule(self.temperature)
        if scheduled or self.example_weight is not None:
            return 1.0, None  # None is known.
        return 1.0, 0.6 * self.temperature**2
