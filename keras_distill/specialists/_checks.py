"""What several functions check of a generalist, a set of classes, a share."""

from typing import Any

import numpy as np

from keras_distill import _validation
from keras_distill._keras import graph
from keras_distill._keras.copies import require_graph


def check_generalist(generalist: Any) -> None:
    """Refuses what is no graph of layers that ends in logits."""
    _validation.is_model("generalist", generalist)
    _validation.one_output("generalist", generalist)
    graph.require_logits("generalist", generalist)
    require_graph("generalist", generalist)


def class_set(name: str, classes: Any, num_classes: int | None) -> list[int]:
    """The classes as plain ints; refuses what is no set of some classes."""
    values = list(classes) if np.ndim(classes) == 1 else []
    whole = all(_validation.is_whole(v) and v >= 0 for v in values)
    too_large = (
        num_classes is not None and max(values, default=0) >= num_classes
    )
    if not values or not whole or too_large:
        numbers = "" if num_classes is None else f" below {num_classes}"
        raise ValueError(
            f"`{name}` must be a list of class numbers{numbers}. Received: "
            f"{name}={classes!r}."
        )
    if len(set(values)) < len(values) or len(values) == num_classes:
        raise ValueError(
            f"`{name}` must name each class once, and leave at least one for "
            f"the dustbin. Received: {name}={classes!r} of "
            f"{'unknown' if num_classes is None else num_classes} classes."
        )
    return [int(value) for value in values]


def share(name: str, value: Any) -> float:
    """Returns `value` as a float above 0 and below 1."""
    number = _validation.finite_number(
        name, value, "Pass a share above 0 and below 1."
    )
    if not 0 < number < 1:
        raise ValueError(
            f"`{name}` must be above 0 and below 1. Received: {name}={value!r}."
            " A specialist needs examples of its classes and of others."
        )
    return number
