"""What a specialist is trained on: half its own classes, half the rest."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill import _checksums
from keras_distill._keras.frozen import FrozenModel
from keras_distill.specialists._build import (
    check_generalist,
    class_set,
    dustbin_correction,
    share,
)


class SpecialistData(NamedTuple):
    """A specialist's training data.

    Attributes:
        dataset: What `fit` takes, in batches.
        steps_per_epoch: Batches of an epoch, in which each special example
            comes at least once; for `fit`.
        natural_share: The share of the special classes in the given data.
        correction: `dustbin_correction(natural_share, special_share)`.
    """

    dataset: Any
    steps_per_epoch: int
    natural_share: float
    correction: float


def specialist_dataset(
    dataset: Any,
    classes: Sequence[int],
    *,
    soft_targets: keras.Model | None = None,
    special_share: float = 0.5,
    batch_size: int = 64,
    seed: int = 0,
) -> SpecialistData:
    """Mixes the examples of some classes with examples of all others.

    "Half its examples coming from the special subset and half sampled at random
    from the remainder of the training set", Hinton et al. 2015, section 5.1.
    Special class `classes[i]` gets the label `i`, all others the label
    `len(classes)`, the dustbin's.

    With `soft_targets=generalist` the targets are distributions over all
    classes, for a specialist with a full softmax (section 6.1): the label for a
    special example, and for another the generalist's distribution over the
    classes that are not special. (That the label is none of the special ones is
    known; only so the correction is exact.)

    Arrays, memory-mapped ones too, are read row by row, in an order that
    depends on `seed` and the number of the epoch; over the epochs other
    examples of the rest are drawn. A `tf.data.Dataset` is read through once to
    count, and streams from then on: twice in parallel, filtered, each through a
    shuffle buffer of 16 batches. It repeats for ever, so give `steps_per_epoch`
    to `fit`.

    Args:
        dataset: `(x, y)` or `(x, y, sample_weight)` of arrays, labels being
            class numbers or one-hot; or a `tf.data.Dataset` of examples or
            batches of them, labels being class numbers.
        classes: The special classes.
        soft_targets: A generalist that ends in logits, or None for labels.
        special_share: The share of special examples in the mix.
        batch_size: Examples per batch.
        seed: Seeds the order.

    Returns:
        A `SpecialistData`. Its `dataset` is a `keras.utils.PyDataset` for
        arrays and a `tf.data.Dataset` for one.

    Raises:
        TypeError: If `dataset` is of another kind.
        ValueError: If there are no special examples or no others, or if labels
            or classes are not class numbers.

    Example:

    >>> x, y = np.random.rand(100, 4), np.arange(100) % 10
    >>> data = kd.specialists.specialist_dataset((x, y), [2, 7])
    >>> data.natural_share, round(data.correction, 2)
    (0.2, 1.39)
    >>> sorted(set(data.dataset[0][1].tolist()))
    [0, 1, 2]
    """
    special = class_set("classes", classes, None)
    portion = share("special_share", special_share)
    targets = (
        _Labels(special)
        if soft_targets is None
        else _SoftTargets(soft_targets, special)
    )
    check_dataset(dataset)
    mixture = _Mixture(special, targets, portion, batch_size, seed)
    make = _Rows if isinstance(dataset, tuple) else _Stream
    parts = make(dataset, mixture)
    count, others = parts.counts
    natural = count / (count + others)
    correction = dustbin_correction(natural, portion)
    return SpecialistData(parts.data, parts.steps, natural, correction)


def check_dataset(dataset: Any, num_classes: int | None = None) -> None:
    """Refuses data of another kind, and labels that are no class."""
    kind = type(dataset)
    if kind.__module__.startswith("tensorflow.") and hasattr(dataset, "filter"):
        return
    if not isinstance(dataset, tuple) or not 2 <= len(dataset) <= 3:
        raise TypeError(
            "`dataset` must be (x, y) or (x, y, sample_weight) of arrays, or a "
            f"tf.data.Dataset. Received: {kind.__name__}."
        )
    labels = class_numbers(dataset[1])
    _check_rows(dataset[0], labels, (*dataset, None)[2])
    most = math.inf if num_classes is None else num_classes
    if len(labels) and not 0 <= labels.min() <= labels.max() < most:
        raise ValueError(
            f"Labels must be class numbers from 0 to {most - 1}. Received: "
            f"labels from {labels.min()} to {labels.max()}."
        )


class _Labels:
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


class _SoftTargets:
    """Labels of special examples, the generalist's word on the others."""

    dtype = "float32"

    def __init__(self, generalist: keras.Model, classes: list[int]) -> None:
        check_generalist(generalist)
        self.width = generalist.outputs[0].shape[-1]
        self._classes = class_set("classes", classes, self.width)
        self._forward = FrozenModel(generalist).compiled()

    def __call__(self, x: Any, labels: np.ndarray) -> np.ndarray:
        x = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
        logits = keras.ops.convert_to_numpy(self._forward(x)).astype("float32")
        logits[:, self._classes] = -np.inf
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        known = np.isin(labels, self._classes)
        p[known] = np.eye(self.width, dtype=p.dtype)[labels[known]]
        return p


