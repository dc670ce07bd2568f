"""The picture of `ttm_wttm_cifar.py`, from its JSON."""

from typing import Any

from benchmarks.harness import new_figure
from benchmarks.paper.ttm_wttm_plot import COLOURS, calibration


def figure(result: dict) -> Any:
    """Test accuracy of each arm, and calibration."""
    drawn = new_figure(11.5, 4)
    left, right = drawn.subplots(1, 2)
    accuracies(left, result)
    calibration(right, result["test"])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def accuracies(axes: Any, result: dict) -> None:
    """A dot for each seed, and the mean as a stroke; the teacher as a line."""
    images = result["test_images"]
    for i, (name, found) in enumerate(reversed(result["test"].items())):
        values = [100 * (1 - e / images) for e in found["errors"]["values"]]
        axes.plot(
            values, [i] * len(values), "o", color=COLOURS[name], alpha=0.5
        )
        mean = sum(values) / len(values)
        axes.plot(mean, i, "|", color=COLOURS[name], ms=18, mew=2)
    teacher = 100 * (1 - result["teacher"]["errors"] / images)
    axes.axvline(teacher, color="black", linestyle="--", label="teacher")
    axes.set_yticks(range(len(result["test"])), list(result["test"])[::-1])
    axes.set_xlabel(f"accuracy on {images:,} test images, %")
    axes.set_title(result["data"])
    axes.legend(frameon=False, fontsize=9, loc="lower center")
