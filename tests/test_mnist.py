"""The data of the MNIST experiments, and how long one learns from them."""

import numpy as np
import pytest

from benchmarks.paper import mnist

pytestmark = pytest.mark.benchmark


def marked(count):
    """Images of one bright pixel in the middle, each of its own shade."""
    x = np.zeros((count, 28, 28), "float32")
    x[:, 14, 14] = 1 + np.arange(count)
    return x.reshape(count, -1), np.arange(count, dtype="int32")


def test_a_shifted_image_keeps_its_pixels_within_two():
    x, _ = marked(400)
    found = mnist.shifted(x, np.random.default_rng(0)).reshape(-1, 28, 28)
    shade, row, column = found.max(axis=(1, 2)), *np.nonzero(found)[1:]
    np.testing.assert_array_equal(shade, 1 + np.arange(400))
    places = {
        (int(r) - 14, int(c) - 14) for r, c in zip(row, column, strict=True)
    }
    span = range(-2, 3)
    assert places == {(r, c) for r in span for c in span}


def test_a_pass_shows_each_image_once_and_the_next_in_another_order():
    x, y = marked(10)
    data = mnist.Shifted(x, y, 4, seed=0)
    passes = []
    for _ in range(2):
        batches = [data[i] for i in range(len(data))]
        for images, labels in batches:
            np.testing.assert_array_equal(images.max(axis=-1), 1 + labels)
        passes.append(np.concatenate([labels for _, labels in batches]))
        data.on_epoch_end()
    assert [sorted(seen) for seen in passes] == [list(range(10))] * 2
    assert list(passes[0]) != list(passes[1])


@pytest.mark.parametrize(
    "updates, expected", [(1, (1, 3)), (36, (12, 36)), (37, (13, 39))]
)
def test_a_small_set_gets_as_many_updates(updates, expected):
    assert mnist.passes(25, 10, updates) == expected


def test_a_teacher_goes_through_its_images_as_often_as_it_takes():
    x, y = marked(300)
    teacher = mnist.train_teacher((x, y % 10), 2, updates=3, seed=0)
    assert int(teacher.optimizer.iterations) == 4


def test_the_same_images_are_held_out_each_time():
    x, y = marked(30)
    (kept, labels), (rest, _) = mnist.hold_out(x, y, 10)
    rows, others = mnist.rows_held_out(30, 10)
    np.testing.assert_array_equal(kept, x[rows])
    np.testing.assert_array_equal(labels, rows)
    np.testing.assert_array_equal(rest, x[others])
    assert sorted([*rows, *others]) == list(range(30))
