"""Losses of logits, of which there may be a great many."""

from typing import Any

import keras

from keras_distill import _kinds
from keras_distill._keras import memory

Tensor = Any


class RecomputedLoss(keras.losses.Loss):
    """A loss between classes that need not keep what it made of large logits.

    Those of a vocabulary are large, those of labels and features hardly; and
    what compares examples with each other needs them all at once.
    """

    def __call__(
        self, targets: Any, outputs: Tensor, sample_weight: Any = None
    ) -> Tensor:
        of_each = getattr(self, "per_example", True)
        if of_each and _kinds.compares(self) == _kinds.CLASSES:
            return memory.called(self, targets, outputs, sample_weight)
        return super().__call__(targets, outputs, sample_weight)
