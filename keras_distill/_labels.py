"""Labels for a distillation loss that uses them, in their own dtype."""

from collections.abc import Callable
from typing import Any

import keras

from keras_distill._keras.numbers import having

Tensor = Any


def with_labels(loss: Any, labels: Any) -> Callable[..., Tensor]:
    """A loss that has its labels, called as those that use none.

    Keras casts all targets to the dtype of a loss, in which class 257 is class
    256 where that is bfloat16. So the labels come to `loss.call` by themselves.

    Args:
        loss: Has `uses_labels = True`; its `call` gets `(teacher_logits,
            labels)` first.
        labels: One array or tensor of labels, of any dtype.

    Returns:
        A function of teacher logits, student logits and sample weights.
    """
    if labels is None:
        raise ValueError(
            f"{type(loss).__name__} uses labels. Received: data without "
            "labels. Pass labels, or a distillation loss that needs none, for "
            "example kd.losses.SoftTargets(temperature=4.0)."
        )

    def call(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        return loss.call((teacher_logits, labels), student_logits)

    bound = having(loss, {"call": call})

    def called(
        teacher_logits: Tensor,
        student_logits: Tensor,
        sample_weight: Any = None,
    ) -> Tensor:
        # Not what the loss makes of a call from outside, with a pair.
        keras_call = keras.losses.Loss.__call__
        return keras_call(bound, teacher_logits, student_logits, sample_weight)

    return called
