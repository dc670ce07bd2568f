"""What a distillation loss compares: classes, labels, or plain values."""

from typing import Any

CLASSES = "classes"  # They exclude each other: a softmax of logits.
LABELS = "labels"  # They do not: a sigmoid of each logit.
VALUES = "values"  # Outputs as they are.


def compares(loss: Any) -> str:
    """What a loss says in its attribute `compares`; else plain values."""
    return getattr(loss, "compares", VALUES)
