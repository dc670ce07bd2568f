"""Datasets of each kind, read in batches for a teacher and joined with logits.

A source has batches of one size, except the last, so that example `i` is always
row `i % batch_size` of batch `i // batch_size`.
"""

import collections
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums
from keras_distill._attached import WithTeacherLogits
from keras_distill._data import is_grain_dataset, is_tf_dataset

# Logits for a batch of inputs, from the number of its first example.
Lookup = Callable[[int, Any], Any]


class Source:
    """What the builder and `attach` need of a dataset.

    Attributes:
        batch_size: Examples in each batch but the last.
        batches: Number of batches.
        examples: Number of examples, None where it is not known yet.
    """

    batch_size: int
    batches: int
    examples: int | None = None

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        """The inputs of batches `start` to `stop`, as NumPy arrays."""
        raise NotImplementedError

    def attach(self, lookup: Lookup, like: Any) -> Any:
        """The dataset, with `WithTeacherLogits` in the place of its inputs.

        Args:
            lookup: Gives the logits of a batch.
            like: Logits of a batch, for their structure and dtypes.
        """
        raise NotImplementedError

    def first(self) -> Any:
        return next(self.inputs(0, 1))


def source(dataset: Any, batch_size: int, shapes: list | None) -> Source:
    """Makes the source for a dataset.

    Args:
        dataset: Arrays, `(x,)`, `(x, y)` or `(x, y, sample_weight)` of arrays,
            or a `tf.data.Dataset`, `PyDataset` or grain `MapDataset`.
        batch_size: Examples per batch, where the dataset has no batches yet.
        shapes: Shapes of one example's inputs, if they are known; tell
            datasets of examples from datasets of batches.
    """
    if is_tf_dataset(dataset):
        return _TfData(dataset, batch_size, shapes)
    if is_grain_dataset(dataset):
        return _Grain(dataset, batch_size, shapes)
    if isinstance(dataset, keras.utils.PyDataset):
        return _PyDataset(dataset)
    return _Arrays(dataset, batch_size)


def _join(batch: Any, start: int, lookup: Lookup) -> tuple:
    x, *rest = batch if isinstance(batch, tuple | list) else (batch,)
    return (WithTeacherLogits(x, lookup(start, x)), *rest)


def _inputs_of(batch: Any) -> Any:
    return keras.utils.unpack_x_y_sample_weight(batch)[0]


def _matches(shapes: list | None, found: list[tuple]) -> bool:
    """Whether shapes of a dataset's elements can be those of one example."""
    if shapes is None or len(shapes) != len(found):
        return False
    return all(
        len(a) == len(b)
        and all(
            m is None or n is None or m == n for m, n in zip(a, b, strict=True)
        )
        for a, b in zip(shapes, found, strict=True)
    )


