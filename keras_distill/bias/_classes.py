"""Which classes to shift, by how much, and how frequent they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_distill import _validation
from keras_distill._validation import is_whole
from keras_distill.bias._solvers import Groups

Classes = int | Sequence[int | Sequence[int]] | None


def groups_of(classes: Classes, num_classes: int) -> Groups:
    if classes is None:
        return [[number] for number in range(num_classes)]
    groups = _listed(classes)
    numbers = [number for group in groups for number in group]
    valid = all(is_whole(n) and 0 <= n < num_classes for n in numbers)
    if not groups or not all(groups) or not valid:
        raise ValueError(
            "`classes` must be None, or class numbers from 0 to "
            f"{num_classes - 1}, or groups of them. Received: classes="
            f"{classes!r}."
        )
    if len(set(numbers)) < len(numbers):
        raise ValueError(
            "`classes` must name each class once. Received: classes="
            f"{classes!r}."
        )
    return [[int(number) for number in group] for group in groups]


def _listed(classes: Any) -> list[list[Any]]:
    """A list for each entry; empty for what is no sequence."""
    if is_whole(classes):
        return [[classes]]
    try:
        return [[e] if is_whole(e) else list(e) for e in classes]
    except TypeError:
        return []


def require_others(groups: Groups, num_classes: int) -> None:
    if len(groups) == 1 and len(groups[0]) == num_classes:
        raise ValueError(
            "`classes` must leave a class out of the group: a shift of all "
            f"logits changes nothing. Received: one group of all {num_classes} "
            "classes."
        )


def amounts_of(amount: Any, groups: Groups) -> np.ndarray:
    fix = "Pass the number to add to the logits."
    if np.ndim(amount) == 0:
        number = np.asarray(amount).item()
        return np.full(
            len(groups), _validation.finite_number("amount", number, fix)
        )
    if len(amount) != len(groups) or np.ndim(amount) > 1:
        raise ValueError(
            "`amount` must be one number, or one for each entry of `classes`. "
            f"Received: amounts of shape {np.shape(amount)} for {len(groups)} "
            "entries."
        )
    return np.array(
        [
            _validation.finite_number("amount", np.asarray(a).item(), fix)
            for a in amount
        ]
    )


def frequencies_of(class_frequencies: Any) -> np.ndarray:
    frequencies = np.asarray(class_frequencies, "float64")
    positive = np.isfinite(frequencies) & (frequencies > 0)
    if frequencies.ndim != 1 or not len(frequencies) or not positive.all():
        raise ValueError(
            "`class_frequencies` must be positive finite numbers, one per "
            f"class. Received: class_frequencies={class_frequencies!r}. A "
            "class that never occurs would need a shift of minus infinity; "
            "give it a small frequency."
        )
    return frequencies / frequencies.sum()
