"""Sources of grain and of tf.data: datasets of examples, or of batches."""

import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums
from keras_distill.cache._batches import (
    Lookup,
    Source,
    finite,
    inputs_of,
    join,
    matches,
)

# What a tf.data.Dataset gives in the place of its cardinality.
_ENDLESS, _UNKNOWN = -1, -2


class GrainSource(Source):
    def __init__(
        self, dataset: Any, batch_size: int, shapes: list | None
    ) -> None:
        self._dataset = dataset
        count = finite(len(dataset), "grain MapDataset")
        x = _checksums.arrays(inputs_of(dataset[0]))
        leaves = keras.tree.flatten(x)
        self._batched = not matches(shapes, [leaf.shape for leaf in leaves])
        self.batch_size = len(leaves[0]) if self._batched else batch_size
        self.batches = count if self._batched else -(-count // batch_size)
        self.examples = None if self._batched else count

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        for batch in range(start, stop):
            yield self._batch(batch)

    def _batch(self, number: int) -> Any:
        if self._batched:
            return _checksums.arrays(inputs_of(self._dataset[number]))
        start = number * self.batch_size
        stop = min(start + self.batch_size, len(self._dataset))
        rows = [inputs_of(self._dataset[row]) for row in range(start, stop)]
        return keras.tree.map_structure(lambda *r: np.stack(r), *rows)

    def attach(self, lookup: Lookup, like: Any) -> Any:
        per_element = self.batch_size if self._batched else None
        joined = _JoinElement(lookup, len(self._dataset), per_element)
        return self._dataset.map_with_index(joined)


class _JoinElement:
    """Joins logits to an element of a grain dataset; can be pickled."""

    def __init__(
        self, lookup: Lookup, elements: int, batch_size: int | None
    ) -> None:
        self._lookup, self._elements = lookup, elements
        self._batch_size = batch_size

    def __call__(self, index: int, element: Any) -> tuple:
        index %= self._elements  # It goes on when a dataset is repeated.
        if self._batch_size is not None:
            return join(element, index * self._batch_size, self._lookup)
        return join(element, index, self._one)

    def _one(self, index: int, x: Any) -> Any:
        batch = keras.tree.map_structure(lambda a: np.asarray(a)[None], x)
        logits = self._lookup(index, batch)
        return keras.tree.map_structure(lambda a: a[0], logits)


class TfDataSource(Source):
    def __init__(
        self, dataset: Any, batch_size: int, shapes: list | None
    ) -> None:
        found = [
            tuple(spec.shape)
            for spec in keras.tree.flatten(inputs_of(dataset.element_spec))
        ]
        self._batched = not matches(shapes, found)
        self._elements = int(dataset.cardinality())  # Unknown if negative.
        self._dataset = dataset if self._batched else dataset.batch(batch_size)
        self.batches, self.examples = self._count()
        self.batch_size = batch_size
        if self._batched:
            self.batch_size = _checksums.rows(self.first())

    def _count(self) -> tuple[int, int | None]:
        count, examples = int(self._dataset.cardinality()), self._elements
        if count == _ENDLESS:
            count = sys.maxsize
        if count == _UNKNOWN:  # Counted once, without the teacher.
            sizes = [_checksums.rows(x) for x in self._inputs()]
            count, examples = len(sizes), sum(sizes)
        count = finite(count, "tf.data.Dataset")
        return count, None if self._batched else examples

    def _inputs(self) -> Any:
        return self._dataset.map(lambda *batch: inputs_of(batch))

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        part = self._inputs().skip(start).take(stop - start).prefetch(2)
        return iter(part.as_numpy_iterator())

    def attach(self, lookup: Lookup, like: Any) -> Any:
        import tensorflow as tf

        leaves = keras.tree.flatten(like)

        def read(start: np.ndarray, *x: np.ndarray) -> list:
            return keras.tree.flatten(lookup(int(start), list(x)))

        def join_batch(number: Any, batch: Any) -> tuple:
            batch = batch if isinstance(batch, tuple) else (batch,)
            x = keras.tree.flatten(inputs_of(batch))
            found = tf.numpy_function(
                read,
                [number * self.batch_size, *x],
                [tf.as_dtype(leaf.dtype) for leaf in leaves],
            )
            for tensor, leaf in zip(found, leaves, strict=True):
                tensor.set_shape((x[0].shape[0], *leaf.shape[1:]))
            logits = keras.tree.pack_sequence_as(like, found)
            return join(batch, 0, lambda *_: logits)

        joined = self._dataset.enumerate().map(
            join_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        if not self._batched:
            joined = joined.unbatch()
            if self._elements >= 0:
                known = tf.data.experimental.assert_cardinality(self._elements)
                joined = joined.apply(known)
        return joined
