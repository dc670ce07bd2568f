"""What a specialist is trained on: half its own classes, half the rest."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill._data import is_tf_dataset, take
from keras_distill.specialists._build import dustbin_correction
from keras_distill.specialists._checks import (
    check_generalist,
    class_set,
    share,
)
from keras_distill.specialists._mixture import Labels, Mixture, SoftTargets
from keras_distill.specialists._rows import Examples, Rows, read
from keras_distill.specialists._streams import Stream, single


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
    width = None
    if soft_targets is not None:
        check_generalist(soft_targets)
        width = soft_targets.outputs[0].shape[-1]
    special = class_set("classes", classes, width)
    portion = share("special_share", special_share)
    dataset = examples_of(dataset, width)
    targets = (
        Labels(special)
        if soft_targets is None
        else SoftTargets(soft_targets, special)
    )
    mixture = Mixture(special, targets, portion, batch_size, seed)
    make = Rows if isinstance(dataset, Examples) else Stream
    parts = make(dataset, mixture)
    count, others = parts.counts
    natural = count / (count + others)
    correction = dustbin_correction(natural, portion)
    return SpecialistData(parts.data, parts.steps, natural, correction)


def examples_of(dataset: Any, num_classes: int | None = None) -> Any:
    """Arrays with their labels read, or a `tf.data.Dataset` as it is.

    What it gives can be given to it again, and is not read again.
    """
    if isinstance(dataset, Examples) or is_tf_dataset(dataset):
        return dataset
    if not isinstance(dataset, tuple) or not 2 <= len(dataset) <= 3:
        raise TypeError(
            "`dataset` must be (x, y) or (x, y, sample_weight) of arrays, or a "
            f"tf.data.Dataset. Received: {type(dataset).__name__}."
        )
    return read(dataset, num_classes)


def some_inputs(dataset: Any, count: int = 4096) -> Any:
    """Inputs of some examples: evenly spaced ones, or a stream's first."""
    if isinstance(dataset, Examples):
        rows = len(dataset.labels)
        chosen = np.unique(np.linspace(0, rows - 1, count).astype(int))
        return take(dataset.x, chosen)
    batch = next(iter(single(dataset).take(count).batch(count)))
    return keras.tree.map_structure(np.asarray, batch[0])
