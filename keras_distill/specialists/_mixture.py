"""What a specialist's examples are mixed of, and which targets they get."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill._keras.frozen import FrozenModel
from keras_distill._numpy import softmax


class Mixture(NamedTuple):
    """What is mixed, and how.

    Attributes:
        classes: The special classes.
        targets: `Labels` or `SoftTargets`.
        portion: The share of special examples.
        batch_size: Examples per batch.
        seed: Seeds the order.
    """

    classes: list[int]
    targets: Any
    portion: float
    batch_size: int
    seed: int

    def steps(self, special: int, others: int) -> int:
        """Batches of an epoch; refuses data without either part."""
        if not special or not others:
            raise ValueError(
                "A specialist needs examples of its classes and of others. "
                f"Received: {special} examples of the classes {self.classes} "
                f"and {others} of others."
            )
        return max(1, math.ceil(special / self.portion / self.batch_size))


class Labels:
    """Places of the labels in `classes`; its length for all others."""

    dtype, width = "int64", None

    def __init__(self, classes: list[int]) -> None:
        self._order = np.argsort(classes)
        self._sorted = np.array(classes)[self._order]

    def __call__(self, x: Any, labels: np.ndarray) -> np.ndarray:
        count = len(self._sorted)
        place = np.minimum(np.searchsorted(self._sorted, labels), count - 1)
        known = self._sorted[place] == labels
        return np.where(known, self._order[place], count)


class SoftTargets:
    """Labels of special examples, the generalist's word on the others."""

    dtype = "float32"

    def __init__(self, generalist: keras.Model, classes: list[int]) -> None:
        self.width = generalist.outputs[0].shape[-1]
        self._classes = classes
        self._forward = FrozenModel(generalist).compiled()

    def __call__(self, x: Any, labels: np.ndarray) -> np.ndarray:
        x = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
        logits = keras.ops.convert_to_numpy(self._forward(x)).astype("float32")
        logits[:, self._classes] = -np.inf
        p = softmax(logits)
        known = np.isin(labels, self._classes)
        p[known] = np.eye(self.width, dtype=p.dtype)[labels[known]]
        return p
