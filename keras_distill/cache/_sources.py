"""Sources of arrays and PyDatasets, and the choice of a dataset's source."""

import collections
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums
from keras_distill._attached import WithTeacherLogits
from keras_distill._data import is_grain_dataset, is_tf_dataset
from keras_distill.cache._batches import Lookup, Source, finite, inputs_of, join
from keras_distill.cache._pipelines import GrainSource, TfDataSource


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
        return TfDataSource(dataset, batch_size, shapes)
    if is_grain_dataset(dataset):
        return GrainSource(dataset, batch_size, shapes)
    if isinstance(dataset, keras.utils.PyDataset):
        return _PyDataset(dataset)
    return _Arrays(dataset, batch_size)


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
        self.batches = finite(dataset.num_batches, "PyDataset")
        self.batch_size = _checksums.rows(inputs_of(dataset[0]))

    def inputs(self, start: int, stop: int) -> Iterator[Any]:
        def load(number: int) -> Any:
            return _checksums.arrays(inputs_of(self._dataset[number]))

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
        return join(self._dataset[index], start, self._lookup)

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()