def class_numbers(labels: Any) -> np.ndarray:
    """Labels as whole numbers of shape `(n,)`; refuses others."""
    labels = np.asarray(_checksums.arrays(labels))
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    numeric = labels.dtype.kind in "biuf"
    numbers = labels.reshape(-1).astype(int) if numeric else labels[:0]
    if len(numbers) != len(labels) or np.any(numbers != labels.reshape(-1)):
        raise ValueError(
            "Labels must be class numbers or one-hot, one per example. "
            f"Received: labels of shape {labels.shape} and dtype "
            f"{labels.dtype}."
        )
    return numbers


def some_inputs(dataset: Any, count: int = 4096) -> Any:
    """Inputs of some examples: evenly spaced ones, or a stream's first."""
    if isinstance(dataset, tuple):
        rows = _checksums.rows(dataset[0])
        chosen = np.unique(np.linspace(0, rows - 1, count).astype(int))
        return keras.tree.map_structure(lambda a: a[chosen], dataset[0])
    batch = next(iter(_examples(dataset).take(count).batch(count)))
    return keras.tree.map_structure(np.asarray, batch[0])


def _check_counts(special: int, others: int, classes: list[int]) -> None:
    if not special or not others:
        raise ValueError(
            "A specialist needs examples of its classes and of others. "
            f"Received: {special} examples of the classes {classes} and "
            f"{others} of others."
        )


class _Mixture(NamedTuple):
    """What is mixed, and how."""

    classes: list[int]
    targets: Any
    portion: float
    batch_size: int
    seed: int

    def steps(self, special: int, others: int) -> int:
        """Batches of an epoch; refuses data without either part."""
        _check_counts(special, others, self.classes)
        return max(1, math.ceil(special / self.portion / self.batch_size))


class _Rows(keras.utils.PyDataset):
    """Batches of arrays' rows, in an order that depends on `epoch`."""

    def __init__(self, arrays: tuple, mixture: _Mixture) -> None:
        super().__init__()
        self._mixture = mixture
        self._x, y, self._weight = keras.utils.unpack_x_y_sample_weight(arrays)
        self._labels = class_numbers(y)
        _check_rows(self._x, self._labels, self._weight)
        known = np.isin(self._labels, mixture.classes)
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
        x = keras.tree.map_structure(lambda a: a[rows], self._x)
        batch = (x, self._mixture.targets(x, self._labels[rows]))
        return batch if self._weight is None else (*batch, self._weight[rows])

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


def _check_rows(x: Any, labels: np.ndarray, weight: Any) -> None:
    counts = [len(leaf) for leaf in keras.tree.flatten(x)] + [len(labels)]
    counts += [] if weight is None else [len(weight)]
    if len(set(counts)) > 1:
        raise ValueError(
            "All arrays of `dataset` must have as many rows. Received: arrays "
            f"of {counts} rows."
        )


class _Stream:
    """The same of a `tf.data.Dataset`."""

    def __init__(self, dataset: Any, mixture: _Mixture) -> None:
        import tensorflow as tf

        _check_finite(dataset)
        dataset = _examples(dataset)
        table = tf.constant(mixture.classes, tf.int64)
        size, portion, seed = mixture.batch_size, mixture.portion, mixture.seed

        def known(x: Any, y: Any, *rest: Any) -> Any:
            return tf.reduce_any(tf.cast(y, tf.int64) == table)

        def unknown(*example: Any) -> Any:
            return ~known(*example)

        labels = dataset.map(known).batch(8192).as_numpy_iterator()
        counted = np.array([(np.sum(part), len(part)) for part in labels])
        special, total = counted.reshape(-1, 2).sum(axis=0).tolist()
        self.counts = special, total - special
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


def _check_finite(dataset: Any) -> None:
    if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise ValueError(
            "`dataset` must end. Received: a tf.data.Dataset that repeats for "
            "ever. Pass it without repeat()."
        )


def _examples(dataset: Any) -> Any:
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
