"""A specialist's data, of a `tf.data.Dataset`: filtered and mixed anew."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill.specialists._mixture import Mixture


class Stream:
    """Two filtered streams of a dataset, mixed."""

    def __init__(self, dataset: Any, mixture: Mixture) -> None:
        import tensorflow as tf

        _check_finite(dataset)
        dataset = single(dataset)
        table = tf.constant(mixture.classes, tf.int64)
        size, portion, seed = mixture.batch_size, mixture.portion, mixture.seed

        def known(x: Any, y: Any, *rest: Any) -> Any:
            return tf.reduce_any(tf.cast(y, tf.int64) == table)

        def unknown(*example: Any) -> Any:
            return ~known(*example)

        self.counts = _counts(dataset.map(known))
        self.steps = mixture.steps(*self.counts)
        parts = [
            dataset.filter(test).shuffle(16 * size, seed=seed).repeat()
            for test in (known, unknown)
        ]
        weights = [portion, 1 - portion]
        mixed = tf.data.Dataset.sample_from_datasets(parts, weights, seed=seed)
        self.data = (
            mixed.batch(size, drop_remainder=True)
            .map(_mapped(mixture.targets))
            .prefetch(2)
        )


def _counts(known: Any) -> tuple[int, int]:
    """How many special examples and others there are, in one pass."""
    parts = known.batch(8192).as_numpy_iterator()
    counted = np.array([(np.sum(part), len(part)) for part in parts])
    special, total = counted.reshape(-1, 2).sum(axis=0).tolist()
    return special, total - special


def _check_finite(dataset: Any) -> None:
    if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise ValueError(
            "`dataset` must end. Received: a tf.data.Dataset that repeats for "
            "ever. Pass it without repeat()."
        )


def single(dataset: Any) -> Any:
    """One example per element, with labels of no axis."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) < 2:
        raise ValueError(
            "`dataset` must have labels. Received: a tf.data.Dataset with the "
            f"elements {spec}."
        )
    label = spec[1]
    batched = label.shape.rank == 1 or (
        label.shape.rank == 2 and label.shape[1] == 1
    )
    if label.dtype.is_floating or not (batched or label.shape.rank == 0):
        raise ValueError(
            "Labels of a tf.data.Dataset must be class numbers. Received: "
            f"labels {label}. Map one-hot labels to tf.argmax(y, -1) first."
        )
    if not batched:
        return dataset
    dataset = dataset.unbatch()
    if label.shape.rank == 2:
        return dataset.map(lambda x, y, *rest: (x, y[0], *rest))
    return dataset


def _mapped(targets: Any) -> Callable:
    import tensorflow as tf

    shape = () if targets.width is None else (targets.width,)

    def apply(x: Any, y: Any, *rest: Any) -> tuple:
        def read(labels: np.ndarray, *leaves: np.ndarray) -> np.ndarray:
            packed = keras.tree.pack_sequence_as(x, list(leaves))
            return targets(packed, labels).astype(targets.dtype)

        dtype = tf.as_dtype(targets.dtype)
        found = tf.numpy_function(read, [y, *keras.tree.flatten(x)], dtype)
        found.set_shape((y.shape[0], *shape))
        return (x, found, *rest)

    return apply
