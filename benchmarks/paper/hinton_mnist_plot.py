"""Draws hinton_mnist.png from hinton_mnist.json.

Command: python -m benchmarks.paper.hinton_mnist_plot
"""

import json
import pathlib

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt


def draw(path: pathlib.Path) -> None:
    """Errors over temperature, one panel for each number of units."""
    result = json.loads(path.read_text())
    plt.rcParams.update({"font.size": 12})
    sizes = result["temperature"]
    figure, panels = plt.subplots(
        1,
        len(sizes),
        figsize=(5 * len(sizes), 4.6),
        layout="constrained",
        squeeze=False,
    )
    for axes, (units, curve) in zip(panels[0], sizes.items(), strict=True):
        temperatures = [float(t) for t in curve]
        values = np.array([point["values"] for point in curve.values()])
        for row, t in zip(values, temperatures, strict=True):
            axes.plot([t] * len(row), row, "o", color="#0072B2", alpha=0.35)
        axes.errorbar(
            temperatures,
            values.mean(axis=1),
            values.std(axis=1, ddof=min(1, values.shape[1] - 1)),
            color="#0072B2",
            capsize=4,
        )
        axes.set_xscale("log")
        axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
        axes.minorticks_off()
        axes.tick_params(axis="x", labelrotation=60)
        axes.set(title=f"{units} units per layer", xlabel="temperature")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel(f"errors on {result['test_images']:,} test images")
    figure.suptitle(
        "Soft targets alone; dots: seeds, bars: mean ± standard deviation. "
        "The vertical axes differ."
    )
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(pathlib.Path(__file__).parents[1] / "results" / "hinton_mnist.json")
