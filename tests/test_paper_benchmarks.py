"""The paper's experiments on MNIST run in short mode, and resume."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

SCRIPT = pathlib.Path(__file__).parent.parent / "benchmarks/hinton_mnist.py"


def run(folder, work):
    subprocess.run(
        [sys.executable, SCRIPT, "--short", "--out", folder, "--work", work],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return json.loads((folder / "hinton_mnist.json").read_text())


def test_hinton_mnist_reports_each_part_and_resumes(tmp_path):
    work = tmp_path / "work"
    result = run(tmp_path / "a", work)
    students = result["students"]
    assert {"labels alone", "WTTM"} <= set(students)
    assert all(len(arm["values"]) == 1 for arm in students.values())
    assert set(result["temperature"]["8"]) == {"1", "20"}
    for rows in result["omitted"].values():
        for row in rows.values():
            assert row["errors on omitted"]["mean"] <= row["errors"]["mean"]
    assert (tmp_path / "a" / "hinton_mnist.png").exists()
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    again = run(tmp_path / "b", work)
    assert again == result
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
