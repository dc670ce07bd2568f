"""The picture of `spoken_digits.py`, from its JSON."""

from typing import Any

import numpy as np

from benchmarks.harness import new_figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
SINGLE, ENSEMBLE, DISTILLED = "#555555", "#009E73", "#0072B2"
TITLES = {
    "takes": "known speakers, new takes\n({} seeds)",
    "speakers": "speakers never heard\n({} pairs of speakers)",
}
BETTER = {"frame_accuracy": "higher", "utterance_error": "lower"}


def figure(result: dict) -> Any:
    """Both measures below each other, one column for each kind of folds."""
    kinds = [kind for kind in TITLES if kind in result]
    drawn = new_figure(7.5 * len(kinds), 9)
    axes = drawn.subplots(2, len(kinds), squeeze=False)
    for column, kind in zip(axes.T, kinds, strict=True):
        found = result[kind]
        column[0].set_title(TITLES[kind].format(len(found["folds"])))
        for panel, metric in zip(column, BETTER, strict=True):
            plot_metric(panel, found, metric)
    drawn.suptitle(
        "Ensembles of 10 networks, and single networks distilled from them, "
        "against the mean of the 10 (dashed)\n"
        "dots: seeds or pairs of speakers; bars: mean ± standard deviation"
    )
    return drawn


def plot_metric(axes: Any, found: dict, metric: str) -> None:
    """Differences from the mean of the fold's single networks, in points."""
    base = np.array(found["arms"]["single"][metric]["values"])
    arms = [arm for arm in found["arms"] if arm != "single"]
    axes.axhline(0, color=SINGLE, linestyle="--")
    for place, arm in enumerate(arms):
        values = np.array(found["arms"][arm][metric]["values"])
        colour = DISTILLED if arm.startswith("distilled") else ENSEMBLE
        plot_arm(axes, place, 100 * (values - base), colour)
    labels = [
        arm.replace(", ", "\n") if "," in arm else f"ensemble,\n{arm}"
        for arm in arms
    ]
    axes.set_xticks(range(len(arms)), labels)
    axes.set(xlim=(-0.5, len(arms)))
    name, better = metric.replace("_", " "), BETTER[metric]
    axes.set_ylabel(
        f"{name}, {better} is better\n"
        f"points above single networks ({100 * base.mean():.1f} %)"
    )
    axes.spines[["top", "right"]].set_visible(False)


def plot_arm(axes: Any, place: int, points: np.ndarray, colour: str) -> None:
    spread = np.linspace(-0.12, 0.1, len(points))
    axes.plot(place + spread, points, "o", color=colour, alpha=0.5)
    mean, sd = points.mean(), points.std(ddof=min(1, len(points) - 1))
    axes.errorbar(place + 0.2, mean, sd, fmt="D", color=colour, capsize=4)
    axes.text(
        place + 0.28,
        mean,
        f"{mean:+.2f}",
        va="center",
        color=colour,
        fontsize=11,
        # The dashed line would strike it through.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
