"""Losses that a gradient computes again, instead of keeping what they made.

On JAX the gradient of a loss keeps several float32 copies of its logits, which
for 32,000 classes are larger than the model. Computed again, piece by piece as
they are used, they are never all there. Small ones are kept, as a step of them
would be slower, and on the other backends a loss is left as it is: their
gradients are not compiled, or put together what is computed twice.
"""

import math
from typing import Any

import keras

from keras_distill._keras.sample_weights import mask_of, masking

Tensor = Any
_LARGE = 2**20  # Logits, of 4 MB in float32.


def called(
    loss: keras.losses.Loss,
    targets: Any,
    outputs: Tensor,
    sample_weight: Any = None,
) -> Tensor:
    """What Keras makes of the call of a loss."""
    if not _is_large(outputs):
        return _call(loss, targets, outputs, sample_weight)
    import jax

    def again(targets: Any, outputs: Tensor, weight: Any, mask: Any) -> Tensor:
        # The tensors in here are others, which have no mask.
        masking().set_keras_mask(outputs, mask)
        return _call(loss, targets, outputs, weight)

    mask = mask_of(outputs)
    return jax.checkpoint(again)(targets, outputs, sample_weight, mask)


def _call(loss: Any, targets: Any, outputs: Any, sample_weight: Any) -> Tensor:
    # Not what a loss makes of a call from outside, with labels for example.
    return keras.losses.Loss.__call__(loss, targets, outputs, sample_weight)


def _is_large(tensor: Any) -> bool:
    """Whether it is in a compiled step of JAX, and has many elements."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    traced = isinstance(tensor, jax.core.Tracer)
    return traced and math.prod(tensor.shape) >= _LARGE
