"""Losses that may use labels."""

from typing import Any

from keras_distill._objective import with_labels
from keras_distill.losses._recomputed import RecomputedLoss

Tensor = Any


class LabelledLoss(RecomputedLoss):
    """A loss that is called with a pair where it `uses_labels`."""

    uses_labels = False

    def __call__(
        self, targets: Any, student_logits: Tensor, sample_weight: Any = None
    ) -> Tensor:
        if not self.uses_labels:
            return super().__call__(targets, student_logits, sample_weight)
        if not isinstance(targets, tuple | list) or len(targets) != 2:
            raise TypeError(
                f"{type(self).__name__} uses labels: it is called with a pair "
                f"(teacher_logits, labels) first. Received: "
                f"{type(targets).__name__}. Pass loss((teacher_logits, labels)"
                ", student_logits)."
            )
        teacher_logits, labels = targets
        loss = with_labels(self, labels)
        return loss(teacher_logits, student_logits, sample_weight)
