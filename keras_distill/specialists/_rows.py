"""A specialist's data, of arrays: read row by row, in an order of their own."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _data
from keras_distill.specialists._mixture import Mixture


@dataclass(frozen=True)
class Examples:
    """Arrays whose labels have been read, which is done once.

    Attributes:
        x: Inputs, an array or a structure of them.
        labels: Class numbers, shape `(n,)`.
        weight: A weight for each example, or None.
    """

    x: Any
    labels: np.ndarray
    weight: Any


def read(arrays: tuple, num_classes: int | None) -> Examples:
    """Reads the labels; refuses other labels, and arrays that do not fit."""
    x, labels, weight = keras.utils.unpack_x_y_sample_weight(arrays)
    labels = _data.class_numbers(labels, num_classes)
    if weight is not None:
        weight = np.asarray(_checksums.arrays(weight))
        _data.same_rows((x, labels, weight))
        weight = _data.weights(weight, labels.shape)
    _data.same_rows((x, labels))
    return Examples(x, labels, weight)


class Rows(keras.utils.PyDataset):
    """Batches of rows, in an order that depends on `epoch`."""

    def __init__(self, examples: Examples, mixture: Mixture) -> None:
        super().__init__()
        self._examples, self._mixture = examples, mixture
        known = np.isin(examples.labels, mixture.classes)
        self._special = np.flatnonzero(known)
        self._others = np.flatnonzero(~known)
        self.counts = len(self._special), len(self._others)
        self.steps = mixture.steps(*self.counts)
        self.data, self.epoch, self._rows_of = self, 0, -1

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple:
        if self._rows_of != self.epoch:
            self._rows, self._rows_of = self._order(), self.epoch
        size = self._mixture.batch_size
        rows = self._rows[index * size : (index + 1) * size]
        x, weight = _data.take((self._examples.x, self._examples.weight), rows)
        batch = (x, self._mixture.targets(x, self._examples.labels[rows]))
        return batch if weight is None else (*batch, weight)

    def _order(self) -> np.ndarray:
        mixture = self._mixture
        generator = np.random.default_rng([mixture.seed, self.epoch])
        # Whole batches, so that compiled steps see one shape.
        total = self.steps * mixture.batch_size
        special = round(total * mixture.portion)
        special = min(max(special, 1), total - 1) if total > 1 else 1
        rows = np.concatenate(
            [
                _drawn(generator, self._special, special),
                _drawn(generator, self._others, total - special),
            ]
        )
        return generator.permutation(rows)

    def on_epoch_end(self) -> None:
        self.epoch += 1


def _drawn(
    generator: np.random.Generator, rows: np.ndarray, count: int
) -> np.ndarray:
    """Rows in random order, again from the start where there are too few."""
    return np.resize(generator.permutation(rows), count)
