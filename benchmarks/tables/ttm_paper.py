"""The accuracies of Zheng and Yang 2024 beside ours."""

from benchmarks.harness import load, percent
from benchmarks.paper.ttm_wttm_arms import ALONE, LABELS, MAIN, WTTM
from benchmarks.tables.formatting import Row, markdown
from benchmarks.tables.ttm import NAMES, accuracy

ARMS = (LABELS, *MAIN, ALONE[WTTM])
# Of CIFAR-100, in percent: the teacher, and students by `ARMS`.
PAIRS = {
    "WRN-40-2, WRN-16-2": (75.61, 73.26, 74.92, 76.23, 76.37, 75.11),
    "WRN-40-2, WRN-40-1": (75.61, 71.98, 73.54, 74.32, 74.58, 73.16),
    "ResNet56, 20": (72.34, 69.06, 70.66, 71.83, 71.92, 70.95),
    "ResNet110, 20": (74.31, 69.06, 70.67, 71.46, 71.67, 70.71),
    "ResNet110, 32": (74.31, 71.14, 73.08, 73.97, 74.13, 73.21),
    "ResNet32x4, 8x4": (79.42, 72.50, 73.33, 76.17, 76.06, 72.94),
    "VGG13, 8": (74.64, 70.36, 72.98, 74.33, 74.44, 74.04),
}


def table() -> str:
    """Teacher and students of each pair, the paper's and ours."""
    rows = [
        [f"paper: CIFAR-100, {pair}", *(f"{value:.1f}%" for value in values)]
        for pair, values in PAIRS.items()
    ]
    rows += [ours(data) for data in NAMES]
    return markdown(["data", "teacher", *ARMS], rows)


def ours(data: str) -> Row:
    """Test accuracies; an arm that was not tried is left blank."""
    result = load(NAMES[data])
    count, students = result["test_images"], result["test"]
    teacher = 1 - result["teacher"]["errors"] / count
    found = [
        percent(accuracy(students[arm]["errors"], count), 2)
        if arm in students
        else ""
        for arm in ARMS
    ]
    return [f"here: {data}", f"{teacher:.2%}", *found]
