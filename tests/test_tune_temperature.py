"""The search example runs, in short mode, and leaves what it says it does."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.example

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune_temperature") / "new"
    script = str(EXAMPLES / "tune_temperature.py")
    done = subprocess.run(
        [sys.executable, script, "--short", "--out", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        # On busy cores torch's threads would spin while they wait.
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    return folder, done.stdout


@pytest.fixture(scope="module")
def result(run):
    return json.loads((run[0] / "tune_temperature.json").read_text())


def test_every_setting_has_its_students(result):
    assert (result["temperatures"], result["weights"]) == ([1, 4], [0.25, 1])
    assert np.shape(result["held_out"]) == (2, 2, 2)
    assert np.shape(result["labels_only"]) == (2,)
    assert 0.5 < np.min(result["held_out"]) and np.max(result["held_out"]) < 1


def test_the_best_mean_on_held_out_images_is_chosen(result):
    chosen, means = result["chosen"], np.mean(result["held_out"], axis=-1)
    row = result["temperatures"].index(chosen["temperature"])
    column = result["weights"].index(chosen["weight"])
    assert means[row, column] == pytest.approx(means.max())


def test_what_is_reported_is_printed(run, result):
    assert list(result["test"]) == ["teacher", "labels only", "chosen"]
    for name, accuracy in result["test"].items():
        assert f"test accuracy, {name:12}{accuracy:.1%}\n" in run[1]
    assert result["backend"] == keras.backend.backend()


def test_picture_and_student_are_written(run):
    png = (run[0] / "tune_temperature.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
    student = keras.models.load_model(run[0] / "student.keras")
    assert type(student) is keras.Sequential
    assert student.predict(np.zeros((2, 64)), verbose=0).shape == (2, 10)
