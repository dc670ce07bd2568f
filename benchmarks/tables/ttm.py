"""Zheng and Yang 2024: TTM and WTTM, on three data."""

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.harness import load, mean_sd, paired, percent
from benchmarks.paper.ttm_wttm_arms import (
    ALONE,
    DKD,
    LABELS,
    MAIN,
    SOFT,
    TTM,
    WTTM,
)
from benchmarks.tables.formatting import (
    Row,
    count,
    difference,
    markdown,
    noted,
)

NAMES = {
    "MNIST": "ttm_wttm",
    "spoken digits": "ttm_wttm_speech",
    "CIFAR-10 as JPEG": "ttm_wttm_cifar",
}


def gap(found: dict, one: str, other: str, score: str = "errors") -> dict:
    """The paired difference of two arms."""
    return paired(*(found[arm][score]["values"] for arm in (one, other)))


def seeds_of(found: dict) -> str:
    return str(len(found["values"]))


def closed(result: dict, arm: str) -> float:
    """The share of the gap between labels and teacher."""
    labels, own = (
        result["test"][name]["errors"]["mean"] for name in (LABELS, arm)
    )
    return (labels - own) / (labels - result["teacher"]["errors"])


def table(data: str) -> str:
    """All arms as tuned, on test images."""
    result = load(NAMES[data])
    header = ["arm", "setting", "test errors", "of the gap", "less KD"]
    header += ["entropy", "NLL, calibrated", "ECE, calibrated"]
    rows = [arm_row(result, arm) for arm in result["test"]]
    teacher = result["teacher"]
    rows.append(
        ["teacher", "", str(teacher["errors"]), "", "", ""]
        + [before_and_after(teacher, score) for score in ("nll", "ece")]
    )
    environments = result["environments of the runs"]
    return noted(
        markdown(header, rows), *environments, before=note(result, data)
    )


def arm_row(result: dict, arm: str) -> Row:
    found = result["test"][arm]
    means = {name: one["mean"] for name, one in found.items() if "mean" in one}
    return [
        arm,
        f"`{found['method']}`",
        count(found["errors"]),
        "" if arm == LABELS else f"{closed(result, arm):.0%}",
        "" if arm == SOFT else difference(gap(result["test"], arm, SOFT)),
        f"{means['student_entropy']:.2f}",
        *(before_and_after(means, score) for score in ("nll", "ece")),
    ]


def before_and_after(scores: dict, score: str) -> str:
    return f"{scores[score]:.3f}, {scores[f'{score}, calibrated']:.3f}"


def note(result: dict, data: str) -> str:
    seeds = seeds_of(result["test"][LABELS]["errors"])
    return (
        f"Students of {data}; means and standard deviations over {seeds} seeds "
        f"on {result['test_images']:,} test examples, differences seed by seed "
        "with a 95 % interval; settings chosen on "
        f"{result['held_out_images']:,} held-out training ones; entropy, NLL "
        "in nats; before and after one temperature was fitted on those; by "
        f"`python -m benchmarks.paper.{NAMES[data]}` on "
    )


def wrong_and_few() -> str:
    """Test errors with and without the labels' term."""
    result = load(NAMES["MNIST"])
    parts = {
        f"{float(share):.0%} {what}": found
        for name, what in (("wrong", "wrong"), ("few", "of the images"))
        for share, found in result[name].items()
    }
    rows = [
        [arm, *(count(found[arm]["errors"]) for found in parts.values())]
        for arm in (LABELS, *MAIN, *ALONE.values())
    ]
    return markdown(["MNIST, test errors", *parts], rows)


def flatness() -> str:
    """How much of each map is as good as its best cell."""
    result = load(NAMES["MNIST"])
    rows = []
    for arm, found in result["heat"].items():
        cells = [
            (t, w, cell["held-out errors"])
            for t, row in found.items()
            for w, cell in row.items()
        ]
        t, w, best = min(cells, key=lambda cell: cell[2]["mean"])
        near = sum(near_best(cell, best) for *_, cell in cells)
        share = f"{near} of {len(cells)}"
        worst = max(cell["mean"] for *_, cell in cells)
        rows.append([arm, t, w, mean_sd(best, 0), share, f"{worst:.0f}"])
    header = ["loss", "best T", "best weight", "held-out errors"]
    return markdown([*header, "within 5 %", "worst"], rows)


def near_best(cell: dict, best: dict) -> bool:
    return cell["mean"] <= 1.05 * best["mean"]


def defaults() -> str:
    """What a Distiller takes by itself, beside the best candidate."""
    results = {data: load(NAMES[data]) for data in ("MNIST", "spoken digits")}
    temperatures = results["MNIST"]["size"]["starting_temperatures"]
    rows = []
    for data, result in results.items():
        labels = fewest(result, LABELS)
        for arm, found in result["defaults"].items():
            own = [f"{found[f'{t:g}']['mean']:.0f}" for t in temperatures]
            best = fewest(result, arm)
            rows.append([data, arm, f"{labels:.0f}", f"{best:.0f}", *own])
    header = ["held-out errors", "loss", "labels, best", "best candidate"]
    by_default = [f"as it is, T = {t:g}" for t in temperatures]
    return markdown([*header, *by_default], rows)


def fewest(result: dict, arm: str) -> float:
    """The mean held-out errors of the best candidate."""
    return min(map(statistics.mean, result["tuning"][arm].values()))


def rule() -> str:
    """The best weights beside what the rule makes of them."""
    found: dict[str, Any] = load(NAMES["MNIST"])["rule"]
    rows = []
    for t, points in found.items():
        ours, theirs = (points[arm]["of the mean"] for arm in (TTM, WTTM))
        said = ours / points["power sum"]
        numbers = points["power sum"], ours, said, theirs
        rows.append([t, *(f"{number:.2f}" for number in numbers)])
    header = ["T", "mean power sum", "best beta of TTM", "by the rule, of WTTM"]
    return markdown([*header, "best beta of WTTM"], rows)


def finding() -> str:
    found = load(NAMES["MNIST"])["test"]
    labels, *arms = (count(found[arm]["errors"]) for arm in (LABELS, *MAIN))
    said = ", ".join(f"{n} from {a}" for n, a in zip(arms, MAIN, strict=True))
    return (
        "Of MNIST's 10,000 test images a student of 2 x 30 units gets "
        f"{labels} wrong from labels, {said}."
    )


def speech_finding() -> str:
    said = shares_right("spoken digits", (LABELS, *MAIN))
    return f"Of the frames of speech a student names rightly {said}."


def cifar_finding() -> str:
    said = shares_right("CIFAR-10 as JPEG", (LABELS, *MAIN, DKD))
    return f"Of CIFAR-10 as JPEG a convolutional student gets right {said}."


def shares_right(data: str, arms: Iterable[str]) -> str:
    result = load(NAMES[data])
    images, found = result["test_images"], result["test"]
    return ", ".join(
        f"{percent(accuracy(found[arm]['errors'], images))} from {arm}"
        for arm in arms
    )


def accuracy(errors: dict, images: int) -> dict:
    """Mean and deviation of the share that is right."""
    mean, sd = errors["mean"] / images, errors["sd"]
    return {"mean": 1 - mean, "sd": None if sd is None else sd / images}
