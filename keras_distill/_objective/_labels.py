"""Labels for a distillation loss that uses them, in their own dtype."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_distill._keras import memory

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

    def call(student_logits: Tensor, logits: Any, labels: Any) -> Tensor:
        logits = memory.in_dtype_of(loss, logits)
        return loss.call((logits, labels), student_logits)

    def called(
        teacher_logits: Tensor,
        student_logits: Tensor,
        sample_weight: Any = None,
    ) -> Tensor:
        targets = [teacher_logits, labels]
        return memory.called(loss, call, targets, student_logits, sample_weight)

    return called


def without_void(
    labels: Any, ignored: int | None, sample_weight: Any, logits: Tensor
) -> tuple[Any, Any]:
    """Labels that are all classes, and weights that are 0 where one was none.

    Args:
        labels: Class numbers, shape `(...)` or `(..., 1)`, or one-hot, of
            which none is void.
        ignored: The label that stands for none, if there is one.
        sample_weight: None, or weights of shape `(...)`.
        logits: Shape `(..., classes)`.
    """
    if labels is None:
        return None, sample_weight
    shape, rank = ops.shape(labels), len(logits.shape)
    one_hot = len(shape) == rank and shape[-1] != 1
    if ignored is None or one_hot:
        return labels, sample_weight
    # Not in the labels' dtype, in which -1 may be class 255.
    void = ops.equal(ops.cast(labels, "int32"), ignored)
    labels = ops.where(void, ops.zeros_like(labels), labels)
    if len(shape) == rank:
        void = ops.squeeze(void, axis=-1)
    known = 1.0 - ops.cast(void, "float32")
    return labels, known if sample_weight is None else known * sample_weight
