"""The example of deployment: its files answer as the student does."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from scripts import run_example
from sklearn.datasets import load_digits

pytestmark = pytest.mark.example

# A device has neither of these.
ON_A_DEVICE = """
import sys
for name in ("jax", "keras", "tensorflow"):
    sys.modules[name] = None  # Importing it raises ImportError.
import numpy as np
from ai_edge_litert.interpreter import Interpreter
serve = Interpreter(sys.argv[1]).get_signature_runner()
images = np.load("images.npy")
logits = [serve(image=image[None])["output_0"] for image in images]
np.save("logits.npy", np.concatenate(logits))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("deploy")


@pytest.fixture(scope="module")
def rows(folder):
    """Of each file: kB, milliseconds, two percentages, and a difference."""
    output = run_example("deploy.py", folder)
    lines = [line.replace("%", "").split() for line in output.splitlines()]
    table = [line for line in lines if len(line) == 6]
    return {name: [float(cell) for cell in cells] for name, *cells in table}


def test_each_file_is_measured(rows):
    assert list(rows) == [
        "teacher.keras",
        "student.keras",
        "student_int8.keras",
        "saved_model",
        "student.tflite",
        "student_int8.tflite",
    ]


def test_exports_in_float32_are_the_student(rows):
    for name in ("student.keras", "saved_model", "student.tflite"):
        *_, accuracy, agreement, difference = rows[name]
        assert agreement == 100 and difference < 1e-4
        assert accuracy == rows["student.keras"][2] > 80


def test_int8_changes_few_answers(rows):
    for name in ("student_int8.tflite", "student_int8.keras"):
        _, _, accuracy, agreement, difference = rows[name]
        assert 95 < agreement and difference > 1e-3
        assert abs(accuracy - rows["student.keras"][2]) < 4


def test_files_shrink_and_answers_come_faster(rows):
    sizes = {name: row[0] for name, row in rows.items()}
    assert sizes["student_int8.tflite"] < 0.7 * sizes["student.tflite"]
    assert sizes["student.tflite"] < sizes["student.keras"]
    assert sizes["student_int8.keras"] < sizes["student.keras"]
    assert sizes["student.keras"] < 0.2 * sizes["teacher.keras"]
    for name in ("student.tflite", "student_int8.tflite"):
        assert rows[name][1] < 0.5 * rows["student.keras"][1]


@pytest.mark.parametrize(
    "name, closest, farthest",
    [("student.tflite", 0, 1e-4), ("student_int8.tflite", 1e-3, 5)],
)
def test_a_device_needs_the_file_alone(rows, folder, name, closest, farthest):
    images = load_digits().images[:50, :, :, None].astype("float32") / 16
    np.save(folder / "images.npy", images)
    command = [sys.executable, "-c", ON_A_DEVICE, name]
    subprocess.run(command, check=True, cwd=folder)
    student = keras.models.load_model(folder / "student.keras")
    difference = student.predict(images, verbose=0) - np.load(
        folder / "logits.npy"
    )
    assert closest <= np.abs(difference).max() < farthest
