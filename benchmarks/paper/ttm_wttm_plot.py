"""The picture of `ttm_wttm.py`, from its JSON."""

from typing import Any

import numpy as np

from benchmarks.harness import new_figure, paired
from benchmarks.paper.ttm_wttm_arms import (
    ALONE,
    DKD,
    LABELS,
    MAIN,
    SOFT,
    TTM,
    WTTM,
)

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {LABELS: "#555555", SOFT: "#0072B2", TTM: "#E69F00", WTTM: "#D55E00"}
COLOURS |= {DKD: "#009E73"}
COLOURS |= {name: COLOURS[arm] for arm, name in ALONE.items()}
GREY = "#555555"
ERRORS = "held-out errors"


def figure(result: dict) -> Any:
    """A panel for each question."""
    drawn = new_figure(15.5, 18)
    panels = drawn.subplots(4, 3)
    limits = extremes(result["heat"])
    for axes, arm in zip(panels[0], MAIN, strict=True):
        heat(axes, arm, result["heat"][arm], limits)
    arms(panels[1, 0], result["test"])
    by_temperature(panels[1, 1], result["entropy"], "student_entropy")
    by_temperature(panels[1, 2], result["entropy"], "divergence")
    teachers(panels[2, 0], result["teachers"])
    by_share(panels[2, 1], result["wrong"], "Wrong labels, for all")
    by_share(panels[2, 2], result["few"], "Few images for the student")
    calibration(panels[3, 0], result["test"])
    rule(panels[3, 1], result["rule"])
    curve(panels[3, 2], result)
    for axes in panels.ravel():
        axes.spines[["top", "right"]].set_visible(False)
    drawn.suptitle(
        f"Students of 2 x {result['size']['units']} units. Fewer errors are "
        "better; bars: mean ± standard deviation over seeds."
    )
    return drawn


def extremes(maps: dict) -> tuple[float, float]:
    """The fewest and the most errors on all maps, those far off cut."""
    cells = [
        cell[ERRORS]["mean"]
        for rows in maps.values()
        for row in rows.values()
        for cell in row.values()
    ]
    return min(cells), float(np.quantile(cells, 0.9))


def heat(axes: Any, arm: str, rows: dict, limits: tuple) -> None:
    """Errors over temperature and weight; the fewest in bold."""
    means = np.array(
        [
            [cell[ERRORS]["mean"] for cell in row.values()]
            for row in rows.values()
        ]
    )
    axes.imshow(means, cmap="viridis_r", vmin=limits[0], vmax=limits[1])
    middle = sum(limits) / 2
    for (i, j), mean in np.ndenumerate(means):
        axes.text(
            j,
            i,
            f"{mean:.0f}",
            ha="center",
            va="center",
            color="black" if mean < middle else "white",
            weight="bold" if mean == means.min() else "normal",
        )
    weights = list(next(iter(rows.values())))
    axes.set_xticks(range(len(weights)), weights)
    axes.set_yticks(range(len(rows)), list(rows))
    share = "share of the teacher, rest labels"
    axes.set_xlabel(share if arm == SOFT else "weight beside labels of 1")
    axes.set_ylabel("temperature")
    axes.set_title(f"{arm}: {ERRORS}")


def arms(axes: Any, found: dict) -> None:
    """Test errors less those of KD, seed by seed."""
    base = found[SOFT]["errors"]["values"]
    names = [name for name in found if name not in (SOFT, LABELS)][::-1]
    for i, name in enumerate(names):
        values = found[name]["errors"]["values"]
        gap = paired(values, base)
        low, high = gap["interval"]
        axes.plot(np.subtract(values, base), [i] * len(values), ".", color=GREY)
        axes.plot([low, high], [i, i], color=COLOURS.get(name, GREY), lw=3)
        axes.plot(gap["mean"], i, "D", color=COLOURS.get(name, GREY))
    axes.axvline(0, color=COLOURS[SOFT], linestyle="--")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("test errors less those of KD; bars: 95 % interval")
    labels = found[LABELS]["errors"]["mean"] - found[SOFT]["errors"]["mean"]
    axes.set_title(f"Arms as tuned (labels: {labels:+.0f})")


