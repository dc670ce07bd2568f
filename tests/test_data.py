"""What all readers of data share: batches, class numbers, weights."""

import importlib.util
import re

import numpy as np
import pytest

from keras_distill import _data

NUMBERS = np.array([2, 0, 1, 2])
ONE_HOT = np.eye(3)[NUMBERS]


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS,
        NUMBERS.tolist(),
        NUMBERS.astype("uint8"),
        NUMBERS.astype("float32"),
        NUMBERS[:, None],
        ONE_HOT,
        ONE_HOT.astype(bool),
    ],
    ids=["ints", "list", "uint8", "float", "column", "one-hot", "bool one-hot"],
)
@pytest.mark.parametrize("classes", [None, 3])
def test_class_numbers(labels, classes):
    found = _data.class_numbers(labels, classes)
    assert found.tolist() == NUMBERS.tolist()
    assert found.dtype == int


def test_the_class_of_a_distribution_is_that_of_its_largest_share():
    smoothed = 0.9 * ONE_HOT + 0.1 / 3
    assert _data.class_numbers(smoothed, 3).tolist() == NUMBERS.tolist()


def test_labels_and_weights_may_be_lists():
    x = np.arange(4.0)
    (batch,) = _data.batches((x, NUMBERS.tolist(), [1.0, 2.0, 3.0, 4.0]), 4)
    assert batch[1].tolist() == NUMBERS.tolist()
    assert batch[2].tolist() == [1, 2, 3, 4]


def test_class_numbers_of_every_position():
    labels = NUMBERS.reshape(2, 2)
    one_hot = ONE_HOT.reshape(2, 2, 3)
    for given in (labels, labels[..., None], one_hot):
        found = _data.class_numbers(given, 3, (2, 2))
        assert found.tolist() == NUMBERS.tolist()


def test_two_columns_of_numbers_are_positions_where_the_classes_are_known():
    """And one-hot where they are not."""
    labels = np.array([[0, 1], [1, 0]])
    assert _data.class_numbers(labels, 3, (2, 2)).tolist() == [0, 1, 1, 0]
    assert _data.class_numbers(labels).tolist() == [1, 0]


def test_no_labels_are_no_mistake():
    assert _data.class_numbers(NUMBERS[:0], 3).tolist() == []


SHAPE = "one-hot, one label per example. Received: labels of shape"
BAD_LABELS = {
    "halves": (NUMBERS + 0.5, 3, f"{SHAPE} (4,) and dtype float64 for 4"),
    "NaN": (NUMBERS * np.nan, 3, SHAPE),
    "infinity": (NUMBERS + np.inf, None, SHAPE),
    "far too high": (np.array([1e30]), 3, "Received: labels from 1e+30 to"),
    "unsigned": (np.array([2**64 - 1], "uint64"), 3, f"to {2**64 - 1}."),
    "words": (np.arange(6).reshape(2, 3), None, "must be one-hot, or distrib"),
    "several": (ONE_HOT + ONE_HOT[::-1], 3, "for several labels per example"),
    "NaN in a row": (ONE_HOT * np.nan, 3, "rows whose sum is not 1"),
    "names": (np.array(["a", "b"]), None, f"{SHAPE} (2,) and dtype <U1"),
    "width": (np.eye(4), 3, f"{SHAPE} (4, 4)"),
    "axes": (np.zeros((4, 2, 3)), None, f"{SHAPE} (4, 2, 3)"),
    "too high": (NUMBERS + 1, 3, "from 0 to 2. Received: labels from 1 to 3"),
    "negative": (NUMBERS - 1, 3, "from 0 to 2. Received: labels from -1 to 1"),
    "below 0": (NUMBERS - 1, None, "from 0. Received: labels from -1 to 1."),
}


@pytest.mark.parametrize(
    "labels, classes, text", BAD_LABELS.values(), ids=BAD_LABELS
)
def test_bad_labels(labels, classes, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        _data.class_numbers(labels, classes)


def test_weights_are_of_every_position():
    assert _data.weights(None, (2, 2)).tolist() == [1, 1, 1, 1]
    assert _data.weights(np.array([1, 2]), (2, 2)).tolist() == [1, 1, 2, 2]
    assert _data.weights(np.array([[1], [2]]), (2,)).tolist() == [1, 2]
    assert _data.weights(np.eye(2), (2, 2)).tolist() == [1, 0, 0, 1]


def test_rows_are_taken_of_structures():
    part = _data.take(({"a": NUMBERS}, None, ONE_HOT), slice(1, 3))
    assert part[0]["a"].tolist() == [0, 1] and part[1] is None
    assert part[2].shape == (2, 3)


def test_different_rows_are_refused():
    assert _data.same_rows((NUMBERS, None, ONE_HOT)) == 4
    with pytest.raises(ValueError, match=r"as many rows.* \[4, 3\] rows"):
        _data.same_rows((NUMBERS, NUMBERS[:3]))


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"), reason="needs TensorFlow"
)
def test_a_tf_dataset_is_recognised():
    import tensorflow as tf

    dataset = tf.data.Dataset.range(3)
    assert _data.is_tf_dataset(dataset)
    assert _data.is_tf_dataset(dataset.map(lambda x: x).batch(2).prefetch(1))
    for other in (tf.constant([1]), iter(dataset), NUMBERS, None):
        assert not _data.is_tf_dataset(other)
