"""Losses of logits, of which there may be a great many."""

from typing import Any

import keras

from keras_distill import _kinds
from keras_distill._attached import TopKLogits
from keras_distill._keras import memory
from keras_distill._keras.numbers import having

Tensor = Any


class RecomputedLoss(keras.losses.Loss):
    """A loss between classes that need not keep what it made of large logits.

    Those of a vocabulary are large, those of labels and features hardly; and
    what compares examples with each other needs them all at once. Of a
    teacher's largest logits there is little to keep.

    One with `takes_top_k = True` gets `TopKLogits` where a teacher has them;
    the others get all logits.
    """

    takes_top_k = False

    def __call__(
        self, targets: Any, outputs: Tensor, sample_weight: Any = None
    ) -> Tensor:
        if isinstance(targets, TopKLogits):
            return _of_top_k(self, targets, outputs, sample_weight)
        of_each = getattr(self, "per_example", True)
        if of_each and _kinds.compares(self) == _kinds.CLASSES:
            return memory.called(self, targets, outputs, sample_weight)
        return super().__call__(targets, outputs, sample_weight)


def _of_top_k(
    loss: Any, top_k: TopKLogits, outputs: Tensor, sample_weight: Any
) -> Tensor:
    # Keras casts all targets to the dtype of the loss, which may be too narrow
    # for the number of a class.
    def call(logits: Tensor, outputs: Tensor) -> Tensor:
        return loss.call(top_k._replace(logits=logits), outputs)

    bound = having(loss, {"call": call})
    return keras.losses.Loss.__call__(
        bound, top_k.logits, outputs, sample_weight
    )
