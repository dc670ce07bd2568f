"""Shifts of labels that do not exclude each other, each found by itself.

A label is a problem of two classes that do, with the logits 0 and `z`, of which
the second is shifted. In a group the labels are examples of one such problem.
"""

import numpy as np

from keras_distill._predictions import Predictions
from keras_distill.bias import _solvers

# Logits, labels and weights, one row for each example.
_Data = tuple[np.ndarray, np.ndarray, np.ndarray]

_ON = [[1]]


def fitted(
    found: Predictions, groups: _solvers.Groups, objective: str
) -> np.ndarray:
    """The best shift of each group."""
    shifts = [_shift(_of_two_classes(found, g), g, objective) for g in groups]
    return np.array(shifts)


def _of_two_classes(found: Predictions, group: list[int]) -> _Data:
    """Logits, labels and weights, a row for each example and label."""
    z = found.logits[:, group].reshape(-1)
    logits = np.stack([np.zeros_like(z), z], axis=-1)
    labels = np.asarray(found.labels)[:, group].reshape(-1)
    return logits, labels, np.repeat(found.weight, len(group))


def _shift(data: _Data, group: list[int], objective: str) -> float:
    if objective == "accuracy":
        shifts, _ = _solvers.most_accurate(*data, _ON, np.zeros(1))
        return shifts[0]
    _, labels, weight = data
    [share] = _solvers.shares(labels, weight, _ON)
    if not 0 < share < 1:
        raise ValueError(
            "The likelihood has no maximum: each entry of `classes` must have "
            f"labels of 0 and of 1. Received: {share:.0%} of 1 for the labels "
            f"{group}. Pass data with both, leave the labels out, or use "
            "objective='accuracy'."
        )
    return _solvers.most_likely(*data, _ON)[0]
