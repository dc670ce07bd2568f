"""Losses that compare the examples of a batch with each other."""

from typing import Any

import keras

from keras_distill._objective import require_whole_batch

Tensor = Any


class LossOfBatches(keras.losses.Loss):
    """A loss of a whole batch: one number, and no example weighs more.

    On JAX devices that share a batch, the batch is all of it.
    """

    per_example = False

    def __call__(
        self, targets: Any, student_logits: Tensor, sample_weight: Any = None
    ) -> Tensor:
        require_whole_batch(self, student_logits, sample_weight)
        return super().__call__(targets, student_logits)
