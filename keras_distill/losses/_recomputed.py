"""Losses of logits, of which there may be a great many."""

from typing import Any

import keras

from keras_distill import _kinds
from keras_distill._attached import TopKLogits
from keras_distill._keras import memory

Tensor = Any


class RecomputedLoss(keras.losses.Loss):
    """A loss between classes that need not keep what it made of large logits.

    Those of a vocabulary are large, those of labels and features hardly; and
    what compares examples with each other needs them all at once.

    One with `takes_top_k = True` gets `TopKLogits` where a teacher has them;
    the others get all logits.
    """

    takes_top_k = False

    @property
    def by_rows(self) -> bool:
        """Whether each row's value is known not to depend on other rows."""
        return is_ours(type(self).call)

    def __call__(
        self, targets: Any, outputs: Tensor, sample_weight: Any = None
    ) -> Tensor:
        if isinstance(targets, TopKLogits):
            return _of_top_k(self, targets, outputs, sample_weight)
        of_each = getattr(self, "per_example", True)
        if not of_each or _kinds.compares(self) != _kinds.CLASSES:
            return super().__call__(targets, outputs, sample_weight)

        def call(outputs: Tensor, targets: Any) -> Tensor:
            return self.call(memory.in_dtype_of(self, targets), outputs)

        return memory.called(self, call, [targets], outputs, sample_weight)


def is_ours(function: Any) -> bool:
    """Not what somebody wrote who did not know that rows may come apart."""
    module = getattr(function, "__module__", None) or ""
    return module.split(".")[0] == __name__.split(".")[0]


def _of_top_k(
    loss: Any, top_k: TopKLogits, outputs: Tensor, sample_weight: Any
) -> Tensor:
    def call(outputs: Tensor, *targets: Any) -> Tensor:
        found = keras.tree.pack_sequence_as(top_k, targets)
        # Not the numbers of classes, for which a dtype may be too narrow.
        logits = memory.in_dtype_of(loss, found.logits)
        return loss.call(found._replace(logits=logits), outputs)

    targets = keras.tree.flatten(top_k)
    return memory.called(loss, call, targets, outputs, sample_weight)
