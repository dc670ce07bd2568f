"""Labels that stand for none, and losses that say which they are."""

import inspect
from collections.abc import Sequence
from typing import Any

from keras import losses

from keras_distill import _kinds
from keras_distill._compiled import marked_by
from keras_distill._objective import _outputs


def ignore_class_of(
    loss: Any, outputs: Sequence[_outputs.Output]
) -> list[int | None]:
    """The label that the compiled loss of each output ignores, or None.

    Args:
        loss: What `compile` got as loss, in any structure.
        outputs: The student's outputs.
    """
    of_each = _outputs.of_each("loss", loss, outputs, sorted_keys=True)
    return [ignore_class(each) for each in of_each]


def labels_of_each(
    labels: Any, loss: Any, outputs: Sequence[_outputs.Output]
) -> list[tuple[Any, int | None]]:
    """The labels of each output, and the one among them that is none."""
    found = _outputs.of_each("labels", labels, outputs, sorted_keys=True)
    return list(zip(found, ignore_class_of(loss, outputs), strict=True))


def ignore_class(loss: Any) -> int | None:
    """The label that a loss ignores: its attribute, or a default argument."""
    return _parameter(loss)[1]


def are_class_numbers(loss: Any, distillation_loss: Any) -> bool:
    """Whether labels are class numbers, unless they are one-hot.

    Args:
        loss: The compiled loss of an output, or None.
        distillation_loss: The distillation loss of the output, or None.
    """
    of_classes = _kinds.compares(distillation_loss) == _kinds.CLASSES
    if loss is None:
        return of_classes and getattr(distillation_loss, "uses_labels", False)
    return of_classes or _parameter(loss)[0]


def _parameter(loss: Any) -> tuple[bool, int | None]:
    """Whether there is an `ignore_class`, and its value."""
    loss = marked_by(loss)
    if loss is None:
        return False, None
    if isinstance(loss, str):
        loss = losses.get(loss)
    if isinstance(loss, losses.Loss):
        found = getattr(loss, "ignore_class", loss)
        return (False, None) if found is loss else (True, found)
    parameters = inspect.signature(loss).parameters
    if "ignore_class" not in parameters:
        return False, None
    default = parameters["ignore_class"].default
    return True, None if default is inspect.Parameter.empty else default
