"""The picture of `hinton_mnist.py`, from its JSON."""

import math
from typing import Any

import numpy as np

from benchmarks.harness import new_figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
SOFT, LABELS, TEACHER = "#0072B2", "#555555", "#009E73"
_COLUMNS = 2


def figure(result: dict) -> Any:
    """Errors over temperature for each width, and over the updates."""
    sizes = result["temperature"]
    rows = math.ceil((len(sizes) + 1) / _COLUMNS)
    drawn = new_figure(6.2 * _COLUMNS, 4.9 * rows)
    panels = drawn.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, units in zip(panels, sizes, strict=False):
        curve(axes, sizes[units])
        line(axes, result["labels"][units], "labels alone", LABELS)
        line(axes, result["teachers"]["test"], "teacher", TEACHER)
        seeds = len(next(iter(sizes[units].values()))["values"])
        axes.set_title(f"{units} units per layer, {seeds} seeds")
        axes.set_ylabel(f"errors on {result['test_images']:,} test images")
    converging(panels[len(sizes)], result)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    drawn.suptitle(
        "Students of soft targets alone; dots: seeds, bars: mean ± standard "
        "deviation.\nFewer errors are better. The vertical axes differ, and do "
        "not begin at 0."
    )
    return drawn


def curve(axes: Any, points: dict) -> None:
    temperatures = [float(t) for t in points]
    values = np.array([point["values"] for point in points.values()])
    for row, t in zip(values, temperatures, strict=True):
        axes.plot([t] * len(row), row, "o", color=SOFT, alpha=0.35)
    axes.errorbar(
        temperatures,
        values.mean(axis=1),
        values.std(axis=1, ddof=min(1, values.shape[1] - 1)),
        color=SOFT,
        capsize=4,
    )
    axes.set_xscale("log")
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.minorticks_off()
    axes.tick_params(axis="x", labelrotation=60)
    axes.set_xlabel("temperature")


def line(axes: Any, found: dict, name: str, colour: str) -> None:
    """The mean, named above low temperatures, where there are no dots."""
    mean, seeds = found["mean"], len(found["values"])
    axes.axhline(mean, color=colour, linestyle="--")
    plural = "" if seeds == 1 else "s"
    axes.text(
        0.33,
        mean,
        f"{name}: {mean:.0f} ({seeds} seed{plural})",
        color=colour,
        va="bottom",
        ha="center",
        transform=axes.get_yaxis_transform(),
    )


def converging(axes: Any, result: dict) -> None:
    """Held-out errors over the number of updates, each point a whole run."""
    colours = zip(result["curve"].items(), (LABELS, SOFT), strict=True)
    for (method, points), colour in colours:
        updates = [int(n) for n in points]
        axes.plot(updates, list(points.values()), "o-", color=colour)
        named = updates[(len(updates) - 1) // 2]
        axes.text(
            named,
            points[str(named)],
            f"{method} ",
            color=colour,
            va="bottom" if colour == LABELS else "top",
            ha="left" if colour == LABELS else "right",
        )
    axes.axvline(result["size"]["updates"], color=LABELS, linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks(updates, [f"{n:,}" for n in updates])
    axes.minorticks_off()
    axes.tick_params(axis="x", labelrotation=60)
    axes.set_xlabel("updates of a whole run; dotted: all other panels")
    axes.set_ylabel(f"errors on {result['held_out_images']:,} held-out images")
    axes.set_title(f"{result['size']['units'][0]} units per layer, 1 seed")
