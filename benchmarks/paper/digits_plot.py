"""The picture of `digits.py`, from its JSON."""

from typing import Any

import numpy as np

from benchmarks.harness import new_figure, softmax

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ["#555555", "#0072B2", "#D55E00"]
TEACHER_COLOUR = "#009E73"
TEMPERATURES = {1: "#56B4E9", 4: "#0072B2"}


def answers(logits: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict:
    """What the teacher says of three test images, and in the mean of all."""
    soft = softmax(logits, 4.0)
    chosen = telling_examples(logits, y)
    return {
        "examples": [
            {
                "label": int(y[i]),
                "pixels": np.round(16 * x[i]).astype(int).tolist(),
                "logits": [round(float(z), 3) for z in logits[i]],
            }
            for i in chosen
        ],
        "mean soft targets in percent, temperature 4": [
            [round(100 * float(p), 2) for p in soft[y == digit].mean(axis=0)]
            for digit in range(10)
        ],
    }


def telling_examples(
    logits: np.ndarray, digits: np.ndarray, count: int = 3
) -> np.ndarray:
    """Images that the teacher is sure of, with the clearest second choice."""
    sure = softmax(logits, 1.0)[np.arange(len(digits)), digits] > 0.8
    second = np.sort(softmax(logits, 4.0), axis=-1)[:, -2]
    order = np.argsort(np.where(sure, -second, 0))
    _, first = np.unique(digits[order], return_index=True)
    return order[np.sort(first)[:count]]


def figure(result: dict) -> Any:
    """Three answers of the teacher, which digits look alike, accuracies."""
    drawn = new_figure(17, 6)
    left, middle, right = drawn.subfigures(
        1, 3, width_ratios=[1, 1.05, 0.95], wspace=0.04
    )
    shown = result["picture"]
    plot_examples(left, shown["examples"])
    mean = shown["mean soft targets in percent, temperature 4"]
    plot_similar_digits(middle, np.array(mean))
    plot_accuracies(right, result)
    return drawn


def plot_examples(figure: Any, examples: list[dict]) -> None:
    figure.suptitle("What the teacher says about three test images")
    rows = figure.subplots(3, 2, width_ratios=[1, 2.3])
    for (image, bars), example in zip(rows, examples, strict=True):
        image.imshow(np.reshape(example["pixels"], (8, 8)), cmap="gray_r")
        image.set(xticks=[], yticks=[])
        image.set_title(f"label: {example['label']}", fontsize=12)
        plot_probabilities(bars, np.array(example["logits"]))
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.95), "ncols": 2}
    rows[0, 1].legend(**above, frameon=False, handlelength=1, columnspacing=1)
    rows[-1, 1].set_xlabel("digit")


def plot_probabilities(axes: Any, logits: np.ndarray) -> None:
    digits = np.arange(10)
    places = zip((-0.2, 0.2), TEMPERATURES.items(), strict=True)
    for offset, (t, colour) in places:
        p = softmax(logits, t)
        label = f"temperature {t}"
        axes.bar(digits + offset, p, 0.4, color=colour, label=label)
    axes.set(xticks=digits, ylim=(0, 1), ylabel="probability")
    axes.spines[["top", "right"]].set_visible(False)


def plot_similar_digits(figure: Any, mean: np.ndarray) -> None:
    shown = np.where(np.eye(10, dtype=bool), np.nan, mean)
    axes = figure.subplots()
    axes.imshow(shown, cmap="Blues", vmin=0)
    for (row, column), value in np.ndenumerate(mean):
        dark = row != column and value > 0.6 * np.nanmax(shown)
        colour = "white" if dark else "0.55" if row == column else "black"
        axes.text(
            column, row, f"{value:.0f}", ha="center", va="center", color=colour
        )
    figure.suptitle("Which digits look alike: mean soft target")
    axes.set_title("percent, temperature 4, all test images", fontsize=12)
    axes.set(xticks=range(10), yticks=range(10))
    axes.set(xlabel="probability given to", ylabel="true digit")


def plot_accuracies(figure: Any, result: dict) -> None:
    axes = figure.subplots()
    arms = result["arms"]
    for place, (arm, colour) in enumerate(
        zip(arms.values(), COLOURS, strict=True)
    ):
        plot_arm(axes, place, 100 * np.array(arm["accuracies"]), colour)
    teacher = 100 * result["teacher"]["accuracy"]
    axes.axhline(teacher, color=TEACHER_COLOUR, linestyle="--")
    place = {"va": "bottom", "color": TEACHER_COLOUR}
    axes.text(-0.35, teacher, f"teacher {teacher:.1f}", **place)
    axes.set_xticks(range(len(arms)), arms)
    axes.set(xlim=(-0.4, 2.75), ylabel="test accuracy in percent")
    images = result["transfer_images"]
    figure.suptitle(f"Students trained on {images} images")
    axes.set_title(
        "dots: seeds; bars: mean ± standard deviation\n"
        "the vertical axis does not begin at 0",
        fontsize=12,
    )
    axes.spines[["top", "right"]].set_visible(False)


def plot_arm(axes: Any, place: int, values: np.ndarray, colour: str) -> None:
    mean, sd = values.mean(), values.std(ddof=1)
    spread = np.linspace(-0.16, 0.16, len(values))
    axes.plot(place + spread, values, "o", color=colour, alpha=0.55)
    axes.errorbar(place + 0.28, mean, sd, fmt="D", color=colour, capsize=5)
    axes.text(place + 0.37, mean, f"{mean:.1f}", va="center", color=colour)
