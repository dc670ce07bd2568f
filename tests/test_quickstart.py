"""The main example runs, in short mode, and leaves what it says it does.

It is the README's, and so runs on every backend, unlike the other examples.
"""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).parent.parent / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--short", "--out", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        # On busy cores torch's threads would spin while they wait.
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    return folder, done.stdout


def test_table_and_gains_are_printed(run):
    _, output = run
    for arm in ("labels only", "soft targets", "WTTM"):
        assert f"\n{arm}" in output
    assert "without keras_distill\nstudent: accuracy 0." in output


def test_results_hold_every_arm_and_where_they_were_measured(run):
    result = json.loads((run[0] / "quickstart.json").read_text())
    assert list(result["arms"]) == ["labels only", "soft targets", "WTTM"]
    for arm in result["arms"].values():
        assert len(arm["accuracies"]) == len(arm["seeds"]) == 2
        assert 0.5 < arm["accuracy"]["mean"] < 1
        assert arm["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert result["backend"] == keras.backend.backend()
    assert result["versions"]["keras"] == keras.__version__


def test_settings_are_the_best_on_held_out_training_images(run):
    result = json.loads((run[0] / "quickstart.json").read_text())
    results = SCRIPT.parent.parent / "benchmarks" / "results"
    tuning = json.loads((results / "quickstart_tuning.json").read_text())
    for name, arm in result["arms"].items():
        tried = [entry for entry in tuning if entry["name"] == name]
        best = max(tried, key=lambda entry: np.mean(entry.pop("held_out")))
        assert arm["settings"] == best
        assert len(tried) == 8


def test_picture_and_student_are_written(run):
    png = (run[0] / "quickstart.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 20_000
    student = keras.models.load_model(run[0] / "student.keras")
    logits = student.predict(np.zeros((2, 64)), verbose=0)
    assert type(student) is keras.Sequential
    assert logits.shape == (2, 10)