def by_temperature(axes: Any, found: dict, score: str) -> None:
    """With labels at the best weight, and without them."""
    x = [float(t) for t in found]
    for name in (*MAIN, *ALONE.values()):
        line(axes, x, [points[name][score] for points in found.values()], name)
    axes.set_xscale("log")
    axes.set_xticks(x, list(found))
    axes.minorticks_off()
    axes.set_xlabel("temperature")
    said = {"student_entropy": "entropy of students", "divergence": "D(p_T, q)"}
    axes.set_title(f"{said[score]}, held-out images, nats")
    axes.legend(frameon=False, fontsize=9)


def teachers(axes: Any, found: dict) -> None:
    x = [of["teacher"]["errors"] for of in found.values()]
    for name in (LABELS, *MAIN):
        line(axes, x, [of[name]["errors"] for of in found.values()], name)
    axes.invert_xaxis()
    units = [f"{n}\n{units} units" for n, units in zip(x, found, strict=True)]
    axes.set_xticks(x, units)
    axes.set_xlabel("test errors of the teacher")
    axes.set_title("Better teachers: test errors")
    axes.legend(frameon=False, fontsize=9)


def by_share(axes: Any, found: dict, title: str) -> None:
    x = np.arange(len(found))
    for i, name in enumerate((LABELS, *MAIN, *ALONE.values())):
        points = [of[name]["errors"] for of in found.values()]
        line(axes, x + 0.04 * (i - 3), points, name)
    axes.set_xticks(x, [f"{float(share):.0%}" for share in found])
    axes.set_title(f"{title}: test errors")
    axes.legend(frameon=False, fontsize=9)


def line(axes: Any, x: Any, points: list[dict], name: str) -> None:
    """Means and deviations; dashed without labels."""
    axes.errorbar(
        x,
        [point["mean"] for point in points],
        [point["sd"] or 0 for point in points],
        color=COLOURS[name],
        linestyle="--" if name in ALONE.values() else "-",
        marker="o",
        markersize=4,
        capsize=3,
        label=name,
    )


def calibration(axes: Any, found: dict) -> None:
    """The calibration error before and after a temperature is fitted."""
    for i, name in enumerate(reversed(found)):
        before, after = (
            found[name][score]["mean"] for score in ("ece", "ece, calibrated")
        )
        axes.plot([after, before], [i, i], color=GREY, lw=1)
        axes.plot(before, i, "o", color=COLOURS.get(name, GREY))
        axes.plot(after, i, "|", color=COLOURS.get(name, GREY), ms=12, mew=2)
    axes.set_yticks(range(len(found)), list(found)[::-1])
    axes.set_xscale("log")
    ticks = (0.003, 0.01, 0.03, 0.1, 0.3)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("dots: as trained; strokes: calibrated")
    axes.set_title("Expected calibration error, test")


def rule(axes: Any, found: dict) -> None:
    """The best weights over temperature, and what the rule makes of TTM's."""
    x = [float(t) for t in found]
    for arm in (TTM, WTTM):
        seeds = [points[arm]["of seeds"]["values"] for points in found.values()]
        for t, values in zip(x, seeds, strict=True):
            axes.plot([t] * len(values), values, ".", color=COLOURS[arm])
        best = [points[arm]["of the mean"] for points in found.values()]
        axes.plot(x, best, "o-", color=COLOURS[arm], label=f"best of {arm}")
    said = [of[TTM]["of the mean"] / of["power sum"] for of in found.values()]
    axes.plot(x, said, "x--", color=GREY, label="TTM's / mean power sum")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(x, list(found))
    axes.minorticks_off()
    axes.set_xlabel("temperature")
    axes.set_title("Best weight: lowest point of a parabola")
    axes.legend(frameon=False, fontsize=9)


def curve(axes: Any, result: dict) -> None:
    for name, points in result["curve"].items():
        x = [int(n) for n in points]
        line(axes, x, list(points.values()), name)
    axes.axvline(result["size"]["updates"], color=GREY, linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{n:,}" for n in x])
    axes.minorticks_off()
    axes.set_xlabel("updates of a whole run; dotted: those of all students")
    axes.set_title(ERRORS.capitalize())
    axes.legend(frameon=False, fontsize=9)
