"""A small student of 100 digits."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, markdown, noted


def table() -> str:
    result = load("digits")
    teacher = result["teacher"]
    accuracy = f"{teacher['accuracy']:.1%}"
    name = "teacher, trained on 1,200 images"
    rows = [[name, accuracy, "", "", "", *size(teacher)]]
    for name, arm in result["arms"].items():
        scores = [percent(arm["accuracy"]), percent(arm["agreement"])]
        scores += [calibrated(arm, score) for score in ("nll", "ece")]
        rows.append([f"student, 100 images, {name}", *scores, *size(arm)])
    header = ["digits", "test accuracy", "agrees with teacher"]
    header += ["NLL, calibrated", "ECE, calibrated", "parameters"]
    environment = {**result["hardware"], "versions": result["versions"]}
    return noted(
        markdown([*header, "file"], rows), environment, before=note(result)
    )


def calibrated(arm: dict, score: str) -> str:
    """A score before and after a temperature is fitted."""
    before, after = arm[score]["mean"], arm[f"{score}_calibrated"]["mean"]
    return f"{before:.3f}, {after:.3f}"


def size(model: dict) -> Row:
    return [f"{model['parameters']:,}", f"{model['bytes'] / 1000:.0f} kB"]


def note(result: dict) -> str:
    seeds = len(next(iter(result["arms"].values()))["seeds"])
    return (
        f"Mean and standard deviation over {seeds} seeds on "
        f"{result['test_images']} test images; settings chosen on held-out "
        "training images; NLL in nats and ECE before and after one temperature "
        "was fitted on 100 other images; by "
        "`python -m benchmarks.paper.digits` on "
    )


def finding() -> str:
    arms = load("digits")["arms"]
    labels, soft, wttm = (percent(arm["accuracy"]) for arm in arms.values())
    return (
        f"A student of 100 labelled images gets {labels} of the test images "
        f"right from labels alone, {soft} with soft targets and {wttm} with "
        "WTTM."
    )
