"""All losses on one task."""

from typing import Any

from benchmarks.harness import load, percent
from benchmarks.methods_arms import LABELS, SOFT_TARGETS
from benchmarks.tables.digits import calibrated
from benchmarks.tables.formatting import Row, markdown, noted

_NAME = "methods"


def table() -> str:
    result = load(_NAME)
    header = ["loss", "setting", "test accuracy", f"less {SOFT_TARGETS}"]
    header += ["agrees with teacher", "NLL, calibrated", "ECE, calibrated"]
    header += [f"step / {SOFT_TARGETS}"]
    rows = [row(name, result) for name in result["test"]]
    return noted(
        markdown(header, rows), result["environment"], before=note(result)
    )


def row(name: str, result: dict) -> Row:
    found = result["test"][name]
    base = name == SOFT_TARGETS
    return [
        name.replace(", ", " + "),
        setting(result["tuning"][name][0]["values"]),
        percent(found["accuracy"]),
        "" if base else points(found["over soft targets"]),
        percent(found["agreement"]),
        calibrated(found, "nll"),
        calibrated(found, "ece"),
        f"{result['time'][name]:.2f}",
    ]


def setting(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def points(found: dict) -> str:
    """A difference of accuracies, and half of its interval."""
    mean, half = 100 * found["mean"], 100 * found["half"]
    return f"{mean:+.1f} ± {half:.1f}"


def note(result: dict) -> str:
    size, teacher = result["size"], result["test"][LABELS]["teacher"]
    large, small = (result["parameters"][m] for m in ("teacher", "student"))
    return (
        f"A teacher of {large:,} weights gets {teacher:.1%} right; "
        f"students of {small:,}, {result['transfer_images']} "
        f"images, {size['steps']:,} steps; means and standard deviations over "
        f"{size['seeds']} seeds on {result['test_images']} test images, "
        "differences in points, seed by seed, with a 95 % interval; settings "
        "chosen on held-out training images; by `python -m benchmarks.methods` "
        "on "
    )


def clearly(result: dict, sign: int) -> int:
    """How many losses differ from soft targets by more than the interval."""
    others = [
        found["over soft targets"]
        for name, found in result["test"].items()
        if name not in (LABELS, SOFT_TARGETS)
    ]
    return sum(sign * found["mean"] > found["half"] for found in others)


def finding() -> str:
    result = load(_NAME)
    labels, soft = (
        percent(result["test"][name]["accuracy"])
        for name in (LABELS, SOFT_TARGETS)
    )
    return (
        f"From labels a student gets {labels} of the test images right, from "
        f"soft targets {soft}. Of {len(result['test']) - 2} other losses and "
        f"sums of losses, each tuned as long, {clearly(result, 1)} are clearly "
        f"better, {clearly(result, -1)} clearly worse."
    )
