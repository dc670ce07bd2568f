"""The pictures say what one needs to read them; drawn from committed JSON."""

import numpy as np
import pytest

from benchmarks.harness import RESULTS, draw, load
from benchmarks.paper import (
    digits_plot,
    hinton_mnist_plot,
    regularizers_plot,
    specialists,
    specialists_distilled_plot,
    spoken_digits_plot,
    ttm_wttm_cifar_plot,
    ttm_wttm_plot,
    ttm_wttm_speech_plot,
)

pytestmark = pytest.mark.benchmark

FIGURES = {
    "digits": digits_plot.figure,
    "hinton_mnist": hinton_mnist_plot.figure,
    "soft_targets_as_regularizers": regularizers_plot.figure,
    "specialists": specialists.figure,
    "specialists_distilled": specialists_distilled_plot.figure,
    "spoken_digits": spoken_digits_plot.figure,
    "ttm_wttm": ttm_wttm_plot.figure,
    "ttm_wttm_speech": ttm_wttm_speech_plot.figure,
    "ttm_wttm_cifar": ttm_wttm_cifar_plot.figure,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_is_drawn_from_its_result_alone(name, tmp_path):
    result = (RESULTS / f"{name}.json").read_bytes()
    (tmp_path / f"{name}.json").write_bytes(result)
    draw(name, FIGURES[name], tmp_path)
    png = (tmp_path / f"{name}.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) < 150_000
    assert (RESULTS / f"{name}.png").stat().st_size < 150_000


def all_panels(name):
    return FIGURES[name](load(name)).axes


def words(axes):
    texts = [text.get_text() for text in axes.texts]
    return " ".join([axes.get_title(), axes.get_ylabel(), *texts])


@pytest.mark.parametrize("panel, units", [(0, "30"), (1, "300"), (2, "800")])
def test_temperatures_are_set_beside_teacher_and_labels(panel, units):
    result = load("hinton_mnist")
    axes = all_panels("hinton_mnist")[panel]
    seeds = len(result["temperature"][units]["4"]["values"])
    assert axes.get_title() == f"{units} units per layer, {seeds} seeds"
    heights = [
        line.get_ydata()[0]
        for line in axes.lines
        if line.get_linestyle() == "--"
    ]
    labels, teacher = result["labels"][units], result["teachers"]["test"]
    assert heights == [labels["mean"], teacher["mean"]]
    assert f"labels alone: {labels['mean']:.0f} (5 seeds)" in words(axes)
    assert f"teacher: {teacher['mean']:.0f} (3 seeds)" in words(axes)
    low, high = axes.get_ylim()
    assert low < min(heights) and max(heights) < high


def test_spoken_digits_say_where_better_is():
    for axes in all_panels("spoken_digits"):
        assert "state error, lower is better" in axes.get_ylabel()


def test_an_axis_that_does_not_begin_at_zero_says_so():
    *_, accuracies = all_panels("digits")
    assert accuracies.get_ylim()[0] > 80
    assert "does not begin at 0" in words(accuracies)


def test_specialists_are_drawn_as_they_were_found():
    result = load("specialists")
    axes = all_panels("specialists")[0]
    covered = np.bincount(
        np.concatenate(result["picture"]["class_sets"]), minlength=100
    )
    expected = result["seeds"][0]["classes by cover"]
    assert np.bincount(covered).tolist() == expected
    assert (
        axes.get_title()
        == "100 classes, 20 sets, 5 of them within earlier ones"
    )
    values = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(values, values.T)


@pytest.mark.parametrize("panel", [0, 1])
def test_students_are_set_beside_generalist_and_specialists(panel):
    result = load("specialists_distilled")
    axes = all_panels("specialists_distilled")[panel]
    teacher = result["teacher"]
    accuracy = 100 * teacher["specialists"]["mean"]
    cost = teacher["multiplications"]["mean"]
    assert f"{accuracy:.1f} %, {cost:,.0f}" in words(axes)
    points = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if line.get_marker() == "D"
    ]
    assert points == [(cost, accuracy)]


def test_each_arm_is_a_line_of_its_own_colour_in_a_panel():
    for axes in all_panels("specialists_distilled"):
        lines, _ = axes.get_legend_handles_labels()
        looks = {(line.get_color(), line.get_linestyle()) for line in lines}
        assert len(looks) == len(lines) >= 3
