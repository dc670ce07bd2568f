"""The feature losses of a step, from what the layers of both models gave."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_distill import _features
from keras_distill._keras.numbers import having
from keras_distill._keras.sample_weights import mask_of, per_position
from keras_distill._objective._whole_batches import require_whole_batch

Tensor = Any


class Tapped(NamedTuple):
    """Inputs of a student whose features are wanted as well."""

    inputs: Any


class WithFeatures(NamedTuple):
    """Outputs of a student, and what its layers gave on the way."""

    outputs: Any
    features: list


class FeatureLoss(NamedTuple):
    """What a feature gave, and its weight."""

    value: Tensor
    weight: Any


def untapped(x: Any) -> tuple[Any, bool]:
    """Inputs, and whether features are wanted."""
    return (x.inputs, True) if isinstance(x, Tapped) else (x, False)


def without_features(y_pred: Any) -> tuple[Any, list | None]:
    """A student's outputs, and its features, None if there are none."""
    return y_pred if isinstance(y_pred, WithFeatures) else (y_pred, None)


def feature_loss(
    feature: _features.Feature,
    numbers: dict[str, Any],
    teacher: Tensor,
    student: Tensor,
    sample_weight: Any,
) -> FeatureLoss:
    """The loss of a feature, in a step.

    Args:
        feature: The feature.
        numbers: Its own, as the step reads them.
        teacher: What the teacher's layer gave.
        student: What the student's layer gave, projected.
        sample_weight: None, or weights in any structure.
    """
    weight = _weights(feature, student, sample_weight)
    require_whole_batch(feature.loss, student, weight)
    loss = having(feature.loss, numbers["loss"])
    return FeatureLoss(loss(teacher, student, weight), numbers["weight"])


def _weights(feature: _features.Feature, student: Tensor, given: Any) -> Any:
    """The weights of examples, in the shape of a feature's losses."""
    entries = keras.tree.flatten(given)
    weights = [weight for weight in entries if weight is not None]
    if weights and len(entries) > 1:
        raise ValueError(
            "A feature belongs to no output, and takes one weight for each "
            f"example. Received: sample weights for {len(entries)} outputs, "
            f"and a feature of student_layer={feature.student_layer!r}. Pass "
            "one sample_weight for all, or set the weight of the feature to 0."
        )
    if not getattr(feature.loss, "per_example", True):
        return weights[0] if weights else None
    of_each = getattr(feature.loss, "per_position", True)
    if not of_each and mask_of(student) is not None:
        raise ValueError(
            f"{type(feature.loss).__name__} compares the positions of an "
            "example, none of which is left out. Received: a mask, of "
            f"student_layer={feature.student_layer!r}. Take a loss of single "
            "positions, such as 'mse'."
        )
    if not weights:
        return None
    if not of_each:  # As if an example were one position.
        student = ops.reshape(student, (ops.shape(student)[0], -1))
    _require_fit(feature, weights[0].shape, student.shape)
    return per_position(weights[0], student)


def _require_fit(feature: _features.Feature, weights: Any, shape: Any) -> None:
    given = tuple(weights[1:-1] if weights[-1] == 1 else weights[1:])
    places = tuple(shape[1:-1])[: len(given)]
    if len(given) != len(places) or any(
        a != b and None not in (a, b)
        for a, b in zip(given, places, strict=True)
    ):
        raise ValueError(
            "Sample weights must go with the positions of a feature. Received: "
            f"weights of shape {tuple(weights)}, for student_layer="
            f"{feature.student_layer!r} and {type(feature.loss).__name__}, "
            f"which has losses of shape {tuple(shape[:-1])}. Pass one weight "
            "for each example, or set the weight of the feature to 0."
        )
