"""Which classes a generalist confuses: one set of them for each specialist."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_distill import _validation
from keras_distill.specialists import _covariance, _probabilities
from keras_distill.specialists._covariance import BLOCK

# A variance that is rounding alone.
_NOTHING = 1e-24
# Sets, and names of each of them, that are printed.
_SHOWN, _SHOWN_NAMES = 3, 8


class ConfusableClasses(NamedTuple):
    """Sets of classes that a generalist confuses with each other.

    `class_sets` are sorted lists of class numbers, in the order of their first
    members, `covariance` that of the predictions, shape `(classes, classes)`,
    and `class_names` a list of names, or None. Printed, it is one line.
    """

    class_sets: list[list[int]]
    covariance: np.ndarray
    class_names: list[str] | None = None

    @property
    def named_sets(self) -> list[list[str]]:
        """`class_sets` with the names, or the numbers as text without names."""
        names = self.class_names or [
            str(i) for i in range(len(self.covariance))
        ]
        return [[names[i] for i in members] for members in self.class_sets]

    def __repr__(self) -> str:
        sizes = sorted({len(members) for members in self.class_sets})
        between = " to ".join(map(str, sizes[:1] + sizes[1:][-1:]))
        named = self._replace(class_sets=self.class_sets[:_SHOWN]).named_sets
        shown = [_short(names) for names in named]
        if len(self.class_sets) > _SHOWN:
            shown.append(f"{len(self.class_sets) - _SHOWN} more")
        return (
            f"ConfusableClasses({len(self.class_sets)} sets of {between} "
            f"classes: {', '.join(shown)}; covariance of shape "
            f"{self.covariance.shape})"
        )


def confusable_classes(
    predictions: Any,
    num_specialists: int,
    size: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> ConfusableClasses:
    """Finds sets of classes that a generalist often predicts together.

    Formula: on-line K-means on the columns of the covariance matrix of the
    generalist's predictions, `cov(p_i, p_j)`; Hinton et al. 2015, section 5.3.
    No labels are needed.

    Not in the paper: each column is first rid of its class's own variance, and
    scaled to length 1. In peaked predictions the variance outweighs all that a
    column says of other classes, and the length grows with how frequent the
    class is, so that K-means on the columns as they are gathers rare classes in
    one set, whatever they are confused with.

    The predictions are read once, in float64. The memory needed is about twice
    that of the covariance matrix, however many examples there are: 3 GB for
    15,000 classes.

    Args:
        predictions: Probabilities, shape `(examples, classes)`: an array, or an
            iterable of batches of such arrays. Or a pair `(generalist,
            dataset)` of a model that ends in logits and what it is run on: an
            array, `(x, y)`, `(x, y, sample_weight)`, or a `tf.data.Dataset`,
            `keras.utils.PyDataset` or other iterable of batches of them. Every
            position of `(batch, time, classes)` is an example. Labels are
            ignored, sample weights are not.
        num_specialists: How many sets to find.
        size: None for disjoint sets, each class in exactly one; or how many
            classes each set has, those whose columns are nearest to its
            centroid. Such sets may overlap, and leave classes out.
        class_names: A name for each class.
        batch_size: Batch size for arrays.
        seed: Seed of K-means. The same seed and data give the same sets.

    Returns:
        A `ConfusableClasses(class_sets, covariance, class_names)`. No set is
        empty, and no two are the same: clusters that K-means leaves empty, and
        sets of `size` that occur twice, are left out, so there may be fewer
        than `num_specialists`.

    Raises:
        ImportError: If scikit-learn is missing.
        TypeError: If `predictions` is of no such kind.
        ValueError: If these are no probabilities of at least two examples,
            a number or the names do not fit the number of classes, the model
            ends in probabilities, all predictions are the same, or all classes
            come out as one set, which leaves no others.

    Example:

    >>> p = np.full((40, 6), 0.02)
    >>> p[::2, :3] += np.random.dirichlet([1, 1, 1], 20) * 0.88
    >>> p[1::2, 3:] += np.random.dirichlet([1, 1, 1], 20) * 0.88
    >>> kd.specialists.confusable_classes(p, 2).class_sets
    [[0, 1, 2], [3, 4, 5]]
    """
    _check_numbers(num_specialists, size, batch_size, seed)
    _covariance.needed("sklearn.cluster")
    rows = _probabilities.probabilities(predictions, batch_size)
    blocks = _covariance.blocks_of(rows)
    first = next(blocks, None)
    if first is None:
        raise ValueError(
            "`predictions` must hold at least one batch. Received: no example. "
            "A generator can be read only once; pass a new one."
        )
    names = _names(class_names, first[0].shape[1])
    _check_fit(num_specialists, size, first[0].shape[1])
    covariance = _covariance.streaming_covariance(
        itertools.chain([first], blocks)
    )
    _require_difference(covariance)
    sets = _class_sets(covariance, num_specialists, size, seed)
    return ConfusableClasses(sets, covariance, names)


def _short(names: list[str]) -> str:
    rest = ["..."] if len(names) > _SHOWN_NAMES else []
    return f"[{', '.join(names[:_SHOWN_NAMES] + rest)}]"


def _class_sets(
    covariance: np.ndarray, num_sets: int, size: int | None, seed: int
) -> list[list[int]]:
    columns = _directions(covariance)
    # By default it stops early, with more sets that are halves of others.
    means = _covariance.needed("sklearn.cluster").MiniBatchKMeans(
        num_sets, n_init=3, max_no_improvement=None, random_state=seed
    )
    means.fit(columns)
    if size is None:
        members = [np.flatnonzero(means.labels_ == i) for i in range(num_sets)]
    else:
        members = _nearest(columns, means.cluster_centers_, size)
    sets = sorted({tuple(np.sort(m).tolist()) for m in members if len(m)})
    if len(sets[0]) == len(covariance):
        raise ValueError(
            "A set of all classes leaves no others to tell them from. "
            f"Received: num_specialists={num_sets}, size={size}, which give "
            "that one set. Pass a `size`, or a larger `num_specialists`."
        )
    return [list(members) for members in sets]


def _directions(covariance: np.ndarray) -> np.ndarray:
    """The columns without variances, of length 1; 0 where nothing is left."""
    columns = np.empty(covariance.shape, "float32")
    for start in range(0, len(covariance), BLOCK):
        rows = covariance[start : start + BLOCK].copy()
        np.fill_diagonal(rows[:, start:], 0.0)
        # By their largest first: squares of what is below 1e-160 are 0.
        largest = np.abs(rows).max(axis=1, keepdims=True)
        rows /= np.where(largest > 0, largest, 1.0)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        columns[start : start + BLOCK] = rows / np.maximum(length, 1.0)
    return columns


def _nearest(
    columns: np.ndarray, centroids: np.ndarray, size: int
) -> list[np.ndarray]:
    """The columns nearest to each centroid; of equals, the first.

    Among columns of length 1 these have the largest products. A column of 0 has
    no direction, and counts as one at a right angle.
    """
    products = columns @ centroids.T
    return list(np.argsort(-products, axis=0, kind="stable")[:size].T)


def _check_numbers(
    num_specialists: Any, size: Any, batch_size: Any, seed: Any
) -> None:
    fix = "Pass how many sets to find."
    _validation.whole("num_specialists", num_specialists, 1, fix=fix)
    if size is not None:
        fix = "Pass None for disjoint sets."
        _validation.whole("size", size, 1, fix=fix)
    _validation.count("batch_size", batch_size)
    _validation.whole("seed", seed, 0)


def _check_fit(num_specialists: int, size: int | None, classes: int) -> None:
    if num_specialists > classes:
        raise ValueError(
            "There cannot be more specialists than classes. Received: "
            f"num_specialists={num_specialists} for {classes} classes. Pass "
            f"a number from 1 to {classes}."
        )
    if num_specialists == 1 and size is None:
        raise ValueError(
            "One disjoint set is that of all classes, and leaves no others. "
            "Received: num_specialists=1, size=None. Pass a `size`, or more "
            "specialists."
        )
    if size is not None and size >= classes:
        raise ValueError(
            "`size` must be below the number of classes: a specialist of all "
            f"classes leaves no others. Received: size={size} for {classes} "
            f"classes. Pass a number from 1 to {classes - 1}."
        )


def _names(class_names: Any, classes: int) -> list[str] | None:
    if class_names is None:
        return None
    if isinstance(class_names, str):
        raise TypeError(
            "`class_names` must be a sequence of names. Received: one text, "
            f"{class_names!r}. Pass a list with a name for each class."
        )
    names = [str(name) for name in class_names]
    if len(names) != classes:
        raise ValueError(
            "`class_names` must have one name per class. Received: "
            f"{len(names)} names for {classes} classes. Leave it out to go by "
            "class numbers."
        )
    return names


def _require_difference(covariance: np.ndarray) -> None:
    if covariance.diagonal().max() <= _NOTHING:
        raise ValueError(
            "Predictions must differ between examples. Received: the same "
            "prediction for every example, so that no class goes with another. "
            "Pass those of a trained generalist on different inputs."
        )
