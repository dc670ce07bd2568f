"""A generalist's probabilities, batch by batch, from whatever holds them."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _data, _data_checks, _validation
from keras_distill._keras import graph
from keras_distill._numpy import softmax
from keras_distill._predictions import as_rows, outputs
from keras_distill.specialists._covariance import Rows

# Float16 probabilities of many classes sum to 1 no better than this.
_TOLERANCE = 0.02


def probabilities(predictions: Any, batch_size: int) -> Iterator[Rows]:
    """Yields rows, float64, and their weights, after a check of them."""
    classes = None
    for rows, weight in _read(predictions, batch_size):
        if len(rows) == 0:
            continue
        classes = classes or rows.shape[1]
        if rows.shape[1] != classes:
            raise ValueError(
                "All batches must have as many classes. Received: batches of "
                f"{classes} and of {rows.shape[1]} classes. Pass predictions "
                "of one generalist."
            )
        _require_probabilities(rows)
        yield rows, weight


def _read(predictions: Any, batch_size: int) -> Iterator[Rows]:
    model, data = _source(predictions)
    if model is None:
        for p, _, weight in _data.batches(data, batch_size):
            rows, _, weight = as_rows(_array(p), None, weight)
            yield rows, weight
        return
    for logits, _, weight in outputs(model, data, batch_size):
        rows, _, weight = as_rows(logits, None, weight)
        _data_checks.finite_logits("generalist", rows)
        yield softmax(rows), weight


def _source(predictions: Any) -> tuple[Any, Any]:
    """A model, or None, and what to read."""
    parts = predictions if isinstance(predictions, tuple) else (predictions,)
    if any(isinstance(part, keras.Model) for part in parts):
        if len(parts) != 2 or not isinstance(parts[0], keras.Model):
            raise TypeError(
                "A model must come as a pair (generalist, dataset). Received: "
                f"{[type(part).__name__ for part in parts]}. Pass for example "
                "(generalist, x) or (generalist, (x, y))."
            )
        _check_model(parts[0])
        return parts[0], parts[1]
    if hasattr(predictions, "shape"):
        return None, _array(predictions)
    if isinstance(predictions, keras.utils.PyDataset):
        return None, predictions
    return None, _checked(predictions)


def _checked(predictions: Any) -> Iterator[Any]:
    """The same batches; refuses other kinds of values."""
    if isinstance(predictions, str | dict) or not hasattr(
        predictions, "__iter__"
    ):
        raise _wrong_kind(predictions)
    for batch in predictions:
        leaves = keras.tree.flatten(batch)
        if not all(x is None or hasattr(x, "shape") for x in leaves):
            raise _wrong_kind(batch)
        yield batch


def _wrong_kind(value: Any) -> TypeError:
    return TypeError(
        "`predictions` must be an array of shape (examples, classes), an "
        "iterable of such arrays, or a pair (generalist, dataset). Received: "
        f"one of, or in, type {type(value).__name__}. Convert lists of numbers "
        "with np.asarray."
    )


def _array(x: Any) -> np.ndarray:
    array = np.asarray(_checksums.arrays(x))
    if array.ndim < 2:
        raise ValueError(
            "Predictions must have the shape (examples, classes). Received: an "
            f"array of shape {array.shape}. Pass the probabilities of all "
            "classes, not labels."
        )
    return array


def _require_probabilities(rows: np.ndarray) -> None:
    if not np.all(np.isfinite(rows)):
        raise ValueError(
            "Predictions must be finite. Received: "
            f"{np.sum(~np.isfinite(rows))} values that are not. Check the "
            "generalist's weights and its inputs for NaN."
        )
    sums = rows.sum(axis=1)
    if rows.min() < 0 or np.abs(sums - 1).max() > _TOLERANCE:
        raise ValueError(
            "Predictions must be probabilities, whose sum over the classes is "
            f"1. Received: values from {rows.min():.3g} to {rows.max():.3g} "
            f"with sums from {sums.min():.3g} to {sums.max():.3g}. Pass "
            "keras.ops.softmax(logits), or the pair (generalist, dataset)."
        )


def _check_model(model: keras.Model) -> None:
    _validation.is_model("generalist", model)
    _validation.one_output("generalist", model)
    graph.require_logits("generalist", model)
