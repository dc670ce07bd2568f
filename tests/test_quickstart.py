"""The quickstart does what it says: distillation helps, the student is free."""

import subprocess
import sys

import pytest
from scripts import percentages, run_example

pytestmark = pytest.mark.example

FRESH_PROCESS = """
import sys
sys.modules["keras_distill"] = None  # Importing it raises ImportError.
import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
x, y = load_digits(return_X_y=True)
_, x, _, y = train_test_split(
    x / 16, y, test_size=597, stratify=y, random_state=0
)
student = keras.models.load_model("student.keras")
assert type(student) is keras.Sequential
right = student.predict(x, verbose=0).argmax(axis=-1) == y
print(f"student.keras: {right.mean():.1%}")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def output(folder):
    return run_example("quickstart.py", folder)


def test_both_ways_of_distilling_beat_the_labels(output):
    # In 8 runs with other seeds and backends the gain was 2.3 points or more;
    # without its distillation loss a student gains at most one.
    rows = percentages(output)
    labels, _ = rows["labels only"]
    for arm in ("soft targets", "WTTM"):
        accuracy, agreement = rows[arm]
        assert labels + 2 < accuracy < rows["teacher"][0]
        assert agreement > rows["labels only"][1] + 2


def test_a_student_of_wttm_is_calibrated_by_one_number(output):
    rows = [line.split() for line in output.splitlines() if "ECE" in line]
    scores = {name: (float(nll), float(ece)) for name, _, nll, _, ece in rows}
    assert scores["calibrated"] < scores["WTTM"]
    # A tenth of the images would put the error off by that much alone.
    assert scores["calibrated"][1] < 0.1 < scores["WTTM"][1]


def test_the_student_loads_and_works_without_the_library(output, folder):
    fresh = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert fresh.stdout in output
    assert fresh.stdout.startswith("student.keras: ")
