"""The one reader of datasets, and what it takes labels and weights for."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _data_checks


def is_tf_dataset(value: Any) -> bool:
    return _is(value, "tensorflow.python.", "DatasetV2")


def is_grain_dataset(value: Any) -> bool:
    return _is(value, "grain.", "MapDataset")


def _is(value: Any, module: str, name: str) -> bool:
    """Tells the class of a value without importing where it comes from."""
    return any(
        parent.__name__ == name and parent.__module__.startswith(module)
        for parent in type(value).__mro__
    )


def batches(dataset: Any, batch_size: int) -> Iterator[tuple]:
    """Inputs, labels and weights, as NumPy arrays; None for what is not there.

    Args:
        dataset: An array or a structure of them, `(x, y)`, `(x, y,
            sample_weight)`, or an iterable or `PyDataset` of batches of them.
        batch_size: Examples per batch, for arrays.
    """
    for batch in _raw_batches(dataset, batch_size):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        yield _checksums.arrays(x), _array(y), _array(weight)


def _raw_batches(dataset: Any, batch_size: int) -> Iterator[Any]:
    if isinstance(dataset, keras.utils.PyDataset):
        yield from (dataset[i] for i in range(dataset.num_batches))
        return
    arrays = dataset if isinstance(dataset, tuple) else (dataset,)
    _data_checks.not_empty("dataset", arrays[0])
    leaves = keras.tree.flatten(arrays[0])
    if not all(getattr(leaf, "shape", ()) for leaf in leaves):
        yield from dataset
        return
    x, y, weight = keras.utils.unpack_x_y_sample_weight(arrays)
    arrays = x, _array(y), _array(weight)  # Labels may be a list of numbers.
    for start in range(0, same_rows(arrays), batch_size):
        yield take(arrays, slice(start, start + batch_size))


def _array(value: Any) -> np.ndarray | None:
    return None if value is None else np.asarray(_checksums.arrays(value))


def take(arrays: Any, rows: Any) -> Any:
    """The same structure, of some rows."""
    return keras.tree.map_structure(
        lambda a: None if a is None else a[rows], arrays
    )


def same_rows(arrays: Any) -> int:
    """How many rows all arrays have; refuses different numbers."""
    counts = [len(a) for a in keras.tree.flatten(arrays) if a is not None]
    if len(set(counts)) > 1:
        raise ValueError(
            "All arrays of `dataset` must have as many rows, one label and "
            f"one weight per example. Received: arrays of {counts} rows."
        )
    return counts[0]


def class_numbers(
    labels: Any, classes: int | None = None, positions: tuple | None = None
) -> np.ndarray:
    """Labels as whole numbers from 0, one for each position; refuses others.

    Args:
        labels: Class numbers, of any numeric dtype, or in a last axis one-hot
            or a distribution, of which the largest share counts.
        classes: How many there are, None where that is not known: two axes are
            then one-hot.
        positions: The shape of what has a label each, as many as the labels'
            first axis by default.
    """
    labels = np.asarray(_checksums.arrays(labels))
    positions = labels.shape[:1] if positions is None else positions
    unknown = classes is None and labels.ndim == 2
    width = labels.shape[-1] if unknown else classes
    numbers = labels
    numeric = labels.dtype.kind in "biuf"
    if numeric and width != 1 and labels.shape == (*positions, width):
        numbers = _of_one_hot(labels)
    numbers, count = numbers.reshape(-1), math.prod(positions)
    if len(numbers) != count or not _whole(numbers):
        raise ValueError(
            "Labels must be class numbers or one-hot, one label per example. "
            f"Received: labels of shape {labels.shape} and dtype "
            f"{labels.dtype} for {count} examples. Pass a whole number for "
            "each."
        )
    _require_range(numbers, classes)
    return numbers.astype(int)


def off_or_on(labels: np.ndarray, shape: tuple) -> np.ndarray:
    """Labels of units that do not exclude each other, 0 or 1; refuses others.

    Args:
        labels: Numbers or booleans, one for each unit.
        shape: The shape of the logits; without its last axis if that is 1.
    """
    fits = labels.size == math.prod(shape) and labels.shape[:1] == shape[:1]
    fits = fits and (shape[-1] == 1 or labels.shape == shape)
    if not fits or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            "Labels that do not exclude each other must be 0 or 1, one for "
            f"each output unit. Received: labels of shape {labels.shape} and "
            f"dtype {labels.dtype} for outputs of shape {shape}."
        )
    return labels.reshape(shape).astype(int)


def _of_one_hot(labels: np.ndarray) -> np.ndarray:
    """The class of each row, or of the most of it."""
    rows = labels.astype("float64")
    sums = rows.sum(axis=-1)
    if not np.all(rows >= 0) or not np.allclose(sums, 1, atol=0.01):
        raise ValueError(
            "Labels with an axis of classes must be one-hot, or distributions. "
            f"Received: labels of shape {labels.shape} with rows whose sum is "
            "not 1. Pass class numbers; for several labels per example there "
            "is no one class."
        )
    return labels.argmax(axis=-1)


def _whole(numbers: np.ndarray) -> bool:
    if numbers.dtype.kind != "f":
        return numbers.dtype.kind in "biu"
    return bool(np.all(np.isfinite(numbers) & (numbers == np.floor(numbers))))


def _require_range(numbers: np.ndarray, classes: int | None) -> None:
    if not len(numbers):
        return
    low, high = numbers.min(), numbers.max()
    if low < 0 or (classes is not None and high >= classes):
        top = "" if classes is None else f" to {classes - 1}"
        raise ValueError(
            f"Labels must be class numbers from 0{top}. Received: labels from "
            f"{low} to {high}. Number the classes from 0."
        )


def weights(weight: np.ndarray | None, positions: tuple) -> np.ndarray:
    """One weight for each position, from one for each of them or example."""
    weight = np.ones(positions) if weight is None else weight
    if weight.ndim == len(positions) + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    if weight.ndim == 0 or weight.shape != positions[: weight.ndim]:
        raise ValueError(
            "There must be one sample weight per example. Received: weights "
            f"of shape {weight.shape} for predictions of shape {positions}."
        )
    if not np.all((weight >= 0) & np.isfinite(weight)):
        raise ValueError(
            "Sample weights must be finite and at least 0. Received: weights "
            f"from {weight.min()} to {weight.max()}. Pass 0 to leave an "
            "example out."
        )
    missing = (1,) * (len(positions) - weight.ndim)
    weight = weight.reshape(weight.shape + missing)
    return np.broadcast_to(weight, positions).reshape(-1).astype("float64")
