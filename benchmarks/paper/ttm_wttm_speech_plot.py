"""The picture of `ttm_wttm_speech.py`, from its JSON."""

from typing import Any

from benchmarks.harness import new_figure
from benchmarks.paper.ttm_wttm_plot import arms, calibration, curve


def figure(result: dict) -> Any:
    """Test errors of each arm beside KD's, calibration, and more updates."""
    drawn = new_figure(17, 5)
    left, middle, right = drawn.subplots(1, 3)
    arms(left, result["test"])
    calibration(middle, result["test"])
    curve(right, result)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn
