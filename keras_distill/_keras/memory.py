"""Losses that a gradient computes again, instead of keeping what they made.

On JAX the gradient of a loss keeps several float32 copies of its logits, which
for 32,000 classes are larger than the model. Computed again, for some rows at a
time, they are never all there. Small ones are kept, as a step of them would be
slower, and on the other backends a loss is left as it is: their gradients are
not compiled, or put together what is computed twice.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._keras import pieces
from keras_distill._keras.numbers import having
from keras_distill._keras.sample_weights import mask_of, masking

Tensor = Any
_LARGE = 2**22  # Logits, of 16 MB in float32.


def called(
    loss: keras.losses.Loss,
    call: Callable[..., Tensor],
    targets: Sequence[Any],
    outputs: Tensor,
    sample_weight: Any = None,
) -> Tensor:
    """What Keras makes of the call of a loss.

    Args:
        loss: The loss; `by_rows` if what it computes of some rows is what it
            computes of them among others.
        call: Computes its values of outputs, in the dtype of the loss, and
            targets as they are.
        targets: Arrays of as many rows.
        outputs: The student's, shape `(..., classes)`.
        sample_weight: As Keras's losses take it.
    """
    if not _is_large(outputs):
        given = outputs, outputs, sample_weight
        return _reduced(loss, lambda _, outputs: call(outputs, *targets), given)

    def cast(outputs: Tensor, *targets: Any) -> Tensor:
        return call(in_dtype_of(loss, outputs), *targets)

    arrays = [ops.convert_to_tensor(x) for x in (outputs, *targets)]
    by_rows = getattr(loss, "by_rows", False)
    found = pieces.rows(cast, arrays) if by_rows else pieces.whole(cast, arrays)
    mask = mask_of(outputs)
    if mask is not None:
        masking().set_keras_mask(found, mask)
    return _reduced(loss, lambda _, found: found, (found, found, sample_weight))


def in_dtype_of(loss: keras.losses.Loss, values: Any) -> Tensor:
    """As Keras gives values to a loss."""
    return ops.convert_to_tensor(values, dtype=loss.dtype)


def _reduced(loss: Any, call: Callable, given: tuple) -> Tensor:
    # Not what a loss makes of a call from outside, with labels for example.
    return keras.losses.Loss.__call__(having(loss, {"call": call}), *given)


def _is_large(tensor: Any) -> bool:
    """Whether it is in a compiled step of JAX, and has many elements."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    traced = isinstance(tensor, jax.core.Tracer)
    return traced and math.prod(tensor.shape) >= _LARGE
