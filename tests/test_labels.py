"""Labels that a distillation loss gets in their own dtype."""

import backend
import keras
import numpy as np
import pytest
from keras import ops

from keras_distill._objective._labels import with_labels


class Labelled(keras.losses.Loss):
    """Keeps the labels it got; the loss of each example is its label."""

    uses_labels = True

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.seen = []

    def call(self, targets, student_logits):
        _, labels = targets
        self.seen.append(labels)
        return self.factor * ops.cast(labels, "float32")


LOGITS = np.zeros((3, 4), "float32")
LABELS = np.array([0, 257, 999], "int32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("given", ["int32", "uint16", "float32"])
def test_labels_come_as_they_are(dtype, given):
    loss = Labelled(reduction=None, dtype=dtype)
    labels = LABELS.astype(given)
    with_labels(loss, labels)(LOGITS, LOGITS)
    [seen] = loss.seen
    assert seen is labels


def test_weights_masks_and_reduction_are_those_of_keras():
    weight = np.float32([1, 0, 2])
    called = with_labels(Labelled(), LABELS)
    found = float(called(LOGITS, LOGITS, weight))
    np.testing.assert_allclose(found, np.mean(weight * LABELS), 1e-6)


def test_the_loss_itself_is_as_before():
    loss = Labelled(reduction=None)
    once, twice = with_labels(loss, LABELS), with_labels(loss, 2 * LABELS)
    loss.factor = 3.0
    for called, factor in ((once, 3), (twice, 6)):
        found = backend.to_numpy(called(LOGITS, LOGITS))
        np.testing.assert_array_equal(found, factor * LABELS)
    assert "call" not in vars(loss)


def test_missing_labels_are_refused():
    with pytest.raises(ValueError, match="Labelled uses labels.*without"):
        with_labels(Labelled(), None)
