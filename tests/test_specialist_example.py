"""The example of specialists runs in short mode."""

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.example

ROOT = pathlib.Path(__file__).parent.parent


def run(script, *options):
    done = subprocess.run(
        [sys.executable, ROOT / script, "--short", *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return done.stdout


def test_the_example_prints_every_model_and_draws(tmp_path):
    output = run("examples/specialists.py", "--out", tmp_path)
    for name in ("generalist", "generalist and specialists", "student of them"):
        assert f"\n{name}" in output
    assert output.count("specialist of 10 classes") == 10
    assert (tmp_path / "specialists.png").exists()