class _Arrays(Source):
    def __init__(self, data: Any, batch_size: int) -> None:
        self._data = data if type(data) is tuple else (data,)
        leaves = keras.tree.flatten(self._data[0])
        if not leaves or not all(getattr(a, "shape", ()) for a in leaves):
            raise ValueError(
                "`dataset` must be arrays, (x, y) or (x, y, sample_weight) of "
                "arrays, a tf.data.Dataset, a keras.utils.PyDataset or a grain "
                f"MapDataset. Received: {type(data)}. A generator has no order "
                "to come back to; wrap its data in a PyDataset."
            )
        counts = {leaf.shape[0] for leaf in leaves}
        if len(counts) > 1:
            raise ValueError(
                "All inputs must have as many rows. Received: arrays of "
                f"{sorted(counts)} rows."
            )
        self.examples = counts.pop()
        self.batch_size = batch_size
        self.batches = -(-self.examples // batch_size)

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        for batch in range(start, stop):
            yield self._rows(batch)

    def _rows(self, batch: int) -> Any:
        rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        part = keras.tree.map_structure(lambda a: a[rows], self._data[0])
        return _checksums.arrays(part)

    def attach(self, lookup: Lookup, like: Any) -> tuple:
        # Checked and read batch by batch, into arrays of the whole length.
        whole = keras.tree.map_structure(
            lambda a: np.empty((self.examples, *a.shape[1:]), a.dtype), like
        )
        flat = keras.tree.flatten(whole)
        for number, x in enumerate(self.inputs(0, self.batches)):
            start = number * self.batch_size
            parts = keras.tree.flatten(lookup(start, x))
            for array, part in zip(flat, parts, strict=True):
                array[start : start + len(part)] = part
        return (WithTeacherLogits(self._data[0], whole), *self._data[1:])


class _PyDataset(Source):
    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.batches = _finite(dataset.num_batches, "PyDataset")
        self.batch_size = _checksums.rows(_inputs_of(dataset[0]))

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        def load(number: int) -> Any:
            return _checksums.arrays(_inputs_of(self._dataset[number]))

        workers = max(1, self._dataset.workers)
        return _read_ahead(load, start, stop, workers)

    def attach(self, lookup: Lookup, like: Any) -> keras.utils.PyDataset:
        return _Joined(self._dataset, self.batch_size, lookup)


def _read_ahead(
    load: Callable, start: int, stop: int, workers: int
) -> Iterator[Any]:
    """`load(start), ..., load(stop - 1)`, in order, by threads."""
    with ThreadPoolExecutor(workers) as pool:
        numbers = iter(range(start, stop))
        ahead = itertools.islice(numbers, workers + 1)
        waiting = collections.deque(pool.submit(load, n) for n in ahead)
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(
                pool.submit(load, n) for n in itertools.islice(numbers, 1)
            )
            yield batch


class _Joined(keras.utils.PyDataset):
    """A PyDataset with teacher logits joined to its inputs."""

    def __init__(self, dataset: Any, batch_size: int, lookup: Lookup) -> None:
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset, self._batch_size = dataset, batch_size
        self._lookup = lookup

    def __len__(self) -> int:
        return self._dataset.num_batches

    def __getitem__(self, index: int) -> tuple:
        start = index * self._batch_size
        return _join(self._dataset[index], start, self._lookup)

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


class _Grain(Source):
    def __init__(
        self, dataset: Any, batch_size: int, shapes: list | None
    ) -> None:
        self._dataset = dataset
        count = _finite(len(dataset), "grain MapDataset")
        x = _checksums.arrays(_inputs_of(dataset[0]))
        leaves = keras.tree.flatten(x)
        self._batched = not _matches(shapes, [leaf.shape for leaf in leaves])
        self.batch_size = len(leaves[0]) if self._batched else batch_size
        self.batches = count if self._batched else -(-count // batch_size)
        self.examples = None if self._batched else count

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        for batch in range(start, stop):
            yield self._batch(batch)

    def _batch(self, number: int) -> Any:
        if self._batched:
            return _checksums.arrays(_inputs_of(self._dataset[number]))
        start = number * self.batch_size
        stop = min(start + self.batch_size, len(self._dataset))
        rows = [_inputs_of(self._dataset[row]) for row in range(start, stop)]
        return keras.tree.map_structure(lambda *r: np.stack(r), *rows)

    def attach(self, lookup: Lookup, like: Any) -> Any:
        per_element = self.batch_size if self._batched else None
        join = _JoinElement(lookup, len(self._dataset), per_element)
        return self._dataset.map_with_index(join)


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
            return _join(element, index * self._batch_size, self._lookup)
        return _join(element, index, self._one)

    def _one(self, index: int, x: Any) -> Any:
        batch = keras.tree.map_structure(lambda a: np.asarray(a)[None], x)
        logits = self._lookup(index, batch)
        return keras.tree.map_structure(lambda a: a[0], logits)


class _TfData(Source):
    def __init__(
        self, dataset: Any, batch_size: int, shapes: list | None
    ) -> None:
        found = [
            tuple(spec.shape)
            for spec in keras.tree.flatten(_inputs_of(dataset.element_spec))
        ]
        self._batched = not _matches(shapes, found)
        if not self._batched:
            known = int(dataset.cardinality())
            self.examples = known if known >= 0 else None
            dataset = dataset.batch(batch_size)
        self._dataset = dataset
        count = int(dataset.cardinality())
        if count == -1:
            count = sys.maxsize
        if count == -2:  # Unknown: count once, without the teacher.
            count = sum(1 for _ in self._inputs())
        self.batches = _finite(count, "tf.data.Dataset")
        self.batch_size = batch_size
        if self._batched:
            self.batch_size = _checksums.rows(self.first())

    def _inputs(self) -> Any:
        return self._dataset.map(lambda *batch: _inputs_of(batch))

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        part = self._inputs().skip(start).take(stop - start).prefetch(2)
        return iter(part.as_numpy_iterator())

    def attach(self, lookup: Lookup, like: Any) -> Any:
        import tensorflow as tf

        leaves = keras.tree.flatten(like)

        def read(start: np.ndarray, *x: np.ndarray) -> list:
            return keras.tree.flatten(lookup(int(start), list(x)))

        def join(number: Any, batch: Any) -> tuple:
            batch = batch if isinstance(batch, tuple) else (batch,)
            x = keras.tree.flatten(_inputs_of(batch))
            found = tf.numpy_function(
                read,
                [number * self.batch_size, *x],
                [tf.as_dtype(leaf.dtype) for leaf in leaves],
            )
            for tensor, leaf in zip(found, leaves, strict=True):
                tensor.set_shape((x[0].shape[0], *leaf.shape[1:]))
            logits = keras.tree.pack_sequence_as(like, found)
            return _join(batch, 0, lambda *_: logits)

        joined = self._dataset.enumerate().map(
            join, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        if self._batched:
            return joined
        joined = joined.unbatch()
        if self.examples is None:
            return joined
        known = tf.data.experimental.assert_cardinality(self.examples)
        return joined.apply(known)


def _finite(count: int | None, kind: str) -> int:
    if count is None or count >= sys.maxsize:
        raise ValueError(
            f"`dataset` must end. Received: a {kind} that repeats for ever. "
            "Build and attach first, and repeat afterwards."
        )
    if count == 0:
        raise ValueError(
            "`dataset` must hold at least one batch. Received: an empty "
            f"{kind}."
        )
    return count
