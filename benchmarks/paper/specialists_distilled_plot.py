"""The picture of `specialists_distilled.py`, from its JSON."""

from typing import Any

import numpy as np

from benchmarks.harness import new_figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {
    "labels": "#555555",
    "soft targets": "#0072B2",
    "soft targets and labels": "#E69F00",
    "a tenth of the labels": "#555555",
    "soft targets and a tenth of the labels": "#E69F00",
}
TEACHER = "#009E73"
PANELS = {
    "labels of all pairs": [
        "labels",
        "soft targets",
        "soft targets and labels",
    ],
    "labels of a tenth": [
        "a tenth of the labels",
        "soft targets",
        "soft targets and a tenth of the labels",
    ],
}


def figure(result: dict) -> Any:
    """Accuracy over cost, for all labels and for a tenth; and over updates."""
    sizes = result["size"]["curve_units"]
    columns = max(len(PANELS), len(sizes))
    drawn = new_figure(6.6 * columns, 10.6)
    panels = drawn.subplots(2, columns, squeeze=False)
    for axes, (title, arms) in zip(panels[0], PANELS.items(), strict=False):
        by_cost(axes, result, arms)
        axes.set_title(title)
    for axes, units in zip(panels[1], result["curve"], strict=False):
        by_updates(axes, result, units)
    for axes in panels.ravel():
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_visible(axes.has_data())
    drawn.suptitle(
        "Students of one layer, from specialists that share a generalist of "
        "8 units.\nHigher is better. The vertical axes differ, and do not "
        "begin at 0."
    )
    return drawn


def by_cost(axes: Any, result: dict, arms: list[str]) -> None:
    """One line for each arm, a dot for each seed."""
    students = result["students"]
    costs = [student["multiplications"] for student in students.values()]
    for name in arms:
        rows = [
            s["arms"][name]["accuracy"]["values"] for s in students.values()
        ]
        values = 100 * np.array(rows)
        colour = COLOURS[name]
        axes.plot(costs, values, ".", color=colour, alpha=0.5)
        axes.plot(costs, values.mean(axis=1), color=colour, label=name)
    teacher(axes, result["teacher"])
    axes.set_xscale("log")
    ticks = [
        f"{cost:,}\n{units} units"
        for cost, units in zip(costs, students, strict=True)
    ]
    axes.set_xticks(costs, ticks)
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlabel("multiplications for one pair")
    axes.set_ylabel("accuracy on test pairs, %")
    axes.legend(loc="lower right", frameon=False)


def teacher(axes: Any, found: dict) -> None:
    """Generalist and specialists, each where its cost is."""
    accuracy = 100 * found["specialists"]["mean"]
    cost = found["multiplications"]["mean"]
    axes.axhline(accuracy, color=TEACHER, linestyle="--")
    axes.plot(cost, accuracy, "D", color=TEACHER)
    axes.text(
        0.99,
        accuracy - 0.02 * np.ptp(axes.get_ylim()),
        f"generalist, specialists\n{accuracy:.1f} %, {cost:,.0f}",
        color=TEACHER,
        fontsize=10,
        ha="right",
        va="top",
        transform=axes.get_yaxis_transform(),
    )


def by_updates(axes: Any, result: dict, units: str) -> None:
    """Held-out accuracy, each point a whole run."""
    for name, points in result["curve"][units].items():
        updates = [int(n) for n in points]
        axes.plot(
            updates,
            [100 * value for value in points.values()],
            "o--" if "tenth" in name else "o-",
            color=COLOURS[name],
            label=name,
        )
    axes.axvline(result["size"]["updates"], color="#555555", linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks(updates, [f"{n:,}" for n in updates])
    axes.minorticks_off()
    axes.set_xlabel("updates of a whole run; dotted: those of all students")
    axes.set_ylabel("accuracy on held-out pairs, %")
    axes.set_title(f"{units} units, 1 seed")
    axes.legend(frameon=False, fontsize=10)
