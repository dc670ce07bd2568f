"""Sample weights in the shape that Keras's losses multiply them in."""

from typing import Any

import keras
from keras import ops

Tensor = Any


def per_output(sample_weight: Any, outputs: Any) -> Any:
    """Weights in the structure of the outputs: of each, or the same for all.

    Args:
        sample_weight: None, one tensor, or one tensor per output.
        outputs: Logits of shape `(..., classes)`, or a structure of them.
    """
    if sample_weight is None:
        return None
    flat = keras.tree.flatten(outputs)
    weights = [sample_weight] * len(flat)
    if keras.tree.is_nested(sample_weight):
        weights = keras.tree.flatten(sample_weight)
    pairs = zip(weights, flat, strict=True)
    return keras.tree.pack_sequence_as(
        outputs, [per_position(weight, output) for weight, output in pairs]
    )


def per_position(sample_weight: Tensor, output: Tensor) -> Tensor:
    """Weights of shape `output.shape[:-1]`, from weights per example or step.

    The result is a copy, because Keras's losses on torch multiply masks into
    the weights that they are given.
    """
    shape = ops.shape(output)[:-1]
    weight = ops.cast(sample_weight, "float32")
    if len(weight.shape) > len(shape):
        weight = ops.squeeze(weight, axis=-1)
    missing = (1,) * (len(shape) - len(weight.shape))
    weight = ops.reshape(weight, (*ops.shape(weight), *missing))
    return weight * ops.ones(shape)
