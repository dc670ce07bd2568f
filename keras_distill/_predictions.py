"""A model's logits for a whole dataset, in memory, with labels and weights."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill import _checksums, _data, _data_checks, _kinds
from keras_distill._keras.frozen import FrozenModel


class Predictions(NamedTuple):
    """Rows of logits, float64, and what the dataset says of each."""

    logits: np.ndarray
    labels: np.ndarray | None
    weight: np.ndarray


def predictions(
    model: keras.Model,
    dataset: Any,
    batch_size: int,
    kind: str = _kinds.CLASSES,
) -> Predictions:
    """Runs a model in inference mode; every position is a row."""
    rows = as_rows_of_labels if kind == _kinds.LABELS else as_rows
    parts = [rows(*part) for part in outputs(model, dataset, batch_size)]
    if not parts:
        raise ValueError(
            "`dataset` must hold at least one batch. Received: no batch. A "
            "generator can be read only once; pass a new one."
        )
    logits, labels, weight = zip(*parts, strict=True)
    has_labels = labels[0] is not None
    found = Predictions(
        np.concatenate(logits),
        np.concatenate(labels) if has_labels else None,
        np.concatenate(weight),
    )
    _data_checks.finite_logits("model", found.logits)
    if not found.weight.any():
        raise ValueError(
            "At least one sample weight must be above 0. Received: "
            f"{len(found.weight)} weights of 0. Leave them out to count all "
            "examples alike."
        )
    return found


def outputs(
    model: keras.Model, dataset: Any, batch_size: int
) -> Iterator[tuple]:
    """Logits, labels and weights of each batch, as they are."""
    forward = FrozenModel(model).compiled()
    for x, y, weight in _data.batches(dataset, batch_size):
        (logits,) = keras.tree.flatten(_checksums.arrays(forward(x)))
        if len(logits):
            yield logits, y, weight


def as_rows(
    logits: np.ndarray, labels: np.ndarray | None, weight: np.ndarray | None
) -> Predictions:
    """One row, label and weight for each position."""
    *positions, classes = logits.shape
    shape = tuple(positions)
    if labels is not None:
        labels = _data.class_numbers(labels, classes, shape)
    rows = logits.reshape(-1, classes).astype("float64")
    return Predictions(rows, labels, _data.weights(weight, shape))


def as_rows_of_labels(
    logits: np.ndarray, labels: np.ndarray | None, weight: np.ndarray | None
) -> Predictions:
    """One row and weight for each position, and as many labels as logits."""
    *positions, units = logits.shape
    if labels is not None:
        labels = _data.off_or_on(labels, logits.shape).reshape(-1, units)
    rows = logits.reshape(-1, units).astype("float64")
    return Predictions(rows, labels, _data.weights(weight, tuple(positions)))
