"""What the losses between features share."""

from typing import Any

from keras import ops

from keras_distill import transforms

Tensor = Any


def feature_pair(teacher: Tensor, student: Tensor, axes: slice) -> tuple:
    """Both in at least float32, the teacher's as constants.

    Args:
        teacher: A feature, shape `(batch, ..., channels)`.
        student: Another one, whose shape is the same in the axes.
        axes: In which the shapes must be equal.
    """
    teacher = transforms.at_least_float32(teacher)
    student = transforms.at_least_float32(student)
    one, other = tuple(teacher.shape)[axes], tuple(student.shape)[axes]
    agree = len(one) == len(other) and all(
        a == b or None in (a, b) for a, b in zip(one, other, strict=True)
    )
    if not agree or min(len(teacher.shape), len(student.shape)) < 2:
        raise ValueError(
            "Features must have the shape (batch, ..., channels), and agree in "
            f"what is compared. Received: teacher.shape={tuple(teacher.shape)},"
            f" student.shape={tuple(student.shape)}. Pass a projector to "
            "kd.losses.Feature, or None for the one that it makes."
        )
    return ops.stop_gradient(teacher), student


def flat(feature: Tensor) -> Tensor:
    """Shape `(batch, numbers)`."""
    return ops.reshape(feature, (ops.shape(feature)[0], -1))


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1 along the last axis; a vector of zeros stays.

    The gradient of a length is not finite at 0, where none is taken.
    """
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    some = squares > 0
    length = ops.sqrt(ops.where(some, squares, 1.0))
    return ops.where(some, vectors / length, 0.0)
