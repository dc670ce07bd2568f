"""The picture of `soft_targets_as_regularizers.py`, from its JSON."""

from typing import Any

from benchmarks.harness import new_figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
STYLES = {
    "labels, early stopping": ("#999999", "s", "--"),
    "labels": ("#444444", "o", "-"),
    "soft targets": ("#0072B2", "o", "-"),
    "soft targets + labels": ("#56B4E9", "^", "--"),
    "soft targets + labels, clean teacher": ("#009E73", "D", "-"),
    "soft targets, noisy teacher": ("#0072B2", "o", "-"),
    "soft targets + labels, noisy teacher": ("#56B4E9", "^", "--"),
    "noisy teacher itself": ("#D55E00", "x", ":"),
}
TEACHER, WHOLE = "#D55E00", "#444444"


def figure(results: dict) -> Any:
    """Few labels above, wrong labels below."""
    drawn = new_figure(15, 11)
    axes = drawn.subplots(2, 2)
    few_labels(axes[0, 0], results["mnist"], "Few labels: MNIST")
    few_labels(
        axes[0, 1], results["spoken_digits"], "Few labels: frames of speech"
    )
    levels = results["label_noise"]["levels"]
    count = results["label_noise"]["plan"]["images"]
    title = f"Wrong labels: {count:,} images of MNIST"
    noise(axes[1, 0], levels, "test", title)
    noise(axes[1, 1], levels, "train, labels as given", title)
    axes[1, 0].set_ylabel("test accuracy, %")
    axes[1, 1].set_ylabel("training accuracy by the labels as given, %")
    right = [100 * (1 - float(level)) for level in levels]
    axes[1, 1].plot(
        [float(level) for level in levels],
        right,
        color="#bbbbbb",
        zorder=0,
        label="labels that are right",
    )
    axes[1, 1].legend(frameon=False, fontsize=10)
    seeds = len(next(iter(levels.values()))["labels"]["test"]["values"])
    drawn.suptitle(
        f"Students: mean and standard deviation over {seeds} seeds. "
        "The vertical axes do not begin at 0."
    )
    return drawn


def few_labels(axes: Any, result: dict, title: str) -> None:
    shares = {k: v for k, v in result["shares"].items() if k != "1.0"}
    for i, arm in enumerate(next(iter(shares.values()))):
        # Apart from each other, so that no error bar hides another.
        x = [float(k) * 1.04 ** (i - 1.5) for k in shares]
        points(axes, x, [v[arm]["test"] for v in shares.values()], arm)
    whole = result["shares"]["1.0"]["labels"]["test"]["mean"]
    lines = {
        f"student, labels of all data: {whole:.1%}": (whole, WHOLE),
        f"teacher, all data: {result['teacher']['test']:.1%}": (
            result["teacher"]["test"],
            TEACHER,
        ),
    }
    for name, (height, colour) in lines.items():
        axes.axhline(100 * height, color=colour, linestyle=":", label=name)
    ticks = [float(k) for k in shares]
    axes.set(xscale="log", title=title, ylabel="test accuracy, %")
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("share of the training data that the student sees")
    finish(axes)


def noise(axes: Any, levels: dict, score: str, title: str) -> None:
    arms = [arm for arm in STYLES if arm in list(levels.values())[-1]]
    for i, arm in enumerate(arms):
        known = {k: v[arm][score] for k, v in levels.items() if arm in v}
        x = [float(k) + 0.004 * (i - 2.5) for k in known]
        points(axes, x, list(known.values()), arm)
    ticks = [float(k) for k in levels]
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set(title=title, xlabel="share of wrong labels")
    finish(axes)


def points(axes: Any, x: list, scores: list[dict], arm: str) -> None:
    colour, marker, line = STYLES[arm]
    axes.errorbar(
        x,
        [100 * score["mean"] for score in scores],
        yerr=[100 * (score["sd"] or 0) for score in scores],
        color=colour,
        marker=marker,
        linestyle=line,
        capsize=3,
        label=arm,
    )


def finish(axes: Any) -> None:
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=10)
