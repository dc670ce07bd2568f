"""What a distillation loss compares: classes, labels, or plain values.

A model may say in the same words, in an attribute `kind`, what its logits are.
"""

from typing import Any

CLASSES = "classes"  # They exclude each other: a softmax of logits.
LABELS = "labels"  # They do not: a sigmoid of each logit.
LOGITS = "logits"  # Of classes or of labels, where it is not known of which.
VALUES = "values"  # Outputs as they are.

# A loss for each kind of logits.
LOSSES = {CLASSES: "kd.losses.SoftTargets", LABELS: "kd.losses.SigmoidTargets"}
# How a user says that labels do not exclude each other.
BY_LOSS = LOSSES[LABELS]
BY_KIND = "kind='labels'"


def compares(loss: Any) -> str:
    """What a loss says in its attribute `compares`; else plain values."""
    return getattr(loss, "compares", VALUES)


def one_of_both(name: str, kind: Any) -> None:
    """Refuses a `kind` that is neither that of classes nor that of labels."""
    if not isinstance(kind, str) or kind not in (CLASSES, LABELS):
        raise ValueError(
            f"`{name}` must be {CLASSES!r}, for classes that exclude each "
            f"other, or {LABELS!r}, for a sigmoid of each unit. Received: "
            f"{name}={kind!r}."
        )
