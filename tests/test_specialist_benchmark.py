"""The benchmark of specialists runs in short mode, and resumes."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "specialists.py"


def run(*options):
    subprocess.run(
        [sys.executable, SCRIPT, "--short", *options],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_the_benchmark_reports_each_arm_and_resumes(tmp_path):
    out, work = tmp_path / "out", tmp_path / "work"
    options = ("--out", out, "--work", work)
    run(*options)
    result = json.loads((out / "specialists.json").read_text())
    assert len(result["seeds"]) == 1
    for name in ("generalist", "specialists, n = 2", "full softmax, n = 1"):
        assert 0 <= result["arms"][name]["overall"]["mean"] <= 1
    assert result["by cover"]["generalist"]["0"]["mean"] == 0
    assert any(name.startswith("student") for name in result["arms"])
    assert (out / "specialists.png").exists()
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    run(*options)
    assert result == json.loads((out / "specialists.json").read_text())
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
