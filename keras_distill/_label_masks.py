"""Where the class of a label is, in the shape of the logits."""

from typing import Any

from keras import ops

Tensor = Any


def label_mask(labels: Any, logits: Tensor) -> Tensor:
    """True at the label's class: once in each row, or nowhere.

    Args:
        labels: Class numbers, shape `(...)` or `(..., 1)`, or one-hot, shape
            `(..., classes)`, of which the largest share counts. One that is no
            class, as -1, is nowhere.
        logits: Shape `(..., classes)`.
    """
    labels = ops.convert_to_tensor(labels)
    shape = tuple(logits.shape)
    _require_shape(tuple(labels.shape), shape)
    if len(labels.shape) == len(shape) and labels.shape[-1] != 1:
        shares = ops.cast(labels, logits.dtype)
        any_class = ops.any(shares > 0, axis=-1)
        labels = ops.where(any_class, ops.argmax(shares, axis=-1), -1)
    elif len(labels.shape) == len(shape):
        labels = ops.squeeze(labels, axis=-1)
    classes = ops.arange(ops.shape(logits)[-1], dtype="int32")
    return ops.equal(ops.cast(labels, "int32")[..., None], classes)


def _require_shape(labels: tuple, logits: tuple) -> None:
    allowed = [logits[:-1], (*logits[:-1], 1), logits]
    if any(agree(labels, shape) for shape in allowed):
        return
    raise ValueError(
        "`labels` must be class numbers, one for each distribution, or one-hot "
        f"in the shape of the logits. Received: labels.shape={labels}, "
        f"teacher_logits.shape={logits}. Pass labels of shape {allowed[0]}, "
        f"{allowed[1]} or {allowed[2]}."
    )


def agree(a: tuple, b: tuple) -> bool:
    """Whether two shapes are the same where both are known."""
    return len(a) == len(b) and all(
        x == y or x is None or y is None for x, y in zip(a, b, strict=True)
    )
