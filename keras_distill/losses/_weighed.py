"""Losses in which examples weigh as their teacher answers."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_distill import _schedules
from keras_distill._label_masks import agree
from keras_distill.losses._labelled import LabelledLoss
from keras_distill.losses._recomputed import is_ours
from keras_distill.losses._tempered import TemperedLoss

Tensor = Any
ExampleWeight = Callable[..., Tensor]


def weighed(
    losses: Tensor,
    teacher_logits: Tensor,
    temperature: Any,
    example_weight: ExampleWeight | None,
) -> Tensor:
    """Losses of shape `(...)`, each times the weight of its example."""
    if example_weight is None:
        return losses
    found = example_weight(teacher_logits, temperature)
    if found is None:
        raise ValueError(
            "`example_weight` must give one number for each distribution. "
            f"Received: None from {example_weight!r}. Return the weights."
        )
    weight = ops.convert_to_tensor(found)
    if not agree(tuple(weight.shape), tuple(losses.shape)):
        raise ValueError(
            "`example_weight` must give one number for each distribution. "
            f"Received: {example_weight!r}, which makes teacher logits of "
            f"shape {tuple(teacher_logits.shape)} into weights of shape "
            f"{tuple(weight.shape)}, where {tuple(losses.shape)} is needed. "
            "Reduce the last axis, the classes."
        )
    return ops.stop_gradient(ops.cast(weight, losses.dtype)) * losses


class WeighedLoss(LabelledLoss, TemperedLoss):
    """A tempered loss with an `example_weight`, None if all weigh the same.

    A subclass has as `_losses` the function of the losses of each example.
    """

    _losses: Callable[..., Tensor]

    def __init__(
        self,
        temperature: float,
        example_weight: ExampleWeight | None,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(temperature, reduction, name, dtype)
        self._example_weight = _checked(example_weight)
        self.uses_labels = _takes_labels(example_weight)
        # A weight is a function of all logits.
        self.takes_top_k = example_weight is None

    @property
    def by_rows(self) -> bool:
        weight = self._example_weight
        return super().by_rows and (weight is None or is_ours(weight))

    @property
    def example_weight(self) -> ExampleWeight | None:
        """What weighs the examples; a compiled step could not change it."""
        return self._example_weight

    def call(self, targets: Any, student_logits: Tensor) -> Tensor:
        weight = self._example_weight
        if weight is not None and self.uses_labels:
            targets, labels = targets
            weight = functools.partial(weight, labels=labels)
        return self._losses(targets, student_logits, self.temperature, weight)

    def get_config(self) -> dict:
        weight = _schedules.written(self._example_weight)
        return {**super().get_config(), "example_weight": weight}

    @classmethod
    def from_config(cls, config: dict) -> Any:
        names = ("example_weight", *cls.numbers)
        return cls(**_schedules.read(config, names))


def _checked(example_weight: Any) -> ExampleWeight | None:
    is_type = isinstance(example_weight, type)
    if example_weight is None or (callable(example_weight) and not is_type):
        return example_weight
    raise TypeError(
        "`example_weight` must be a function of (teacher_logits, temperature), "
        "or None where all examples weigh the same. Received: example_weight="
        f"{example_weight!r} of type {type(example_weight).__name__}. Pass one "
        "of kd.example_weights, for example kd.example_weights.entropy."
    )


def _takes_labels(example_weight: ExampleWeight | None) -> bool:
    if example_weight is None:
        return False
    given = getattr(example_weight, "keywords", {})  # Of a partial.
    parameters = inspect.signature(example_weight).parameters
    return "labels" in parameters and "labels" not in given
