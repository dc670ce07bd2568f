"""What a Distiller optimises: the terms, and the numbers in them."""

import dataclasses
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_distill import _validation
from keras_distill._keras import numbers
from keras_distill._keras.sample_weights import per_output

Tensor = Any


class Targets(NamedTuple):
    """What a training step compares the student with, and how."""

    labels: Any
    teacher_logits: Any
    numbers: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses of a Distiller and their weights, checked."""

    distillation_loss: keras.losses.Loss
    hard_loss_weight: float
    soft_loss_weight: float

    def replaced(self, **changes: Any) -> "Objective":
        return objective(**{**vars(self), **changes})

    @property
    def terms(self) -> tuple[bool, bool]:
        """Which terms are computed: a step is traced for these alone."""
        return self.hard_loss_weight != 0, self.soft_loss_weight != 0

    def numbers(self) -> dict[str, Any]:
        """What a step reads anew each time; a loss says what it has."""
        names = getattr(self.distillation_loss, "numbers", ())
        return {
            "hard": self.hard_loss_weight,
            "soft": self.soft_loss_weight,
            "loss": {n: getattr(self.distillation_loss, n) for n in names},
        }

    def soft_loss(
        self, targets: Targets, y_pred: Any, sample_weight: Any
    ) -> Tensor:
        """The distillation losses of all outputs, added."""
        _same_structure(targets.teacher_logits, y_pred)
        loss = numbers.having(self.distillation_loss, targets.numbers["loss"])
        outputs = [targets.teacher_logits, y_pred]
        weights = per_output(sample_weight, y_pred)
        if weights is not None:
            outputs.append(weights)
        losses = keras.tree.map_structure(loss, *outputs)
        return sum(keras.tree.flatten(losses))


def given_or_declared(loss: Any, hard: Any, soft: Any) -> tuple[Any, Any]:
    """Weights, where they are None those that the loss declares, or 1."""
    _validation.distillation_loss(loss)
    declared = getattr(loss, "default_weights", (1.0, 1.0))
    return (
        declared[0] if hard is None else hard,
        declared[1] if soft is None else soft,
    )


def objective(
    distillation_loss: Any, hard_loss_weight: Any, soft_loss_weight: Any
) -> Objective:
    """Checks losses and weights, alone and together."""
    _validation.distillation_loss(distillation_loss)
    hard = _validation.weight("hard_loss_weight", hard_loss_weight)
    soft = _validation.weight("soft_loss_weight", soft_loss_weight)
    if hard == soft == 0:
        raise ValueError(
            "`hard_loss_weight` and `soft_loss_weight` must not both be 0. "
            "Received: 0 and 0, which leaves nothing to train on. Set the one "
            "that is to be above 0 first."
        )
    return Objective(distillation_loss, hard, soft)


def weighted(weight: Any, loss: Tensor) -> Tensor:
    return ops.cast(weight, loss.dtype) * loss


def _same_structure(teacher_logits: Any, y_pred: Any) -> None:
    try:
        keras.tree.assert_same_structure(teacher_logits, y_pred)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`teacher` and `student` must have outputs of the same "
            f"structure. {error}"
        ) from error
