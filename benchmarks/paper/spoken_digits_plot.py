"""The picture of `spoken_digits.py`, from its JSON."""

import textwrap
from typing import Any

import numpy as np

from benchmarks.harness import new_figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
SINGLE, ENSEMBLE, DISTILLED = "#555555", "#009E73", "#0072B2"
TITLES = {
    "all takes": "members have heard all takes",
    "even takes": "members have heard half of the takes",
}


def figure(result: dict) -> Any:
    """State errors, a panel for each sort of members."""
    wide = [len(result[takes]["state error"]) for takes in TITLES]
    drawn = new_figure(1.45 * sum(wide), 5)
    panels = drawn.subplots(1, 2, sharey=True, width_ratios=wide)
    for axes, (takes, title) in zip(panels, TITLES.items(), strict=True):
        axes.set_title(title)
        plot_errors(axes, result[takes]["state error"])
    seeds = len(result["all takes"]["gain"]["values"])
    drawn.suptitle(
        "Ensembles, and single networks distilled from them, against the mean "
        f"of their members (dashed)\ndots: seeds, of which there "
        f"{'is 1' if seeds == 1 else f'are {seeds}'}; bars: mean ± standard "
        "deviation"
    )
    return drawn


def plot_errors(axes: Any, found: dict) -> None:
    """Differences from the mean of the seed's single networks, in points."""
    base = np.array(found["single"]["values"])
    arms = [arm for arm in found if arm != "single"]
    axes.axhline(0, color=SINGLE, linestyle="--")
    for place, arm in enumerate(arms):
        points = 100 * (np.array(found[arm]["values"]) - base)
        colour = ENSEMBLE if arm.startswith("ensemble") else DISTILLED
        plot_arm(axes, place, points, colour)
    labels = [textwrap.fill(arm, 14) for arm in arms]
    axes.set_xticks(range(len(arms)), labels, fontsize=10)
    axes.set(xlim=(-0.5, len(arms)))
    axes.set_ylabel(
        "state error, lower is better\n"
        f"points above single networks ({100 * base.mean():.1f} %)",
        labelpad=10,
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
