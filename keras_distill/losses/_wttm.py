"""TTM in which each example weighs as its teacher is uncertain."""

from typing import Any

from keras_distill._registration import register
from keras_distill.losses._tempered import TemperedLoss
from keras_distill.losses._top_k import power_sum
from keras_distill.losses._ttm import ttm

Tensor = Any


def wttm(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float
) -> Tensor:
    """Weighted TTM: each example weighs as much as its teacher is uncertain.

    Formula: `U_{1/T}(softmax(v)) KL(softmax(v/T) || softmax(z))` with the power
    sum `U` of the teacher at temperature 1; Zheng and Yang 2024, eq. (23). It
    is `ttm` with `example_weight=kd.transforms.power_sum`.

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
    return ttm(teacher_logits, student_logits, temperature, power_sum)


@register
class WTTM(TemperedLoss):
    """Weighted TTM: examples weigh as much as the teacher is uncertain.

    Formula: `U_{1/T}(softmax(v)) KL(softmax(v/T) || softmax(z))`, Zheng and
    Yang 2024, eq. (23); see `kd.losses.wttm`. The paper gives the labels weight
    1 and this term a weight `beta`:
    `hard_loss_weight=1.0, soft_loss_weight=beta`. The default `beta` of a
    Distiller is 2: the paper tuned 1.5, 1.5, 2.25, 3 and 4 on 100 classes, and
    1.6 on 1,000, in the median 1.9, with `T` from 1.25 to 10. On MNIST, speech
    and CIFAR-10 (benchmarks/paper/ttm_wttm.md) weights from 1.5 to 5 were
    alike. Begin with T = 4, or with T = 2 where the teacher is often unsure.

    At its minimum the student's probabilities are the teacher's at `T`, so it
    is not sure enough of its answers: before probabilities are used,
    `kd.bias.scale_logits(student, 1 / kd.bias.fit_temperature(student,
    held_out))` calibrates it, and changes no answer.

    Args:
        temperature: `T = 1/gamma`, greater than 0; an attribute that may be
            set at any moment. In a Distiller it may be one of
            `keras.optimizers.schedules`.
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

    >>> loss = kd.losses.WTTM(temperature=2.0)
    >>> round(float(loss([[2.0, 0.0]], [[0.0, 0.0]])), 4)
    0.1424
    """

    searched = True
    takes_top_k = True
    default_weights = (1.0, 2.0)

    def __init__(
        self,
        temperature: float,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, reduction, name, dtype)

    def call(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return wttm(teacher_logits, student_logits, self.temperature)
