"""The picture of a covariance: order, lines, colours, names, files."""

import sys

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from keras_distill import plotting
from keras_distill.plotting import _covariance
from keras_distill.specialists._confusable import ConfusableClasses

pytestmark = pytest.mark.once


def found(class_sets, classes, names=None, seed=0):
    rows = np.random.default_rng(seed).normal(size=(50, classes))
    return ConfusableClasses(class_sets, np.cov(rows.T), names)


def parts(figure):
    axes, bar = figure.axes
    return axes, axes.images[0], bar


def ordered(covariance, order):
    """The matrix in another order, one entry at a time."""
    return np.array([[covariance[i, j] for j in order] for i in order])


@pytest.mark.parametrize(
    "class_sets, order, edges",
    [
        ([[0, 3], [1, 4], [2]], [0, 3, 1, 4, 2], [1.5, 3.5]),
        ([[0, 3], [1, 3]], [0, 3, 1, 2, 4], [1.5, 2.5]),
        ([[3, 4], [0, 1], [3, 4], [0, 4]], [3, 4, 0, 1, 2], [1.5, 3.5]),
    ],
    ids=["disjoint", "overlapping", "a set with nothing of its own"],
)
def test_classes_stand_with_their_first_set(class_sets, order, edges):
    data = found(class_sets, 5)
    axes, image, _ = parts(plotting.class_covariance(data))
    expected = ordered(data.covariance, order)
    shown = np.ma.filled(image.get_array(), np.nan)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(shown[off], expected[off])
    assert np.isnan(np.diag(shown)).all()
    heights = [line.get_ydata()[0] for line in axes.lines[::2]]
    places = [line.get_xdata()[0] for line in axes.lines[1::2]]
    assert heights == places == edges


def test_colours_are_symmetric_and_end_within_sets():
    data = found([[0, 1, 2], [3, 4]], 8)
    _, image, bar = parts(plotting.class_covariance(data))
    c = np.abs(data.covariance)
    inside = [c[0, 1], c[0, 2], c[1, 2], c[3, 4]]
    limit = np.quantile(np.repeat(inside, 2), 0.9)
    np.testing.assert_allclose(image.get_clim(), (-limit, limit))
    assert "97th percentile" in bar.get_ylabel()


@pytest.mark.parametrize(
    "covariance", [np.cov(np.random.rand(3, 9)), np.eye(3)]
)
def test_sets_of_one_class(covariance):
    data = ConfusableClasses([[0], [1], [2]], covariance)
    _, image, _ = parts(plotting.class_covariance(data))
    assert image.get_clim()[1] > 0


def texts(labels):
    return [label.get_text() for label in labels]


def test_names():
    names = [f"name {i}" for i in range(5)]
    data = found([[0, 3], [1, 4]], 5, names)
    axes, *_ = parts(plotting.class_covariance(data))
    expected = [names[i] for i in (0, 3, 1, 4, 2)]
    assert texts(axes.get_xticklabels()) == expected
    assert texts(axes.get_yticklabels()) == expected
    assert axes.get_title() == "5 classes, 2 sets, 1 classes in none"
    assert axes.get_xlabel() == axes.get_ylabel() == "class"


def test_numbers_stand_for_missing_names():
    axes, *_ = parts(plotting.class_covariance(found([[0, 3], [1, 4]], 5)))
    assert texts(axes.get_yticklabels()) == ["0", "3", "1", "4", "2"]


@pytest.mark.parametrize("classes, each", [(40, True), (41, False)])
def test_sets_are_named_where_classes_are_too_many(classes, each):
    names = [f"name {i}" for i in range(classes)]
    sets = [list(range(20)), list(range(5)), list(range(18, classes - 2))]
    axes, *_ = parts(plotting.class_covariance(found(sets, classes, names)))
    shown = texts(axes.get_xticklabels())
    assert shown == (names if each else ["0", "2", "none"])
    assert axes.get_title() == (
        f"{classes} classes, 3 sets, 1 of them within earlier ones, "
        "2 classes in none"
    )


def test_each_block_has_the_number_of_its_set_and_names_that_fit():
    names = [f"a longer name, {i}" for i in range(100)]
    sets = [list(range(50)), [3, 7], [50, 51], list(range(52, 100))]
    axes, *_ = parts(plotting.class_covariance(found(sets, 100, names)))
    assert texts(axes.get_xticklabels()) == ["0", "2", "3"]
    np.testing.assert_allclose(axes.get_xticks(), [24.5, 50.5, 75.5])
    np.testing.assert_allclose(axes.get_yticks(), [24.5, 50.5, 75.5])
    first, small, last = texts(axes.get_yticklabels())
    assert first.startswith("0:  a longer name, 0, a longer")
    assert small == "2:  a longer name, 50, a longer …"
    assert last.count("\n") > 10
    for label in (axes.get_xlabel(), axes.get_ylabel()):
        assert label == "number of the first set that has the class"


@pytest.mark.parametrize("names", [None, [f"name {i}" for i in range(300)]])
def test_labels_do_not_overlap(names):
    """Sets of one class need more room than they have."""
    sets = [[i] for i in range(150)] + [list(range(150, 300))]
    figure = plotting.class_covariance(found(sets, 300, names))
    figure.draw_without_rendering()
    axes, *_ = parts(figure)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        pairs = zip(boxes, boxes[1:], strict=False)
        assert len(boxes) > 10
        assert not any(a.overlaps(b) for a, b in pairs)
        assert labels[-1].get_text().startswith("150")


def test_means_of_many_classes(monkeypatch):
    monkeypatch.setattr(_covariance, "_DRAWN", 3)
    monkeypatch.setattr(_covariance, "_NAMED", 3)
    data = found([[0, 3, 5], [1, 4]], 7)
    axes, image, _ = parts(plotting.class_covariance(data))
    order = [0, 3, 5, 1, 4, 2, 6]
    c = ordered(data.covariance, order)
    np.fill_diagonal(c, 0)
    cuts = [slice(0, 3), slice(3, 6), slice(6, 7)]
    expected = [[c[a, b].mean() for b in cuts] for a in cuts]
    np.testing.assert_allclose(image.get_array(), expected)
    assert [line.get_ydata()[0] for line in axes.lines[::2]] == pytest.approx(
        [3 / 3 - 0.5, 5 / 3 - 0.5]
    )
    assert axes.get_title().endswith("means over 3 x 3")
    middles = np.array([3 / 2, 4, 6]) / 7 * len(expected) - 0.5
    np.testing.assert_allclose(axes.get_xticks(), middles)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_files(ending, tmp_path):
    path = tmp_path / f"picture.{ending}"
    plotting.class_covariance(found([[0, 1], [2]], 3), path)
    assert path.stat().st_size > 1000


def test_the_data_are_left_as_they_are():
    data = found([[0, 1], [2]], 3)
    before = data.covariance.copy()
    plotting.class_covariance(data)
    np.testing.assert_array_equal(data.covariance, before)


def test_pyplot_is_left_alone():
    loaded = "matplotlib.pyplot" in sys.modules
    plotting.class_covariance(found([[0, 1], [2]], 3))
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_a_notebook_shows_it_though_nobody_asked_for_pyplot():
    figure = plotting.class_covariance(found([[0, 1], [2]], 3))
    shown, _ = DisplayFormatter().format(figure)
    assert shown["image/png"].startswith(b"\x89PNG")
