"""What the studies say of distillation that does not help, check by check."""

from collections.abc import Callable

from benchmarks.harness import load, percent
from benchmarks.paper.hinton_mnist_methods import LABELS, SOFT
from benchmarks.tables.formatting import count


def teacher() -> str:
    """Students that labels alone make better than the teacher is."""
    result = load("specialists_distilled")
    units, student = next(
        (units, one)
        for units, one in result["students"].items()
        if better_than_teacher(one, result)
    )
    labels, soft = (
        percent(student["arms"][arm]["accuracy"])
        for arm in ("labels", "soft targets")
    )
    found = percent(result["teacher"]["specialists"])
    return (
        f"A teacher is right on {found} of pairs of digits. A student of "
        f"{units} units gets {soft} from its soft targets, and {labels} from "
        "the labels that the teacher had."
    )


def better_than_teacher(student: dict, result: dict) -> bool:
    labels = student["arms"]["labels"]["accuracy"]["mean"]
    return labels > result["teacher"]["specialists"]["mean"]


def views() -> str:
    result = load("hinton_mnist")
    teacher, plain, shifted, labels = map(
        count,
        [
            result["teachers"]["test"],
            result["students"][SOFT],
            result["beyond"]["shifted images"],
            result["students"][LABELS],
        ],
    )
    return (
        f"On MNIST a teacher that learned from shifted images makes {teacher} "
        f"errors, its student of plain images {plain}, and its student of "
        f"shifted images, each seen by both, {shifted}; from labels, {labels}."
    )


def updates() -> str:
    curve = load("hinton_mnist")["curve"]
    few, enough = "1200", "36000"
    labels, soft = curve[LABELS], curve[SOFT]
    return (
        f"On MNIST, {int(few):,} updates from soft targets leave {soft[few]} "
        f"held-out errors, and from labels {labels[few]}. With "
        f"{int(enough):,} it is {soft[enough]} and {labels[enough]}: labels "
        "are done early, soft targets are not."
    )


def temperature() -> str:
    result = load("hinton_mnist")
    points, labels = result["temperature"]["30"], result["labels"]["30"]
    low, high = (count(points[t]) for t in ("3", "20"))
    return (
        f"On MNIST a student of 30 units makes {low} errors at T = 3, {high} "
        f"at T = 20, and {count(labels)} from labels. For 300 and 800 units "
        "all T from 2 to 20 are alike."
    )


def calibration() -> str:
    arm = load("digits")["arms"]["WTTM"]
    nll, ece = (
        [arm[f"{score}{state}"]["mean"] for state in ("", "_calibrated")]
        for score in ("nll", "ece")
    )
    return (
        "On the digits of scikit-learn a student of WTTM has, before and after "
        f"one temperature is fitted, an NLL of {nll[0]:.3f} and {nll[1]:.3f} "
        f"nats and an ECE of {ece[0]:.3f} and {ece[1]:.3f}."
    )


# A finding, and the page that has more.
CHECKS: dict[str, tuple[Callable[[], str], str]] = {
    "teacher": (teacher, "benchmarks/paper/README.md#specialists"),
    "views": (views, "benchmarks/paper/README.md#mnist"),
    "updates": (updates, "benchmarks/paper/README.md#mnist"),
    "temperature": (temperature, "benchmarks/paper/README.md#mnist"),
    "calibration": (calibration, "README.md"),
}
