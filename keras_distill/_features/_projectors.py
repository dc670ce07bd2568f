"""What takes a student's feature to the shape of the teacher's."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._compiled import require_feature_comparison
from keras_distill._features._feature import Feature
from keras_distill._registration import register

Tensor = Any
Shape = tuple[int | None, ...]


@register
class Resized(keras.layers.Layer):
    """Maps, or sequences, of another size: each position the mean of an area.

    Position `i` of `n` is the mean over `[i/n, (i+1)/n)` of the axis, as in an
    adaptive average pooling, but exact where `n` does not divide the size. It
    is a product of matrices, which all backends compile and differentiate.

    Args:
        sizes: Of the axes between that of examples and that of channels.
    """

    def __init__(self, sizes: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)

    def call(self, maps: Tensor, mask: Any = None) -> Tensor:
        if mask is not None:
            raise ValueError(
                "Positions that are masked cannot be resized with the others. "
                "Received: a feature with a mask, of another length than the "
                "teacher's. Take layers of equal lengths, or pass a projector."
            )
        for axis, size in enumerate(self.sizes, start=1):
            if maps.shape[axis] != size:
                means = ops.cast(_areas(maps.shape[axis], size), maps.dtype)
                maps = ops.moveaxis(
                    ops.tensordot(maps, means, axes=[[axis], [1]]), -1, axis
                )
        return maps

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.sizes, input_shape[-1])

    def get_config(self) -> dict:
        return {**super().get_config(), "sizes": self.sizes}


def _areas(size: int, new_size: int) -> np.ndarray:
    """What each of the old positions has in each new one, shape (new, old)."""
    old, new = np.arange(size) / size, np.arange(new_size)[:, None] / new_size
    overlap = np.minimum(old + 1 / size, new + 1 / new_size)
    overlap = np.maximum(overlap - np.maximum(old, new), 0)
    return (overlap * new_size).astype("float32")


def projected(projector: Any, feature: Tensor, training: Any) -> Tensor:
    """A student's feature, as it is compared."""
    if projector is None:
        return feature
    return projector(feature, training=training)


def built(projector: Any, spec: Tensor) -> Any:
    """The projector of a user, with variables for a student's feature."""
    if projector is None or projector.built:
        return projector
    try:
        projector(keras.Input(batch_shape=spec.shape, dtype=spec.dtype))
    except Exception as error:
        raise ValueError(
            "`projector` must take the student's feature. Received: "
            f"projector={projector.name!r}, for a feature of shape "
            f"{tuple(spec.shape)}. The error was: {error}"
        ) from error
    return projector


def default_projector(
    feature: Feature, teacher: Tensor, student: Tensor, dtype: Any
) -> Any:
    """What makes the shapes equal as far as the loss needs it, or None."""
    stages: list = []
    if _compares_positions(feature.loss):
        sizes = teacher.shape[1:-1]
        if not _equal(student.shape[1:-1], sizes):
            _require_resizable(feature, teacher, student)
            stages.append(Resized(sizes, dtype=dtype))
    if getattr(feature.loss, "per_position", True):
        if not _equal(student.shape[-1:], teacher.shape[-1:]):
            stages.append(keras.layers.Dense(teacher.shape[-1], dtype=dtype))
    if not stages:
        return None
    # A Sequential of one layer would warn that it takes off masks.
    one = stages[0] if len(stages) == 1 else keras.Sequential(stages)
    return built(one, student)


def require_comparable(
    feature: Feature, projector: Any, teacher: Tensor, student: Tensor
) -> None:
    """Refuses a loss of something else, and a projector to something else."""
    require_feature_comparison(feature.loss, tuple(teacher.shape))
    if projector is not None:
        student = projector.compute_output_spec(student)
    ours, theirs = tuple(student.shape), tuple(teacher.shape)
    if not _compares_positions(feature.loss):
        return
    if not getattr(feature.loss, "per_position", True):
        _require_positions(feature, theirs)
        ours, theirs = ours[:-1], theirs[:-1]
    if not _equal(ours, theirs):
        raise ValueError(
            "The projector of a feature must give the shape of the teacher's. "
            f"Received: {tuple(student.shape)} of student_layer="
            f"{feature.student_layer!r}, {tuple(teacher.shape)} of "
            f"teacher_layer={feature.teacher_layer!r}. Pass a projector to "
            "that shape, or None to have one made in a new kd.Distiller."
        )


def _compares_positions(loss: Any) -> bool:
    return getattr(loss, "per_example", True)


def _equal(one: Any, other: Any) -> bool:
    """As far as is known before there is a batch."""
    return len(one) == len(other) and all(
        a == b or a is None or b is None
        for a, b in zip(one, other, strict=True)
    )


def _require_resizable(
    feature: Feature, teacher: Tensor, student: Tensor
) -> None:
    sizes = (*student.shape[1:], *teacher.shape[1:])
    if len(teacher.shape) != len(student.shape) or None in sizes:
        raise ValueError(
            "Features of such shapes need a projector. Received: "
            f"{tuple(student.shape)} of student_layer="
            f"{feature.student_layer!r}, {tuple(teacher.shape)} of "
            f"teacher_layer={feature.teacher_layer!r}. Pass projector=, for "
            "maps to a vector keras.Sequential([keras.layers."
            "GlobalAveragePooling2D(), keras.layers.Dense(units)])."
        )


def _require_positions(feature: Feature, shape: Shape) -> None:
    if len(shape) < 3:
        raise ValueError(
            f"{type(feature.loss).__name__} compares the positions of an "
            f"example. Received: {shape} of teacher_layer="
            f"{feature.teacher_layer!r}, which has none. Take layers that "
            "return (batch, ..., channels), or kd.losses.CosineDistance()."
        )
