"""A model's logits for a whole dataset, in memory, with labels and weights."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill import _checksums, _validation
from keras_distill._keras.frozen import FrozenModel


class Predictions(NamedTuple):
    """Rows of logits, float64, and what the dataset says of each."""

    logits: np.ndarray
    labels: np.ndarray | None
    weight: np.ndarray


def predictions(
    model: keras.Model, dataset: Any, batch_size: int
) -> Predictions:
    """Runs a model in inference mode; every position is a row."""
    forward = FrozenModel(model).compiled()
    parts = []
    for x, y, weight in batches(dataset, batch_size):
        (logits,) = keras.tree.flatten(_checksums.arrays(forward(x)))
        parts.append(as_rows(logits, y, weight))
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
    check(found)
    return found


def batches(dataset: Any, batch_size: int) -> Iterator[tuple]:
    for batch in _raw_batches(dataset, batch_size):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        x = _checksums.arrays(x)
        yield x, _array(y), _array(weight)


def _raw_batches(dataset: Any, batch_size: int) -> Iterator[Any]:
    if isinstance(dataset, keras.utils.PyDataset):
        yield from (dataset[i] for i in range(dataset.num_batches))
        return
    arrays = dataset if isinstance(dataset, tuple) else (dataset,)
    _validation.not_empty("dataset", arrays[0])
    leaves = keras.tree.flatten(arrays[0])
    if not all(getattr(leaf, "shape", ()) for leaf in leaves):
        yield from dataset
        return
    arrays = keras.utils.unpack_x_y_sample_weight(arrays)
    counts = [len(a) for a in keras.tree.flatten(arrays) if a is not None]
    if len(set(counts)) > 1:
        raise ValueError(
            "All arrays of `dataset` must have as many rows, one label and "
            f"one weight per example. Received: arrays of {counts} rows."
        )
    for start in range(0, counts[0], batch_size):
        rows = slice(start, start + batch_size)
        yield keras.tree.map_structure(
            lambda a, r=rows: None if a is None else a[r], arrays
        )


def _array(value: Any) -> np.ndarray | None:
    return None if value is None else np.asarray(_checksums.arrays(value))


def as_rows(
    logits: np.ndarray, labels: np.ndarray | None, weight: np.ndarray | None
) -> tuple:
    shape = logits.shape[:-1]
    if labels is not None:
        labels = _class_numbers(labels, logits)
    rows = logits.reshape(-1, logits.shape[-1]).astype("float64")
    return rows, labels, _per_row(weight, shape)


def _class_numbers(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    if labels.shape == logits.shape:
        labels = labels.argmax(axis=-1)
    numbers = labels.reshape(-1).astype(int)
    if labels.size != np.prod(logits.shape[:-1]):
        raise ValueError(
            "`dataset` must have one label per example. Received: "
            f"labels of shape {labels.shape} for logits of shape "
            f"{logits.shape}."
        )
    if not np.array_equal(numbers, labels.reshape(-1)):
        raise ValueError(
            "Labels must be whole class numbers, or one-hot in the shape of "
            f"the logits. Received: labels of shape {labels.shape} and dtype "
            f"{labels.dtype}."
        )
    return numbers


def _per_row(weight: np.ndarray | None, shape: tuple) -> np.ndarray:
    """One weight per position, from one per position or per example."""
    weight = np.ones(shape) if weight is None else weight
    if weight.ndim == len(shape) + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    if weight.ndim == 0 or weight.shape != shape[: weight.ndim]:
        raise ValueError(
            "There must be one sample weight per example. Received: weights "
            f"of shape {weight.shape} for predictions of shape {shape}."
        )
    weight = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    return np.broadcast_to(weight, shape).reshape(-1).astype("float64")


def check(found: Predictions) -> None:
    classes = found.logits.shape[-1]
    if not np.all(np.isfinite(found.logits)):
        raise ValueError(
            "The model's logits must be finite. Received: "
            f"{np.sum(~np.isfinite(found.logits))} values that are not. Check "
            "the model's weights and the inputs for NaN."
        )
    sums = found.logits.sum(axis=-1)
    if found.logits.min() >= 0 and np.allclose(sums, 1.0, atol=1e-3):
        raise ValueError(
            "The model outputs probabilities where logits are expected. "
            "Received: non-negative outputs that sum to 1 in each example. "
            "Pass kd.as_logits(model)."
        )
    valid = np.isfinite(found.weight) & (found.weight >= 0)
    if not (valid.all() and found.weight.sum() > 0):
        raise ValueError(
            "Sample weights must be finite, at least 0, and one above it. "
            "Received: "
            f"weights from {found.weight.min()} to {found.weight.max()}."
        )
    if found.labels is None:
        return
    low, high = found.labels.min(), found.labels.max()
    if low < 0 or high >= classes:
        raise ValueError(
            f"Labels must be class numbers from 0 to {classes - 1}. Received: "
            f"labels from {low} to {high}."
        )
