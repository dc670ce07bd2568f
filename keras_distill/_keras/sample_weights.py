"""Sample weights in the shape that Keras's losses multiply them in."""

import sys
from typing import Any

import keras
from keras import ops

Tensor = Any


def like_outputs(weights: list, y_pred: Any) -> Any:
    """The weights of each output, None for all or some, in their structure."""
    pairs = zip(weights, keras.tree.flatten(y_pred), strict=True)
    shaped = [per_position(weight, output) for weight, output in pairs]
    if all(weight is None for weight in shaped):
        return None
    return keras.tree.pack_sequence_as(y_pred, shaped)


def per_position(sample_weight: Any, output: Tensor) -> Any:
    """Weights of shape `output.shape[:-1]`, from weights per example or step.

    None stays None.

    The result is a copy, because Keras's losses on torch multiply masks into
    the weights that they are given.
    """
    if sample_weight is None:
        return None
    shape = ops.shape(output)[:-1]
    weight = ops.cast(sample_weight, "float32")
    if len(weight.shape) > len(shape):
        weight = ops.squeeze(weight, axis=-1)
    missing = (1,) * (len(shape) - len(weight.shape))
    weight = ops.reshape(weight, (*ops.shape(weight), *missing))
    return weight * ops.ones(shape)


def mask_of(output: Tensor) -> Any:
    """Which positions of an output count, None if all of them do."""
    return masking().get_keras_mask(output)


def masking() -> Any:
    """Keras's module of masks: an array of JAX has no place for its own."""
    return sys.modules["keras.src.backend.common.masking"]
